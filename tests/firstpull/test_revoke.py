from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import ScopeMap, Slot, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import NotKnown
from firstpull.model.ledger import Entry, Standing
from firstpull.model.reasons import Reason
from firstpull.model.schedule import NEVER
from tests.firstpull.fakes import READS, FakeToken
from tests.firstpull.harness import (
    HUB,
    PLANT_ONE,
    PLANT_TWO,
    REGISTRY,
    Harness,
    make_policy,
    make_process,
)
from tests.firstpull.records import changed, grant_of
from tests.firstpull.virtual_clock import VirtualClock

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SETTLED = timedelta(minutes=20)
"""So long after a revoke the second look is over."""

HELD = pytest.mark.parametrize("answer", [False, True], ids=["the call", "the answer"])
STEPS = [
    "registries.disable_token",
    "registries.replace_client_tokens",
    "hubs.patch_desired",
    "secrets.disable",
    "registries.delete_token",
]


def remains(harness: Harness, device: DeviceKey) -> list[str]:
    """What a device could still use, or what still stands for it somewhere."""
    cloud = harness.cloud
    ours = [name for name in cloud.tokens if name.startswith("fp-press-1-")]
    listed = [str(ref) for ref, found in cloud.connected.items() if found.clients]
    kept = [str(ref) for ref in cloud.connected if cloud.ledger(ref).entries]
    secrets = [n for n, found in cloud.secrets.items() if any(s.version.enabled for s in found)]
    there = device in cloud.devices
    twin = [str(p) for p in cloud.connected if there and cloud.twin_entry(device, p)]
    return [*ours, *listed, *kept, *secrets, *twin]


def writes_since(harness: Harness, begun: int) -> list[str]:
    """The calls since then that change something outside of firstpull."""
    ours = ("registries.", "secrets.", "hubs.")
    return [c for c in harness.cloud.calls[begun:] if c.startswith(ours) and c not in READS]


async def revoked(harness: Harness) -> DeviceKey:
    """A device that was ready, and of which nothing is left."""
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    return device


async def test_access_ends_in_the_order_in_which_a_crash_leaves_least_of_it() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert writes_since(harness, begun) == STEPS


async def test_nothing_is_left_but_a_tombstone_and_the_shared_scope_map() -> None:
    harness = Harness()
    device = await harness.make_ready()
    password = harness.cloud.devices[device].held["plantone"]
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert remains(harness, device) == []
    assert len(harness.cloud.scope_maps) == 1
    assert not harness.cloud.site_accepts(PLANT_ONE, names.token, password)
    assert harness.cloud.devices[device].held == {}
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert grant_of(record).names == names
    assert (record.status.delivery, record.status.acknowledged_at, record.claim) == (
        None,
        None,
        None,
    )


async def test_the_revoke_is_recorded_before_anybody_is_told() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    record = await harness.revoke(device)
    assert harness.cloud.calls[begun:] == ["records.get", "records.replace", "queue.put"]
    assert record.spec.generation == 2
    assert record.status.condition.state is State.REVOKING
    assert record.spec.revocation is not None
    assert record.spec.revocation.requested_by == "a test"
    assert not record.is_converged


async def test_asking_again_for_a_revoke_changes_only_what_late_messages_are_held_against() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = await harness.revoke(device)
    again = await harness.revoke(device)
    assert first.spec.revocation is not None
    assert again.spec.revocation is not None
    assert again.spec.revocation.at > first.spec.revocation.at
    assert changed(again, revocation=first.spec.revocation) == first
    await harness.run_for(SETTLED)
    tombstone, begun = harness.cloud.record(device), len(harness.cloud.calls)
    last = await harness.revoke(device)
    assert changed(last, revocation=tombstone.spec.revocation) == tombstone
    assert harness.cloud.calls[begun:] == ["records.get", "records.replace"]
    await harness.run_for(SETTLED)
    assert harness.cloud.record(device).is_tombstone


async def test_a_revoke_of_a_device_that_nobody_named_is_refused() -> None:
    with pytest.raises(NotKnown):
        await Harness().revoke(DeviceKey(hub=HUB, device_id="stranger"))


