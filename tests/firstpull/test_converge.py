from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.azure_resources import ScopeMap, ScopeMapId, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Claim, State
from firstpull.model.errors import Conflict
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import to_json
from tests.firstpull.end_state import end_state
from tests.firstpull.fakes import (
    FakeContainerRegistries,
    FakeToken,
    Fault,
    FaultKind,
    name_in,
)
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, VALIDITY, Harness, make_policy
from tests.firstpull.records import changed, grant_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def smooth_end() -> dict[str, Any]:
    """Where a device is that was onboarded without any trouble."""
    harness = Harness()
    return end_state(harness.cloud, await harness.make_ready())


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
    assert scope_map.actions == {"repositories/plant/app/content/read"}


async def test_a_device_that_cannot_log_in_yet_is_said_so_until_it_can() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=1))
    assert harness.state(device) is State.DELIVERED
    assert harness.reason(device) is Reason.DEVICE_REPORTS_FAILURE
    assert "Unauthorized" in harness.cloud.record(device).status.condition.message
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_devices_with_the_same_repositories_share_a_scope_map() -> None:
    harness = Harness(processes=2)
    for n in range(6):
        harness.register(f"press-{n}")
    await asyncio.gather(*(harness.ask(f"press-{n}") for n in range(6)))
    await harness.run_until_quiet()
    assert len(harness.cloud.scope_maps) == 1
    assert len(harness.cloud.tokens) == 6
    assert {r.status.condition.state for r in harness.cloud.all_records()} == {State.READY}


async def test_a_device_that_is_not_registered_yet_is_waited_for() -> None:
    harness = Harness()
    record = await harness.ask()
    await harness.run_for(10 * HOUR)
    assert harness.reason(record.device) is Reason.DEVICE_NOT_REGISTERED
    assert harness.state(record.device) is State.WAITING
    assert not harness.cloud.writes()
    harness.register()
    await harness.run_for(timedelta(minutes=8))
    assert harness.state(record.device) is State.READY


async def test_a_disabled_device_is_waited_for_and_keeps_what_it_has() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    harness.cloud.change_identity(device, enabled=False)
    before = harness.cloud.writes()
    await harness.reconcile(device)
    assert harness.reason(device) is Reason.DEVICE_DISABLED
    assert harness.cloud.writes() == before
    harness.cloud.change_identity(device, enabled=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.writes() == before


async def test_a_full_connected_registry_blocks_until_there_is_room() -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[])
    harness = Harness(policy=policy)
    await harness.make_ready("press-1")
    harness.register("press-2")
    second = (await harness.ask("press-2")).device
    await harness.run_for(HOUR)
    record = harness.cloud.record(second)
    assert record.status.condition.state is State.BLOCKED
    assert record.status.condition.reason is Reason.CONNECTED_REGISTRY_FULL
    assert record.status.condition.remedy
    assert len(harness.cloud.tokens) == 1


async def test_a_site_is_filled_in_order() -> None:
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone", "capacity": 2},
            {"name": "planttwo", "capacity": 2},
        ]
    )
    harness = Harness(policy=policy)
    for n in range(5):
        harness.register(f"press-{n}")
        await harness.ask(f"press-{n}", connectedRegistry=None, site="plant")
        await harness.run_for(timedelta(minutes=4))
    records = sorted(harness.cloud.all_records(), key=lambda r: r.device)
    assert [grant_of(r).ref for r in records] == [PLANT_ONE, PLANT_ONE, PLANT_TWO, PLANT_TWO, None]
    assert [r.status.condition.state for r in records] == [State.READY] * 4 + [State.BLOCKED]
    assert records[4].status.condition.reason is Reason.SITE_FULL
    assert "acrtest/plantone has 2, acrtest/planttwo has 2" in records[4].status.condition.message


async def test_a_device_of_a_site_stays_where_it_is() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    await harness.make_ready("press-1")
    second = await harness.make_ready("press-2", connectedRegistry=None, site="plant")
    harness.cloud.connected[PLANT_ONE].clients.clear()
    harness.cloud.ledgers.clear()
    await harness.reconcile(second)
    await harness.run_until_quiet()
    assert grant_of(harness.cloud.record(second)).ref == PLANT_TWO


