from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown
from firstpull.model.ledger import Entry, Standing
from firstpull.model.reasons import Reason
from firstpull.model.schedule import NEVER
from local_azure.key_vault.models import Properties
from tests.firstpull.end_state import remains
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
from tests.world.calls import READS

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SETTLED = timedelta(minutes=20)
"""So long after a revoke, the second pass over the tombstone is over."""

BEFORE_OR_AFTER = pytest.mark.parametrize("answer", [False, True], ids=["before", "after"])
STEPS = [
    "registries.disable_token",
    "secrets.tag",
    "registries.replace_client_tokens",
    "hubs.patch_desired",
    "secrets.disable",
    "registries.delete_token",
]


def writes_since(harness: Harness, begun: int) -> list[str]:
    ours = ("registries.", "secrets.", "hubs.")
    return [c for c in harness.cloud.calls[begun:] if c.startswith(ours) and c not in READS]


async def revoke(harness: Harness, device: DeviceKey) -> None:
    """Revoke a device, and see that nothing of it is left."""
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert_revoked(harness, device)


def assert_revoked(harness: Harness, device: DeviceKey) -> None:
    assert harness.state(device) is State.REVOKED
    assert remains(harness.cloud, device) == set()


async def test_access_ends_at_once_everywhere_and_the_token_is_deleted_when_no_list_has_it() -> (
    None
):
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    await revoke(harness, device)
    assert_begun_with_the_token_and_ended_with_it(writes_since(harness, begun))


def assert_begun_with_the_token_and_ended_with_it(writes: list[str]) -> None:
    assert (writes[0], writes[-1]) == (STEPS[0], STEPS[-1])
    assert sorted(writes) == sorted(STEPS)


async def test_a_revoke_leaves_a_tombstone_and_the_shared_scope_map_which_no_pass_reads() -> None:
    harness = Harness()
    device = await harness.make_ready()
    grant = grant_of(harness.cloud.record(device))
    await revoke(harness, device)
    assert len(harness.cloud.scope_maps) == 1
    assert harness.cloud.devices[device].held == {}
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert record.status.grant == grant
    assert (record.status.delivery, record.claim) == (None, None)
    assert (record.status.acknowledged_at, record.schedule.due_at) == (None, NEVER)
    begun = len(harness.cloud.calls)
    await harness.run_for(2 * HOUR)
    assert set(harness.cloud.calls[begun:]) <= {"records.due"}


async def test_the_revoke_is_recorded_before_a_reconcile_request_is_enqueued() -> None:
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


async def test_a_second_revoke_changes_only_the_time_that_late_messages_are_compared_with() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = await harness.revoke(device)
    again = await harness.revoke(device)
    assert first.spec.revocation is not None
    assert again.spec.revocation is not None
    assert again.spec.revocation.at > first.spec.revocation.at
    assert changed(again, revocation=first.spec.revocation) == first
    await harness.run_for(SETTLED)
    tombstone = harness.cloud.record(device)
    last = await harness.revoke(device)
    assert changed(last, revocation=tombstone.spec.revocation) == tombstone
    assert not harness.cloud.queue
    assert harness.cloud.record(device).is_tombstone


async def test_a_revoke_from_a_host_whose_clock_is_behind_does_not_move_the_time_back() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = (await harness.revoke(device)).spec.revocation
    behind = replace(harness.processes[0].application.revoking, clock=VirtualClock())
    assert (await behind.revoke(device, requested_by="a test")).spec.revocation == first


async def test_an_unknown_device_cannot_be_revoked() -> None:
    with pytest.raises(NotKnown):
        await Harness().revoke(DeviceKey(hub=HUB, device_id="stranger"))


async def test_a_revoke_of_a_device_that_was_never_there_is_only_noted() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.run_for(MINUTE)
    await revoke(harness, device)
    assert harness.cloud.writes() == {"secrets.put": 1}
    assert harness.cloud.record(device).schedule.due_at == NEVER