async def test_a_dry_run_of_a_revoke_tells_all_steps_and_writes_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    application = harness.processes[0].application
    begun = len(harness.cloud.calls)
    proposed = await application.revoking.propose(device, requested_by="a test")
    plan = await application.dry_run.plan_for(proposed)
    assert [type(action).__name__ for action in plan.actions] == [
        "DisableToken",
        "LeaveConnectedRegistry",
        "WithdrawFromTwin",
        "DisableSecretVersion",
        "DeleteToken",
    ]
    assert set(harness.cloud.calls[begun:]) <= READS
    assert harness.state(device) is State.READY


async def test_a_device_that_was_never_there_is_revoked_without_a_write() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.run_for(MINUTE)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.writes()
    assert harness.cloud.record(device).schedule.due_at == NEVER


async def test_who_waits_for_a_revoke_is_told_when_it_is_done() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.revoke(device)
    waiting = asyncio.create_task(harness.processes[0].onboarding.wait(record, seconds=20))
    await harness.run_for(MINUTE)
    assert (await waiting).status.condition.state is State.REVOKED


async def test_the_second_pass_takes_away_what_a_late_writer_left() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.revoke(device)
    await harness.run_for(5 * MINUTE)  # the site has synced, and that was seen
    assert harness.cloud.record(device).status.warnings == ()
    leave_something(harness, record)
    await harness.run_for(timedelta(minutes=9))
    assert remains(harness, device)
    await harness.run_for(timedelta(minutes=3))
    assert remains(harness, device) == []
    assert harness.state(device) is State.REVOKED


def leave_something(harness: Harness, record: DeviceRecord) -> None:
    """What a worker would write who was at the device when the revoke came."""
    cloud, names = harness.cloud, grant_of(record).names
    assert names is not None
    cloud.tokens[names.token] = FakeToken(REGISTRY.scope_map("late"))
    token_id = REGISTRY.token(names.token)
    cloud.connected[PLANT_ONE].clients.append(token_id)
    kept = cloud.secrets[names.secret][0]
    kept.version = replace(kept.version, enabled=True)


async def test_room_that_a_late_writer_held_is_free_after_the_second_pass() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.revoke(device)
    await harness.run_for(MINUTE)
    ledgers = harness.processes[0].membership.ledgers
    stored = await ledgers.get(PLANT_ONE)
    assert stored is not None
    late = Entry(
        token_id=REGISTRY.token(grant_of(record).names.token),
        standing=Standing.RESERVED,
        since=harness.clock.now(),
    )
    await ledgers.put(PLANT_ONE, stored.value.with_entry(late), etag=stored.etag)
    await harness.run_for(SETTLED)
    assert not harness.cloud.ledger(PLANT_ONE).entries


async def test_after_the_second_pass_there_is_no_other() -> None:
    harness = Harness()
    device = await revoked(harness)
    assert harness.cloud.record(device).schedule.due_at == NEVER
    begun = len(harness.cloud.calls)
    await harness.run_for(2 * DAY)
    assert set(harness.cloud.calls[begun:]) <= {"records.due"}


async def test_a_connected_registry_that_has_not_synced_since_is_told_of_until_it_has() -> None:
    harness = Harness(sync_every=None)
    device = await ready_without_syncs(harness)
    await harness.revoke(device)
    await harness.run_for(3 * DAY)
    record = harness.cloud.record(device)
    assert record.is_tombstone
    (warning,) = record.status.warnings
    assert warning.reason is Reason.AWAITING_SYNC
    assert "acrtest/plantone last synced at 2026-03-01 08:01 UTC" in warning.message
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(2 * DAY)
    assert harness.cloud.record(device).status.warnings == ()
    assert harness.cloud.record(device).schedule.due_at == NEVER