async def test_room_that_a_worker_who_died_held_is_used() -> None:
    """It chose the second connected registry; since then the first has room again."""
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    await harness.make_ready("press-1")
    device = harness.register("press-2")
    await harness.ask("press-2", connectedRegistry=None, site="plant")

    def die(number: int, operation: str) -> None:
        if operation == "registries.create_token":
            harness.cloud.faults[number] = Fault(kind=FaultKind.CRASH, after=False)

    harness.cloud.before_call = die
    await harness.play_what_is_due()
    harness.cloud.before_call = None
    assert harness.crashes == 1
    harness.cloud.connected[PLANT_ONE].clients.clear()
    harness.cloud.ledgers.pop(PLANT_ONE)
    await harness.run_until_quiet()
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert not harness.cloud.ledger(PLANT_ONE).entries


async def test_a_token_that_no_record_names_is_left_alone() -> None:
    harness = Harness()
    made = await harness.make_ready()
    token = next(iter(harness.cloud.tokens))
    other = Harness()
    other.cloud.tokens[token] = FakeToken(ScopeMapId("someone's"))
    other.register()
    await other.ask()
    await other.run_for(HOUR)
    assert other.state(made) is State.BLOCKED
    assert other.reason(made) is Reason.TOKEN_NOT_OURS
    assert not other.cloud.writes()
    del other.cloud.tokens[token]
    await other.run_for(2 * HOUR)
    assert other.state(made) is State.READY


@pytest.mark.parametrize("hints", [2, 5])
async def test_workers_who_begin_at_once_make_one_of_each(hints: int) -> None:
    harness = Harness(processes=hints)
    device = harness.register()
    await asyncio.gather(*(harness.ask() for _ in range(hints)))
    assert len(harness.cloud.queue) == hints
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    writes = harness.cloud.writes()
    assert writes["registries.create_token"] == 1
    assert writes["registries.generate_password"] == 1
    assert writes["secrets.put"] == 1
    assert writes["hubs.patch_desired"] == 1
    assert end_state(harness.cloud, device) == await smooth_end()


@pytest.mark.parametrize(
    "operation",
    [
        "hubs.twin",
        "ledgers.put",
        "records.replace",
        "registries.put_scope_map",
        "locks.acquire",
        "secrets.put",
        "hubs.patch_desired",
    ],
)
@pytest.mark.parametrize("answer", [False, True], ids=["the call", "the answer"])
async def test_a_worker_who_comes_late_does_no_harm(
    operation: str,
    answer: bool,  # noqa: FBT001 - a table
) -> None:
    """One worker stands still in this call until another has finished its work."""
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    late, _ = harness.processes
    with harness.cloud.hold_call(operation, answer=answer) as held:
        task = asyncio.create_task(late.worker.reconcile(device))
        await held.reached.wait()
        harness.clock.advance(timedelta(minutes=3))
        del harness.processes[0]
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
        harness.must_stay_logged_in.add(device)
        held.release.set()
        await task
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert end_state(harness.cloud, device) == await smooth_end()


@pytest.mark.parametrize(
    "operation",
    [
        "hubs.twin",
        "records.replace",
        "registries.create_token",
        "secrets.put",
        "registries.replace_client_tokens",
        "hubs.patch_desired",
    ],
)
async def test_an_intent_that_changes_during_a_pass_is_kept_and_worked_on(operation: str) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    with harness.cloud.hold_call(operation) as held:
        task = asyncio.create_task(harness.run_until_quiet())
        await held.reached.wait()
        await harness.ask(repositories=["plant/app", "plant/tool"])
        held.release.set()
        await task
    record = harness.cloud.record(device)
    assert (record.spec.generation, record.status.observed_generation) == (2, 2)
    assert record.status.condition.state is State.READY
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["repositories"] == ["plant/app", "plant/tool"]
    (token,) = harness.cloud.tokens.values()
    actions = harness.cloud.scope_maps[name_in(token.scope_map_id)].actions
    assert "repositories/plant/tool/content/read" in actions


