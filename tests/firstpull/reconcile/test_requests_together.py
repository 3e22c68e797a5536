"""One request does not undo what another one promised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from functions.answers.devices import Device, Operation, OperationStatus
from tests.firstpull.harness import (
    PLANT_ONE,
    PLANT_TWO,
    PORT_ONE,
    Harness,
    over_two_registries,
)
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import make_by_hand, ready_for_good
from tests.world.calls import Fault

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def status_of(harness: Harness, device: DeviceKey, generation: int) -> OperationStatus:
    return Operation.of(harness.cloud.record(device), generation=generation).status


MOVES: dict[str, dict[str, Any]] = {
    "within a container registry": {"connectedRegistry": "planttwo"},
    "to another container registry": {"connectedRegistry": "portone"},
    "to a site of both": {"connectedRegistry": None, "site": "all"},
}
EACH_MOVE = pytest.mark.parametrize("move", MOVES)


@EACH_MOVE
async def test_a_leaked_password_ends_though_the_device_moves_at_once(move: str) -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    (leaked,) = harness.cloud.passwords_made
    await harness.rotate(device, immediately=True)
    await harness.ask(**MOVES[move])
    harness.devices_answer = False
    await harness.run_for(2 * MINUTE)
    assert not harness.cloud.opens(leaked)
    assert leaked not in {
        v.value.get_secret_value() for vs in harness.cloud.secrets.values() for v in vs if v.enabled
    }
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert grant_of(harness.cloud.record(device)).ref != PLANT_ONE
    assert harness.cloud.record(device).spec.rotation is None
    assert leaked not in harness.cloud.devices[device].held.values()
    assert [status_of(harness, device, n) for n in (1, 2, 3)] == [OperationStatus.SUCCEEDED] * 3


@pytest.mark.parametrize("moves", [*([move] for move in MOVES), list(MOVES)], ids=str)
async def test_the_password_of_a_token_to_adopt_ends_though_the_device_moves_at_once(
    moves: list[str],
) -> None:
    """The adoption was not carried out, so nothing maintains what the device has."""
    harness = over_two_registries()
    leaked = make_by_hand(harness, "by-hand")
    device = harness.register()
    await harness.ask(adopt="by-hand")
    with harness.cloud.unavailable("ledgers.put"):
        await harness.run_until(lambda: harness.cloud.record(device).status.adopted, MINUTE)
    await harness.rotate(device, immediately=True)
    for move in moves:
        await harness.ask(**MOVES[move])
    harness.devices_answer = False
    await harness.run_for(5 * MINUTE)
    assert not harness.cloud.opens(leaked)
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).spec.rotation is None


@EACH_MOVE
async def test_a_rotation_is_carried_out_though_the_device_moves_at_once(move: str) -> None:
    harness = over_two_registries()
    device = await ready_for_good(harness)
    (before,) = harness.cloud.passwords_made
    await harness.rotate(device)
    await harness.ask(**MOVES[move])
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).spec.rotation is None
    assert not harness.cloud.opens(before)


async def test_a_rotation_at_once_reaches_a_token_that_the_device_is_about_to_leave() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="portone")
    await harness.run_for(2 * MINUTE)
    before = list(harness.cloud.passwords_made)
    assert len(before) == 2
    await harness.rotate(device, immediately=True)
    await harness.run_for(2 * MINUTE)
    assert not any(harness.cloud.opens(password) for password in before)
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_blocked_move_does_not_hold_up_a_rotation() -> None:
    harness = over_two_registries(capacity=1)
    harness.cloud.add_foreign_client(PORT_ONE, "foreign")
    device = await harness.make_ready()
    (leaked,) = harness.cloud.passwords_made
    await harness.ask(connectedRegistry="portone")
    await harness.run_for(HOUR)
    await harness.rotate(device, immediately=True)
    await harness.run_for(5 * MINUTE)
    assert harness.reason(device) is Reason.CONNECTED_REGISTRY_FULL
    assert not harness.cloud.opens(leaked)
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}
    assert status_of(harness, device, 3) is OperationStatus.SUCCEEDED
    assert status_of(harness, device, 2) is OperationStatus.FAILED
    await harness.rotate(device)
    await harness.run_for(2 * HOUR)
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[2]}
    assert status_of(harness, device, 4) is OperationStatus.SUCCEEDED


@pytest.mark.parametrize("move", [m for m in MOVES if "another" not in m])
async def test_a_slot_with_a_lost_password_is_filled_again_after_a_move(move: str) -> None:
    harness = over_two_registries()
    device = harness.register()
    with harness.cloud.failing("registries.generate_password", fault=Fault.ANSWER_LOST, times=1):
        await harness.ask()
        await harness.run_until(lambda: bool(harness.cloud.passwords_made), MINUTE)
    await harness.ask(**MOVES[move])
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    harness.must_stay_logged_in.add(device)
    await harness.rotate(device)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).spec.rotation is None


async def test_a_slot_of_a_lost_renewal_is_filled_again_after_a_move() -> None:
    harness = over_two_registries()
    device = await ready_for_good(harness)
    with harness.cloud.failing("registries.generate_password", fault=Fault.ANSWER_LOST, times=1):
        await harness.rotate(device)
        await harness.run_until(lambda: len(harness.cloud.passwords_made) == 2, MINUTE)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).spec.rotation is None
    assert harness.cloud.record(device).status.slots_requested == frozenset()


BLOCKED: dict[str, tuple[dict[str, Any], Reason]] = {
    "full": ({"connectedRegistry": "planttwo"}, Reason.CONNECTED_REGISTRY_FULL),
    "full elsewhere": ({"connectedRegistry": "portone"}, Reason.CONNECTED_REGISTRY_FULL),
    "site full": ({"connectedRegistry": None, "site": "all"}, Reason.SITE_FULL),
    "not synced": ({"repositories": ["press/app"]}, Reason.REPOSITORIES_NOT_SYNCED),
}


async def with_blocked_change(name: str) -> tuple[Harness, DeviceKey]:
    harness = over_two_registries(capacity=1)
    for ref in (PLANT_TWO, PORT_ONE):
        harness.cloud.add_foreign_client(ref, f"foreign-{ref.name}")
    device = await ready_for_good(harness)
    changes, reason = BLOCKED[name]
    await harness.ask(**changes)
    await harness.run_for(HOUR)
    assert harness.reason(device) is reason
    return harness, device


@pytest.mark.parametrize("name", BLOCKED)
async def test_a_blocked_device_keeps_what_it_has_for_years(name: str) -> None:
    harness, device = await with_blocked_change(name)
    since = harness.cloud.record(device).status.condition.since
    for _ in range(5):
        harness.clock.advance(40 * DAY)
        await harness.run_for(3 * HOUR)
    record = harness.cloud.record(device)
    assert record.status.condition.reason is BLOCKED[name][1]
    assert record.status.condition.since == since
    assert len(harness.cloud.passwords_made) >= 3
    view = Device.of(record)
    assert view.delivery is not None
    assert view.delivery.expires_on > harness.clock.now() + 40 * DAY
    assert view.delivery.acknowledged_at is not None
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["repositories"] == ["plant/app"]


@pytest.mark.parametrize("name", BLOCKED)
async def test_a_blocked_device_is_repaired_and_warned_of(name: str) -> None:
    harness, device = await with_blocked_change(name)
    harness.must_stay_logged_in.clear()
    token = next(t for t in harness.cloud.tokens if t.startswith("fp-"))
    harness.cloud.put_clients(PLANT_ONE)
    harness.cloud.sites[PLANT_ONE].go_offline()
    harness.cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere:8000"})
    await harness.run_for(2 * HOUR)
    assert harness.reason(device) is BLOCKED[name][1]
    assert harness.cloud.clients(PLANT_ONE) == [token]
    assert harness.cloud.twin_entry(device, PLANT_ONE)["address"] == "plantone.site.example:8000"
    found = harness.cloud.record(device).status.warnings
    assert [w.reason for w in found] == [Reason.CONNECTED_REGISTRY_OFFLINE]


@pytest.mark.parametrize("name", BLOCKED)
async def test_a_blocked_device_whose_password_expires_is_warned_of(name: str) -> None:
    harness, device = await with_blocked_change(name)
    harness.must_stay_logged_in.clear()
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(3 * HOUR)
    harness.clock.advance(75 * DAY)
    await harness.run_for(3 * HOUR)
    found = harness.cloud.record(device).status.warnings
    assert [w.reason for w in found] == [Reason.PASSWORD_EXPIRES_SOON]


@pytest.mark.parametrize("name", BLOCKED)
async def test_a_blocked_change_is_carried_out_when_nothing_blocks_it(name: str) -> None:
    harness, device = await with_blocked_change(name)
    harness.clock.advance(40 * DAY)
    await harness.run_for(3 * HOUR)
    for ref in (PLANT_TWO, PORT_ONE):
        harness.cloud.put_clients(ref)
    harness.cloud.let_sync(PLANT_ONE, "repositories/press/*/content/read")
    await harness.run_for(4 * HOUR)
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert record.status.retiring == ()
    assert status_of(harness, device, 2) is OperationStatus.SUCCEEDED
    writes = harness.cloud.writes()
    await harness.reconcile(device)
    assert harness.cloud.writes() == writes


async def test_a_request_for_the_present_place_cancels_a_move_and_keeps_the_password() -> None:
    harness, device = await with_blocked_change("full elsewhere")
    harness.clock.advance(40 * DAY)
    await harness.run_for(3 * HOUR)
    writes = harness.cloud.writes()
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.writes() == writes
    assert status_of(harness, device, 2) is OperationStatus.CANCELED
    assert status_of(harness, device, 3) is OperationStatus.SUCCEEDED


async def unanswered() -> tuple[Harness, DeviceKey]:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    return harness, device


async def test_a_rotation_says_that_it_waits_for_the_device() -> None:
    harness, device = await unanswered()
    application = harness.processes[0].application
    proposed = await application.rotating.propose(device, immediately=False, requested_by="a test")
    finding = (await application.dry_run.plan_for(proposed)).finding
    assert finding is not None
    assert finding.reason is Reason.AWAITING_DEVICE
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.WAITING, Reason.AWAITING_DEVICE)
    assert condition.remedy is not None
    reads = harness.cloud.calls.count("registries.get_token")
    await harness.run_for(DAY)
    assert harness.cloud.calls.count("registries.get_token") - reads < 60
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).status.observed_generation == 2
    assert len(harness.cloud.passwords_made) == 2


@pytest.mark.parametrize("repositories", ["plant/app", "plant/b"])
async def test_a_request_after_a_rotation_that_waits_ends_by_itself(repositories: str) -> None:
    harness, device = await unanswered()
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    asked = await harness.ask(repositories=[repositories])
    waiting = harness.processes[0].onboarding.wait(
        asked, generation=asked.spec.intent_generation, seconds=20
    )
    begun = harness.clock.now()
    await waiting
    await harness.run_for(MINUTE)
    assert harness.clock.now() - begun < 2 * MINUTE
    assert status_of(harness, device, asked.spec.intent_generation) is OperationStatus.SUCCEEDED
    assert status_of(harness, device, 2) is OperationStatus.RUNNING
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == [repositories]
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert status_of(harness, device, 2) is OperationStatus.SUCCEEDED
    assert harness.cloud.record(device).status.observed_generation == (
        harness.cloud.record(device).spec.generation
    )


@pytest.mark.parametrize("found_by", ["a pass", "the event", "the sweep"])
async def test_a_device_created_again_has_nothing_until_somebody_asks_for_it(found_by: str) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(HOUR)
    (old,) = harness.cloud.passwords_made
    harness.cloud.register(device)
    match found_by:
        case "a pass":
            harness.make_due(device)
        case "the event":
            await harness.handle(device, created=False)
            await harness.handle(device, created=True)
        case _:
            await harness.sweep()
    await harness.run_for(HOUR)
    record = harness.cloud.record(device)
    assert record.is_tombstone
    assert record.spec.revocation is not None
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    assert not harness.cloud.opens(old)
    harness.opt_in(device)
    assert (await harness.sweep()).onboarded == 1
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}


async def test_a_request_for_a_device_created_again_is_for_the_new_one() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(HOUR)
    (old,) = harness.cloud.passwords_made
    harness.cloud.register(device)
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert not harness.cloud.opens(old)


async def test_a_device_created_again_during_its_revoke_opts_in_by_its_tag() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(HOUR)
    harness.cloud.unregister(device)
    await harness.handle(device, created=False)
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}