async def ready_without_syncs(harness: Harness) -> DeviceKey:
    """A device that is ready at a connected registry that syncs when the test says so."""
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    return device


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("hubs.", {"twin"}),
        ("secrets.", {"secret"}),
        ("registries.get_token", {"token"}),
        ("registries.", {"token", "client"}),
        ("registries.get_connected_registry", {"token", "client"}),
        ("hubs.patch_desired", {"twin"}),
        ("secrets.disable", {"secret"}),
    ],
)
async def test_a_service_that_does_not_answer_holds_up_nothing_of_the_others(
    failing: str, left: set[str]
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    with harness.cloud.unavailable(failing):
        await harness.revoke(device)
        await harness.run_for(timedelta(minutes=10))
        assert what_is_left(harness, device) <= left
        assert harness.state(device) is not State.REVOKED
    await harness.run_for(timedelta(hours=1))
    assert remains(harness, device) == []
    assert harness.state(device) is State.REVOKED


def what_is_left(harness: Harness, device: DeviceKey) -> set[str]:
    cloud = harness.cloud
    enabled = (s.version.enabled for found in cloud.secrets.values() for s in found)
    found = {
        "token": bool(cloud.tokens),
        "client": bool(cloud.connected[PLANT_ONE].clients),
        "twin": bool(cloud.twin_entry(device, PLANT_ONE)),
        "secret": any(enabled),
    }
    return {name for name, there in found.items() if there}


async def test_a_device_whose_connected_registry_is_gone_is_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    del harness.cloud.connected[PLANT_ONE]
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.tokens
    assert not harness.cloud.ledger(PLANT_ONE).entries
    assert harness.cloud.record(device).schedule.due_at == NEVER


async def test_a_device_at_a_connected_registry_that_the_policy_lists_no_more_is_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    policy = make_policy(connectedRegistries=[{"name": "planttwo"}], sites=[])
    harness.processes = [make_process(harness.cloud, policy)]
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert remains(harness, device) == []


async def test_a_token_in_somebody_elses_list_waits_for_a_person() -> None:
    harness = Harness()
    device = await harness.make_ready()
    (listed,) = harness.cloud.connected[PLANT_ONE].clients
    harness.cloud.connected[PLANT_TWO].clients.append(listed)
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=5))
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.BLOCKED, Reason.TOKEN_IN_USE)
    assert condition.remedy
    harness.cloud.connected[PLANT_TWO].clients.clear()
    await harness.run_for(timedelta(hours=2))
    assert harness.state(device) is State.REVOKED
    assert remains(harness, device) == []


async def test_both_connected_registries_of_a_device_that_moves_are_taken_away() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.cloud.twin_entry(device, PLANT_TWO)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert remains(harness, device) == []


async def test_a_rotation_that_was_asked_for_ends_with_the_revoke() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.rotate(device)
    record = await harness.revoke(device)
    assert record.spec.rotation is None
    await harness.run_for(SETTLED)
    assert remains(harness, device) == []
    assert len(harness.cloud.passwords_made) == 1


@HELD
@pytest.mark.parametrize(
    "operation",
    [
        "hubs.twin",
        "records.replace",
        "ledgers.put",
        "registries.put_scope_map",
        "registries.create_token",
        "registries.generate_password",
        "secrets.put",
        "registries.replace_client_tokens",
        "hubs.patch_desired",
    ],
)
async def test_a_revoke_while_a_worker_is_at_the_device_takes_away_what_that_worker_made(
    operation: str,
    answer: bool,  # noqa: FBT001 - a table
) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    with harness.cloud.hold_call(operation, answer=answer) as held:
        task = asyncio.create_task(harness.run_for(timedelta(minutes=30)))
        await held.reached.wait()
        await harness.revoke(device)
        held.release.set()
        await task
    assert harness.state(device) is State.REVOKED
    assert remains(harness, device) == []


@HELD
@pytest.mark.parametrize("operation", ["hubs.twin", "records.replace", "queue.put", *STEPS])
async def test_a_device_asked_for_while_it_is_revoked_begins_anew(
    operation: str,
    answer: bool,  # noqa: FBT001 - a table
) -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    first = harness.cloud.passwords_made[0]
    await harness.revoke(device)
    with harness.cloud.hold_call(operation, answer=answer) as held:
        task = asyncio.create_task(harness.run_for(timedelta(minutes=30)))
        await held.reached.wait()
        record = await harness.ask()
        held.release.set()
        await task
    assert record.spec.generation == 3
    await expect_begun_anew(harness, device, not_with=first)


async def expect_begun_anew(harness: Harness, device: DeviceKey, *, not_with: str) -> None:
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert record.status.retiring == ()
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.cloud.accepted(grant_of(record).names.token) == {entry["password"]}
    assert entry["password"] != not_with
    assert harness.cloud.devices[device].held == {"plantone": entry["password"]}
    before = harness.cloud.writes()
    await harness.reconcile(device)
    assert harness.cloud.writes() == before


async def test_a_device_asked_for_after_its_revoke_begins_anew() -> None:
    harness = Harness()
    device = await revoked(harness)
    first = harness.cloud.passwords_made[0]
    record = await harness.ask()
    assert (record.spec.generation, record.spec.revocation, grant_of(record).names) == (
        3,
        None,
        None,
    )
    await harness.run_until_quiet()
    await expect_begun_anew(harness, device, not_with=first)