async def test_a_wish_that_comes_during_a_pass_is_due_at_once() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    with harness.cloud.hold_call("hubs.twin", answer=True) as held:
        task = asyncio.create_task(harness.reconcile(device))
        await held.reached.wait()
        await harness.ask(repositories=["plant/other"])
        held.release.set()
        await task
    assert harness.state(device) is State.PENDING
    assert harness.cloud.record(device).schedule.due_at <= harness.clock.now()


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_an_entry_whose_answer_was_lost_is_not_written_again(kind: FaultKind) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def lose(number: int, operation: str) -> None:
        if operation == "hubs.patch_desired":
            harness.cloud.faults[number] = Fault(kind=kind, after=True)

    harness.cloud.before_call = lose
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.writes()["hubs.patch_desired"] == 1
    assert harness.cloud.writes()["registries.generate_password"] == 1


async def test_a_device_that_a_worker_is_at_is_left_to_it() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    first, second = harness.processes
    with harness.cloud.hold_call("registries.create_token") as held:
        task = asyncio.create_task(first.worker.reconcile(device))
        await held.reached.wait()
        await harness.ask(repositories=["plant/other"])
        begun = len(harness.cloud.calls)
        await second.worker.reconcile(device)
        assert harness.cloud.calls[begun:] == ["records.get"]
        held.release.set()
        await task
    await harness.run_until_quiet()
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]


async def test_what_somebody_changed_is_mended() -> None:
    harness = Harness()
    device = await harness.make_ready()
    want = end_state(harness.cloud, device)
    cloud = harness.cloud
    ((name, token),) = cloud.tokens.items()
    for name_of_map, scope_map in cloud.scope_maps.items():
        cloud.scope_maps[name_of_map] = ScopeMap(name=scope_map.name, actions=frozenset())
    token.enabled = False
    cloud.connected[PLANT_ONE].clients.clear()
    cloud.devices[device].desired["firstpull"]["registryCredentials"]["plantone"]["x"] = 1
    cloud.devices[device].twin_version += 1
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert end_state(cloud, device) == want
    assert cloud.tokens[name] is token


async def test_a_device_registered_again_never_sees_the_password_of_the_one_before() -> None:
    """At whichever call of a pass that delivers the device is deleted and registered again."""
    number = 1
    while await registered_again_at_call(number):
        number += 1
    assert number > 10


async def registered_again_at_call(number: int) -> bool:
    """Whether a pass has that many calls."""
    harness = Harness()
    device = await harness.make_ready()
    cloud, old = harness.cloud, set(harness.cloud.passwords_made)
    entry = cloud.devices[device].desired["firstpull"]["registryCredentials"]["plantone"]
    entry["address"] = "elsewhere"  # so that the pass delivers again
    cloud.devices[device].twin_version += 1
    before, at = cloud.devices[device], len(cloud.calls) + number

    def register_again(now: int, _: str) -> None:
        if now == at:
            cloud.register(device)

    cloud.before_call = register_again
    await harness.reconcile(device)
    cloud.before_call = None
    if cloud.devices[device] is before:
        return False
    assert cloud.twin_entry(device, PLANT_ONE).get("password") not in old
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert not cloud.passwords_in_use() & old
    assert not cloud.accepted(next(iter(cloud.tokens))) & old
    return True


async def test_a_password_is_renewed_at_half_its_life_without_an_instant_of_downtime() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = harness.cloud.twin_entry(device, PLANT_ONE)["password"]
    harness.must_stay_logged_in.add(device)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(3 * HOUR)
    entry, record = harness.cloud.twin_entry(device, PLANT_ONE), harness.cloud.record(device)
    assert record.status.delivery is not None
    assert record.status.delivery.slot is Slot.TWO
    assert entry["password"] != first
    assert harness.cloud.devices[device].held == {"plantone": entry["password"]}
    assert harness.cloud.accepted(grant_of(record).names.token) == {entry["password"]}


async def test_a_renewed_password_is_not_taken_for_acknowledged() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(3 * HOUR)
    record = harness.cloud.record(device)
    assert record.status.delivery is not None
    assert record.status.delivery.slot is Slot.TWO
    assert record.status.condition.state is State.DELIVERED
    assert record.status.acknowledged_at is None