async def test_the_second_pass_takes_away_what_a_late_writer_left() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.revoke(device)
    await harness.run_for(5 * MINUTE)  # the site has synced, and a pass has seen that
    assert harness.cloud.record(device).status.warnings == ()
    cloud, names = harness.cloud, grant_of(record).names
    token_id = REGISTRY.token(names.token)
    cloud.add_foreign_client(PLANT_ONE, names.token)
    cloud.vault.update(names.secret, None, Properties(enabled=True))
    ledgers = harness.processes[0].membership.ledgers
    ledger = await ledgers.get(PLANT_ONE)
    assert ledger is not None
    late = Entry(token_id=token_id, standing=Standing.RESERVED, since=harness.clock.now())
    await ledgers.put(PLANT_ONE, ledger.value.with_entry(late), etag=ledger.etag)
    await harness.run_until(lambda: False, 9 * MINUTE)
    assert remains(cloud, device) == {"token", "client", "ledger", "secret"}
    await harness.run_for(3 * MINUTE)
    assert_revoked(harness, device)


@pytest.mark.parametrize("away", [3 * MINUTE, DAY], ids=str)
async def test_a_warning_holds_until_the_connected_registry_has_synced(away: timedelta) -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(away)
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert [warning.reason for warning in record.status.warnings] == [Reason.AWAITING_SYNC]
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(max(away, SETTLED))
    assert harness.cloud.record(device).status.warnings == ()
    assert harness.cloud.record(device).schedule.due_at == NEVER


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("hubs.", {"twin"}),
        ("secrets.", {"secret"}),
        ("registries.get_token", {"token"}),
        ("registries.", {"token", "client", "ledger"}),
        ("registries.get_connected_registry", {"token", "client", "ledger"}),
        ("hubs.patch_desired", {"twin"}),
        ("secrets.disable", {"secret"}),
    ],
)
async def test_a_service_that_does_not_answer_delays_nothing_at_the_others(
    failing: str, left: set[str]
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    with harness.cloud.unavailable(failing):
        await harness.revoke(device)
        await harness.run_for(10 * MINUTE)
        assert remains(harness.cloud, device) <= left
        assert harness.state(device) is not State.REVOKED
    await harness.run_for(HOUR)
    assert_revoked(harness, device)


@pytest.mark.parametrize("gone_from", ["Azure", "the policy"])
async def test_a_device_whose_connected_registry_is_gone_is_revoked(gone_from: str) -> None:
    harness = Harness()
    device = await harness.make_ready()
    if gone_from == "Azure":
        harness.cloud.registry().delete_connected_registry(PLANT_ONE.name)
    else:
        policy = make_policy(connectedRegistries=[{"name": "planttwo"}], sites=[])
        harness.processes = [make_process(harness.cloud, policy)]
    await revoke(harness, device)
    assert not harness.cloud.ledger(PLANT_ONE).entries
    assert harness.cloud.record(device).schedule.due_at == NEVER


async def test_a_token_that_another_list_has_waits_for_a_person() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.put_clients(PLANT_TWO, *harness.cloud.clients(PLANT_ONE))
    await harness.revoke(device)
    await harness.run_for(5 * MINUTE)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.BLOCKED, Reason.TOKEN_IN_USE)
    assert condition.remedy
    harness.cloud.put_clients(PLANT_TWO)
    await harness.run_for(2 * HOUR)
    assert_revoked(harness, device)


async def test_a_device_that_moves_loses_both_connected_registries() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.cloud.twin_entry(device, PLANT_TWO)
    await revoke(harness, device)


