from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Claim, State
from firstpull.model.errors import Conflict
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import to_json
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import HUB, PLANT_ONE, PLANT_TWO, VALIDITY, Harness, make_policy
from tests.firstpull.records import changed, grant_of
from tests.firstpull.scenarios import (
    EACH_OR_SOME_CALLS,
    at_each_call,
    ready_for_good,
    smooth_end,
)
from tests.world.calls import Fault
from tests.world.ports import FakeContainerRegistries

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIRST_TAKES_ONE = make_policy(
    connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
)


async def test_a_registered_device_becomes_ready() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = harness.cloud.record(device)
    assert record.is_converged
    assert grant_of(record).ref == PLANT_ONE
    assert record.claim is None
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["address"] == "plantone.site.example:8000"
    assert entry["username"] == grant_of(record).names.token
    assert entry["repositories"] == ["plant/app"]
    assert harness.cloud.accepted(grant_of(record).names.token) == {entry["password"]}
    (scope_map,) = harness.cloud.scope_maps.values()
    assert scope_map.actions == ("repositories/plant/app/content/read",)


async def test_a_device_that_cannot_log_in_reports_so_until_it_can() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert harness.reason(device) is Reason.DEVICE_REPORTS_FAILURE
    assert "Unauthorized" in harness.cloud.record(device).status.condition.message
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_look_that_nobody_waits_for_leaves_scarce_reads_to_others() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.is_short_of_reads = True
    harness.make_due(device)
    before = len(harness.cloud.calls)
    await harness.reconcile(device)
    assert not [call for call in harness.cloud.calls[before:] if call.startswith("registries.")]
    wait = harness.cloud.record(device).schedule.due_at - harness.clock.now()
    assert MINUTE <= wait <= 2 * MINUTE
    assert harness.state(device) is State.READY

    await harness.rotate(device)  # somebody waits for this
    await harness.run_for(5 * MINUTE)
    assert harness.cloud.record(device).status.observed_generation == 2


async def test_devices_with_the_same_repositories_share_a_scope_map() -> None:
    harness = Harness(processes=2)
    await harness.make_fleet(3)
    assert (len(harness.cloud.scope_maps), len(harness.cloud.tokens)) == (1, 3)


async def test_a_device_that_is_not_registered_yet_is_waited_for() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.run_for(10 * HOUR)
    assert harness.state(device) is State.WAITING
    assert harness.reason(device) is Reason.DEVICE_NOT_REGISTERED
    assert not harness.cloud.writes()
    harness.register()
    await harness.run_for(8 * MINUTE)
    assert harness.state(device) is State.READY


async def test_repositories_that_are_not_synced_block_the_device_until_they_are() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask(repositories=["other/app"])
    await harness.run_for(5 * MINUTE)
    assert harness.reason(device) is Reason.REPOSITORIES_NOT_SYNCED
    assert not harness.cloud.writes()
    harness.cloud.let_sync(PLANT_ONE, "repositories/other/app/content/read")
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY


async def test_a_device_is_onboarded_with_a_warning_where_nothing_tells_what_is_synced() -> None:
    harness = Harness()
    harness.cloud.sync_by_identity.add(PLANT_ONE)
    device = await harness.make_ready()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.SYNCED_REPOSITORIES_NOT_KNOWN
    await harness.sweep()
    await harness.reconcile(device)
    assert harness.cloud.record(device).status.warnings == (warning,)


async def test_the_default_port_makes_no_other_address() -> None:
    harness = Harness()
    harness.cloud.set_address(PLANT_ONE, "plantone.site.example")
    device = await harness.make_ready()
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["address"] == "plantone.site.example"
    harness.cloud.set_address(PLANT_ONE, "plantone.site.example:443")
    await harness.reconcile(device)
    assert harness.cloud.twin_entry(device, PLANT_ONE) == entry


async def test_what_a_twin_cannot_hold_is_known_before_anything_is_made() -> None:
    ca = f"-----BEGIN CERTIFICATE-----{'A' * 8000}"
    policy = make_policy(connectedRegistries=[{"name": "plantone", "ca": ca}], sites=[])
    harness = Harness(policy=policy)
    device = harness.register()
    many = [f"plant/{n:03}{'a' * 241}" for n in range(100)]
    await harness.ask(repositories=many)
    await harness.run_for(HOUR)
    assert harness.reason(device) is Reason.TWIN_FULL
    assert not harness.cloud.writes()
    await harness.ask(repositories=many[:90])
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_token_that_no_record_names_is_left_alone() -> None:
    harness, other = Harness(), Harness()
    device = await harness.make_ready()
    (token,) = harness.cloud.tokens
    other.cloud.add_token(token)
    other.register()
    await other.ask()
    await other.run_for(HOUR)
    assert other.state(device) is State.BLOCKED
    assert other.reason(device) is Reason.TOKEN_NOT_OURS
    assert not other.cloud.writes()
    other.cloud.delete_token(token)
    await other.run_for(2 * HOUR)
    assert other.state(device) is State.READY