async def test_renewal_goes_on_for_years() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    for _ in range(12):
        harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
        await harness.run_for(3 * HOUR)
        assert harness.state(device) is State.READY
    assert 6 <= len(harness.cloud.passwords_made) <= 13
    record = harness.cloud.record(device)
    kept = harness.cloud.secrets[grant_of(record).names.secret]
    assert sum(v.version.enabled for v in kept) <= 2


async def test_a_connected_registry_that_syncs_once_a_day_gets_its_devices_renewed() -> None:
    harness = Harness(sync_every=None)
    device = await ready_after_a_sync(harness)
    harness.must_stay_logged_in.add(device)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    for _ in range(4):
        await harness.run_for(DAY)
        harness.cloud.sync(PLANT_ONE)
    delivery = harness.cloud.record(device).status.delivery
    assert delivery is not None
    assert delivery.slot is Slot.TWO


async def ready_after_a_sync(harness: Harness) -> DeviceKey:
    """Onboard a device where syncing is left to the test."""
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=1))
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    return device


async def test_a_renewed_password_is_not_delivered_before_the_sync() -> None:
    harness = Harness(sync_every=None)
    device = await ready_after_a_sync(harness)
    harness.must_stay_logged_in.add(device)
    first = harness.cloud.twin_entry(device, PLANT_ONE)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(timedelta(minutes=30))
    assert len(harness.cloud.passwords_made) == 2
    await harness.reconcile(device)
    assert harness.cloud.twin_entry(device, PLANT_ONE) == first
    harness.cloud.sync(PLANT_ONE)
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}


async def test_a_password_that_was_never_acknowledged_is_not_renewed() -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    for _ in range(8):
        await harness.run_for(2 * HOUR)
        harness.clock.advance(10 * DAY)
    assert harness.state(device) is State.DELIVERED
    assert len(harness.cloud.passwords_made) == 1


async def test_a_device_that_was_away_too_long_finds_a_valid_password_in_its_twin() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    for _ in range(18):
        harness.clock.advance(VALIDITY / 6)
        await harness.run_for(2 * HOUR)
    record = harness.cloud.record(device)
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.cloud.accepted(grant_of(record).names.token) == {entry["password"]}
    harness.devices_answer = True
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": entry["password"]}


async def test_a_reconcile_request_that_was_lost_is_brought_back_by_the_timer() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_reconcile_requests_too_many_cost_reads_of_the_record_only() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    for _ in range(5):
        await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.calls[begun:] == ["records.get"] * 5


async def test_a_reconcile_request_for_a_device_without_a_record_does_nothing() -> None:
    harness = Harness()
    device = harness.register()
    await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.calls == ["records.get"]


async def test_an_address_that_moves_is_delivered_again_with_the_same_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.connected[PLANT_ONE].login_server = "moved.site.example:8000"
    await harness.reconcile(device)
    await harness.run_until_quiet()
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["address"] == "moved.site.example:8000"
    assert [entry["password"]] == harness.cloud.passwords_made
    assert harness.state(device) is State.READY


async def test_repositories_that_are_not_synced_block_the_device() -> None:
    harness = Harness()
    harness.register()
    device = (await harness.ask(repositories=["other/app"])).device
    await harness.run_for(timedelta(minutes=5))
    assert harness.reason(device) is Reason.REPOSITORIES_NOT_SYNCED
    assert not harness.cloud.writes()
    granted = {"repositories/other/app/content/read"}
    harness.cloud.synced[f"{REGISTRY}/tokens/plantone"] |= granted
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY


async def test_a_late_pass_does_not_acknowledge_what_was_delivered_since() -> None:
    harness = Harness(sync_every=None)
    device = await ready_after_a_sync(harness)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.reconcile(device)
    harness.devices_answer = False
    harness.make_due(device)
    late = harness.processes[0].worker
    with harness.cloud.hold_call("records.replace") as held:
        task = asyncio.create_task(late.reconcile(device))
        await held.reached.wait()
        harness.clock.advance(timedelta(seconds=10))
        harness.cloud.sync(PLANT_ONE)
        await harness.reconcile(device)
        delivered = harness.cloud.record(device)
        held.release.set()
        await task
    assert delivered.status.delivery is not None
    assert delivered.status.delivery.slot is Slot.TWO
    assert harness.cloud.record(device).status.acknowledged_at is None