@pytest.mark.parametrize("begun", [False, True], ids=["just asked for", "made the new password"])
async def test_a_rotation_ends_with_the_revoke(*, begun: bool) -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    await harness.rotate(device)
    if begun:
        await harness.run_for(MINUTE)
        (token,) = harness.cloud.tokens.values()
        assert [password.name for password in token.passwords] == [*Slot]
    made = len(harness.cloud.passwords_made)
    assert (await harness.revoke(device)).spec.rotation is None
    await harness.run_for(SETTLED)
    assert_revoked(harness, device)
    assert len(harness.cloud.passwords_made) == made


@BEFORE_OR_AFTER
@pytest.mark.parametrize(
    "operation",
    ["records.replace", "ledgers.put", "registries.create_token", "secrets.put", STEPS[2]],
)
async def test_a_revoke_during_a_pass_takes_away_what_that_pass_makes(
    operation: str, *, answer: bool
) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    async with harness.while_held(operation, harness.run_for(30 * MINUTE), answer=answer):
        await harness.revoke(device)
    assert_revoked(harness, device)


async def assert_begun_anew(harness: Harness, device: DeviceKey) -> None:
    _, second = harness.cloud.passwords_made
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert (record.spec.generation, record.status.retiring) == (3, ())
    assert harness.cloud.accepted(grant_of(record).names.token) == {second}
    assert harness.cloud.devices[device].held == {"plantone": second}
    before = harness.cloud.writes()
    await harness.reconcile(device)
    assert harness.cloud.writes() == before


@BEFORE_OR_AFTER
@pytest.mark.parametrize("operation", STEPS)
async def test_a_device_asked_for_during_its_revoke_begins_anew(
    operation: str, *, answer: bool
) -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.revoke(device)
    async with harness.while_held(operation, harness.run_for(30 * MINUTE), answer=answer):
        await harness.ask()
    await assert_begun_anew(harness, device)


async def test_a_device_asked_for_after_its_revoke_begins_anew() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await revoke(harness, device)
    record = await harness.ask()
    assert (record.spec.revocation, record.status.grant) == (None, None)
    await harness.run_until_quiet()
    await assert_begun_anew(harness, device)


async def test_a_device_asked_for_elsewhere_during_its_revoke_loses_the_old_access_first() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    begun = len(harness.cloud.calls)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert_begun_with_the_token_and_ended_with_it(writes_since(harness, begun)[: len(STEPS)])
    assert not harness.cloud.clients(PLANT_ONE)
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert harness.state(device) is State.READY


async def test_a_fleet_is_revoked_with_few_writes_of_the_list_and_others_stay_clients() -> None:
    harness = Harness(processes=3)
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    other = await harness.make_ready("other")
    harness.must_stay_logged_in.add(other)
    devices = await harness.make_fleet(6)
    begun = len(harness.cloud.calls)
    await asyncio.gather(*(harness.revoke(device) for device in devices))
    await harness.run_for(SETTLED)
    assert {harness.state(device) for device in devices} == {State.REVOKED}
    assert harness.cloud.calls[begun:].count(STEPS[2]) <= 3
    assert len(harness.cloud.clients(PLANT_ONE)) == len(harness.cloud.tokens) == 2
    before = harness.cloud.writes()
    await harness.reconcile(other)
    assert harness.state(other) is State.READY
    assert harness.cloud.writes() == before


async def test_a_late_worker_takes_nothing_from_a_device_that_began_anew() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.revoke(device)
    harness.cloud.queue.clear()
    late, _ = harness.processes
    async with harness.while_held(STEPS[0], late.worker.reconcile(device), answer=True):
        harness.clock.advance(3 * MINUTE)
        del harness.processes[0]
        await harness.ask()
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
    assert len(harness.cloud.clients(PLANT_ONE)) == 1


async def test_a_device_asked_for_and_revoked_again_during_a_pass_keeps_its_grant() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    grant = grant_of(harness.cloud.record(device))
    await harness.revoke(device)
    async with harness.while_held(STEPS[-1], harness.run_for(SETTLED)):
        await harness.ask()
        await harness.revoke(device)
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert grant.names in [held.names for held in record.grants]