async def test_a_device_asked_for_elsewhere_while_it_is_revoked_loses_the_old_connected_registry_first() -> (
    None
):
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    begun = len(harness.cloud.calls)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    writes = writes_since(harness, begun)
    assert writes[: len(STEPS)] == STEPS
    assert not harness.cloud.connected[PLANT_ONE].clients
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert harness.state(device) is State.READY


async def test_the_room_of_a_revoked_device_goes_to_who_waits() -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[])
    harness = Harness(policy=policy)
    first = await harness.make_ready()
    second = harness.register("press-2")
    await harness.ask("press-2")
    await harness.run_for(MINUTE)
    assert harness.reason(second) is Reason.CONNECTED_REGISTRY_FULL
    await harness.revoke(first)
    await harness.run_for(timedelta(hours=1))
    assert harness.state(second) is State.READY
    assert max(harness.cloud.list_sizes) == 1


async def test_a_fleet_is_revoked_with_few_writes_of_the_list() -> None:
    harness = Harness(processes=3)
    for n in range(12):
        harness.register(f"press-{n}")
    await asyncio.gather(*(harness.ask(f"press-{n}") for n in range(12)))
    await harness.run_until_quiet()
    begun = len(harness.cloud.calls)
    await asyncio.gather(*(harness.revoke(device) for device in harness.cloud.devices))
    await harness.run_for(SETTLED)
    assert {r.status.condition.state for r in harness.cloud.all_records()} == {State.REVOKED}
    assert not harness.cloud.tokens
    assert harness.cloud.calls[begun:].count("registries.replace_client_tokens") <= 6


async def test_a_revoke_leaves_others_of_the_same_connected_registry_alone() -> None:
    harness = Harness()
    device, other = await harness.make_ready(), await harness.make_ready("press-2")
    harness.must_stay_logged_in.add(other)
    foreign = REGISTRY.token("foreign")
    harness.cloud.scope_maps["foreign"] = ScopeMap(name="foreign", actions=frozenset())
    harness.cloud.tokens["foreign"] = FakeToken(REGISTRY.scope_map("foreign"))
    harness.cloud.connected[PLANT_ONE].clients.append(foreign)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    before = harness.cloud.writes()
    await harness.reconcile(other)
    assert harness.state(other) is State.READY
    assert harness.cloud.writes() == before
    assert len(harness.cloud.connected[PLANT_ONE].clients) == 2


async def test_a_worker_who_comes_late_takes_nothing_from_a_device_that_began_anew() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.revoke(device)
    harness.cloud.queue.clear()
    late, _ = harness.processes
    with harness.cloud.hold_call("registries.disable_token", answer=True) as held:
        task = asyncio.create_task(late.worker.reconcile(device))
        await held.reached.wait()
        harness.clock.advance(timedelta(minutes=3))
        del harness.processes[0]
        await harness.ask()
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
        held.release.set()
        await task
    assert len(harness.cloud.connected[PLANT_ONE].clients) == 1


async def test_a_device_asked_for_and_revoked_again_during_a_pass_keeps_its_names() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    names = grant_of(harness.cloud.record(device)).names
    await harness.revoke(device)
    with harness.cloud.hold_call("registries.delete_token") as held:
        task = asyncio.create_task(harness.run_until(lambda: False, SETTLED))
        await held.reached.wait()
        await harness.ask()
        await harness.revoke(device)
        held.release.set()
        await task
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert names in [grant.names for grant in record.grants]
    harness.check_promises()


async def test_a_device_that_has_a_password_in_each_slot_loses_both() -> None:
    harness = Harness(sync_every=None)
    device = await ready_without_syncs(harness)
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    (token,) = harness.cloud.tokens.values()
    assert set(token.passwords) == set(Slot)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert remains(harness, device) == []


async def test_a_revoke_from_a_host_whose_clock_is_behind_does_not_move_it_back() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = (await harness.revoke(device)).spec.revocation
    behind = VirtualClock()  # which begins where the harness's has begun
    revoking = replace(harness.processes[0].application.revoking, clock=behind)
    again = (await revoking.revoke(device, requested_by="a test")).spec.revocation
    assert again == first


async def test_the_tombstone_says_within_minutes_that_its_site_has_synced() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.revoke(device)
    await harness.run_for(3 * MINUTE)
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.AWAITING_SYNC
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(4 * MINUTE)
    assert harness.cloud.record(device).status.warnings == ()