async def test_a_device_that_asks_for_another_connected_registry_in_time_holds_no_room_at_the_first() -> (
    None
):
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    with harness.cloud.hold_call("hubs.twin", answer=True) as held:
        task = asyncio.create_task(harness.run_until_quiet())
        await held.reached.wait()
        await harness.ask(connectedRegistry="planttwo")
        held.release.set()
        await task
    assert harness.state(device) is State.READY
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert not harness.cloud.ledger(PLANT_ONE).entries


async def test_a_device_sent_elsewhere_while_room_is_held_for_it_leaves_nothing_behind() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    with harness.cloud.hold_call("ledgers.put", answer=True) as held:
        task = asyncio.create_task(harness.run_until_quiet())
        await held.reached.wait()
        await harness.ask(connectedRegistry="planttwo")
        held.release.set()
        await task
    assert harness.state(device) is State.READY
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert harness.cloud.record(device).status.retiring == ()
    assert not harness.cloud.ledger(PLANT_ONE).entries
    assert not harness.cloud.connected[PLANT_ONE].clients


async def test_a_device_whose_room_went_meanwhile_is_put_elsewhere() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy, processes=2)
    first, second = harness.register("press-1"), harness.register("press-2")
    await harness.ask("press-2", connectedRegistry=None, site="plant")
    with harness.cloud.hold_call("records.replace") as held:
        task = asyncio.create_task(harness.run_until_quiet())
        await held.reached.wait()
        await harness.ask("press-1")
        await harness.reconcile(first)
        held.release.set()
        await task
    assert grant_of(harness.cloud.record(first)).ref == PLANT_ONE
    assert grant_of(harness.cloud.record(second)).ref == PLANT_TWO
    assert harness.state(second) is State.READY
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 1


async def test_what_conflicts_again_and_again_is_tried_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    async def conflict(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - any call
        raise Conflict("The container registry answered 409 Conflict.")

    monkeypatch.setattr(FakeContainerRegistries, "create_token", conflict)
    await harness.run_for(timedelta(hours=1))
    assert 10 < harness.cloud.record(device).schedule.attempts < 30


async def test_a_device_that_goes_between_two_reads_is_not_taken_for_another() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.change_identity(device, enabled=True)

    def go(_: int, operation: str) -> None:
        if operation == "hubs.generation_id":
            harness.cloud.devices.pop(device, None)

    harness.cloud.before_call = go
    await harness.reconcile(device)
    harness.cloud.before_call = None
    await harness.run_for(timedelta(hours=1))
    assert harness.cloud.record(device).status.hub_generation_id is not None
    await harness.sweep()
    await harness.run_for(timedelta(hours=1))
    assert harness.state(device) is State.REVOKED


async def test_a_condition_tells_of_many_repositories_in_few_words() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask(repositories=[f"elsewhere/{number:03}" for number in range(90)])
    await harness.run_for(timedelta(minutes=5))
    assert harness.reason(device) is Reason.REPOSITORIES_NOT_SYNCED
    message = harness.cloud.record(device).status.condition.message
    assert "elsewhere/000" in message
    assert "and 85 more" in message


async def test_a_claim_that_ran_out_is_respected_for_one_requests_time() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record, (_, version) = harness.cloud.record(device), harness.cloud.records[device]
    now = harness.clock.now()
    held = changed(record, claim=Claim(owner="one that died", until=now), due_at=now)
    harness.cloud.records[device] = to_json(held), version
    harness.clock.advance(timedelta(seconds=REQUEST_DEADLINE - 1))
    await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.record(device) == held
    harness.clock.advance(timedelta(seconds=2))
    await harness.processes[0].worker.reconcile(device)
    assert harness.cloud.record(device).claim is None