async def test_room_that_a_crashed_worker_reserved_is_used() -> None:
    """It reserved room at the second connected registry; since then the first has room again."""
    harness = Harness(policy=FIRST_TAKES_ONE)
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    device = harness.register()
    await harness.ask(connectedRegistry=None, site="plant")
    with harness.cloud.failing("registries.create_token", fault=Fault.CRASH_BEFORE):
        await harness.play_what_is_due()
    assert harness.crashes == 1
    harness.cloud.put_clients(PLANT_ONE)
    await harness.run_until_quiet()
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert not harness.cloud.ledger(PLANT_ONE).entries


async def test_a_device_whose_room_was_taken_meanwhile_goes_to_the_next_of_its_site() -> None:
    harness = Harness(policy=FIRST_TAKES_ONE, processes=2)
    first, second = harness.register("press-1"), harness.register("press-2")
    await harness.ask("press-2", connectedRegistry=None, site="plant")
    async with harness.while_held("records.replace", harness.run_until_quiet()):
        await harness.ask("press-1")
        await harness.reconcile(first)
    assert grant_of(harness.cloud.record(first)).ref == PLANT_ONE
    assert grant_of(harness.cloud.record(second)).ref == PLANT_TWO
    assert harness.state(second) is State.READY
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 1


@pytest.mark.parametrize("answer", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "operation", ["records.replace", "ledgers.put", "secrets.put", "hubs.patch_desired"]
)
async def test_a_late_worker_does_no_harm(operation: str, *, answer: bool) -> None:
    """It waits in this call until another worker has finished."""
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    late, _ = harness.processes
    async with harness.while_held(operation, late.worker.reconcile(device), answer=answer):
        harness.clock.advance(3 * MINUTE)
        del harness.processes[0]
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
        harness.must_stay_logged_in.add(device)
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert end_state(harness.cloud, device) == await smooth_end()


@pytest.mark.parametrize(
    "operation", ["hubs.twin", "records.replace", "registries.create_token", "hubs.patch_desired"]
)
async def test_an_intent_that_changes_during_a_pass_is_kept_and_reconciled(operation: str) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    async with harness.while_held(operation, harness.run_until_quiet()):
        await harness.ask(repositories=["plant/app", "plant/tool"])
    record = harness.cloud.record(device)
    assert (record.spec.generation, record.status.observed_generation) == (2, 2)
    assert record.status.condition.state is State.READY
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["repositories"] == ["plant/app", "plant/tool"]
    (token,) = harness.cloud.tokens
    assert "repositories/plant/tool/content/read" in harness.cloud.actions(token)


@pytest.mark.parametrize(("operation", "answer"), [("hubs.twin", True), ("ledgers.put", True)])
async def test_a_device_sent_elsewhere_during_a_pass_leaves_nothing_behind(
    operation: str, *, answer: bool
) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    async with harness.while_held(operation, harness.run_until_quiet(), answer=answer):
        await harness.ask(connectedRegistry="planttwo")
    assert harness.state(device) is State.READY
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert harness.cloud.record(device).status.retiring == ()
    assert not harness.cloud.ledger(PLANT_ONE).entries
    assert not harness.cloud.clients(PLANT_ONE)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.CRASH_AFTER], ids=repr)
async def test_an_entry_whose_answer_was_lost_is_not_written_again(fault: Fault) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    with harness.cloud.failing("hubs.patch_desired", fault=fault):
        await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.writes()["hubs.patch_desired"] == 1
    assert len(harness.cloud.passwords_made) == 1


async def test_a_claimed_device_is_left_to_its_worker() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    first, second = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        await harness.ask(repositories=["plant/other"])
        begun = len(harness.cloud.calls)
        await second.worker.reconcile(device)
        assert harness.cloud.calls[begun:] == ["records.get", "queue.put"]  # for the claim's end
    await harness.run_until_quiet()
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]


async def test_a_claim_that_ran_out_is_respected_for_one_requests_time() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record, (_, version) = harness.cloud.record(device), harness.cloud.records[device]
    now = harness.clock.now()
    held = changed(record, claim=Claim(owner="one that crashed", until=now), due_at=now)
    harness.cloud.records[device] = to_json(held), version
    harness.clock.advance(timedelta(seconds=REQUEST_DEADLINE - 1))
    await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.record(device) == held
    harness.clock.advance(timedelta(seconds=2))
    await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.record(device).claim is None


async def about_to_deliver(harness: Harness) -> DeviceKey:
    """A device whose twin was edited, so that the next pass delivers again."""
    device = await harness.make_ready()
    harness.cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere"})
    harness.make_due(device)
    await harness.processes[0].application.ports.queue.put(device)
    return device


async def register_again(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.register(device)


@EACH_OR_SOME_CALLS
async def test_a_device_registered_again_at_any_call_of_a_pass_never_sees_an_older_password(
    calls: Iterable[int],
) -> None:
    within = timedelta(seconds=1)
    async for harness, device in at_each_call(
        about_to_deliver, register_again, calls=calls, within=within
    ):
        old, *_ = harness.cloud.passwords_made
        assert harness.cloud.twin_entry(device, PLANT_ONE).get("password") != old
        await harness.ask()
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
        assert old not in harness.cloud.passwords_in_use()
        assert old not in harness.cloud.accepted(next(iter(harness.cloud.tokens)))


async def test_renewal_goes_on_for_years_without_downtime() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    for number in range(1, 7):
        harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
        await harness.run_for(3 * HOUR)
        assert harness.state(device) is State.READY
        held = harness.cloud.devices[device].held["plantone"]
        assert held == harness.cloud.passwords_made[number]
        assert harness.cloud.accepted(next(iter(harness.cloud.tokens))) == {held}
    (versions,) = harness.cloud.secrets.values()
    assert sum(stored.enabled for stored in versions) == 1


async def test_a_device_that_was_away_too_long_finds_a_valid_password_in_its_twin() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    for _ in range(6):
        harness.clock.advance(VALIDITY / 2)
        await harness.run_for(2 * HOUR)
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.cloud.accepted(entry["username"]) == {entry["password"]}
    harness.devices_answer = True
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": entry["password"]}


async def test_a_late_pass_does_not_acknowledge_a_later_delivery() -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.reconcile(device)
    harness.devices_answer = False
    harness.make_due(device)
    late = harness.processes[0].worker
    async with harness.while_held("records.replace", late.reconcile(device)):
        harness.clock.advance(timedelta(seconds=10))
        harness.cloud.sync(PLANT_ONE)
        await harness.reconcile(device)
        delivery = harness.cloud.record(device).status.delivery
        assert delivery is not None
        assert delivery.slot is Slot.TWO
    assert harness.cloud.record(device).status.acknowledged_at is None


async def test_a_lost_reconcile_request_is_requeued_by_the_timer() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_needless_reconcile_requests_cost_reads_of_the_record_only() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    for _ in range(3):
        await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.calls[begun:] == ["records.get"] * 3


async def test_repeated_conflicts_are_retried_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    async def conflict(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - any call
        raise Conflict("The container registry answered 409 Conflict.")

    monkeypatch.setattr(FakeContainerRegistries, "create_token", conflict)
    await harness.run_for(HOUR)
    assert 10 < harness.cloud.record(device).schedule.attempts < 30


async def test_a_device_deleted_between_two_reads_is_revoked_and_not_taken_for_another() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.change_identity(device, enabled=True)

    harness.cloud.act(lambda: harness.cloud.unregister(device), at="hubs.generation_id")
    await harness.reconcile(device)
    await harness.run_for(HOUR)
    assert harness.cloud.record(device).status.hub_generation_id is not None
    await harness.sweep()
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED


async def test_names_of_another_case_ask_for_the_same() -> None:
    harness = Harness()
    device = await harness.make_ready()
    names = {"connectedRegistry": "PlantOne", "containerRegistry": "ACRTest", "hub": HUB.upper()}
    asked = await harness.ask(**names)
    assert (asked.device, asked.spec.generation) == (device, 1)
    other = harness.register("press-2")
    asked = await harness.ask("press-2", connectedRegistry=None, site="PLANT")
    assert (asked.spec.intent.site, asked.spec.intent.target) == ("plant", "site plant")
    await harness.run_until_quiet()
    again = await harness.ask("press-2", connectedRegistry=None, site="Plant")
    assert again.spec.generation == 1
    assert harness.state(other) is State.READY


async def test_where_the_policy_changes_the_case_of_names_nothing_is_made_again() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    policy = make_policy(
        connectedRegistries=[{"name": "PlantOne"}, {"name": "PlantTwo"}],
        sites=[{"name": "Plant", "connectedRegistries": ["plantone", "PLANTTWO"]}],
    )
    renamed = Harness(cloud=harness.cloud, policy=policy)
    await renamed.reconcile(device)
    report = await renamed.sweep()
    assert (report.drifted, report.orphans) == ({}, ())
    await renamed.ask(connectedRegistry="plantone")
    await renamed.run_until_quiet()
    assert end_state(renamed.cloud, device) == want
    assert renamed.cloud.record(device).spec.generation == 1


async def test_any_of_the_three_names_of_a_hub_names_the_device() -> None:
    harness = Harness()
    device = await harness.make_ready()
    name, domain = HUB.split(".", 1)
    for label in ("device", "service"):
        asked = await harness.ask(hub=f"{name}.{label}.{domain}")
        assert (asked.device, asked.spec.generation) == (device, 1)
        (process,) = harness.processes
        assert process.onboarding.device("press-1", hub=f"{name}.{label}.{domain}") == device
