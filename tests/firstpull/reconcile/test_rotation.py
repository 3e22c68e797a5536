"""Another password before its time, once for each password that is to be replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Refused
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import HUB, PLANT_ONE, Harness
from tests.firstpull.scenarios import (
    EACH_OR_SOME_CALLS,
    about_to_renew,
    at_each_call,
    ready_for_good,
    renew,
)
from tests.world.calls import Fault

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def accepted(harness: Harness) -> list[int]:
    """Which of the passwords made so far the container registry accepts, by their number."""
    (token,) = harness.cloud.tokens
    valid = harness.cloud.accepted(token)
    return [n for n, password in enumerate(harness.cloud.passwords_made) if password in valid]


def delivered(harness: Harness, device: DeviceKey) -> int:
    """Which of the passwords made so far is in the twin."""
    password = harness.cloud.twin_entry(device, PLANT_ONE)["password"]
    return harness.cloud.passwords_made.index(password)


async def never_answered(harness: Harness) -> DeviceKey:
    """A device that has its first password in the twin, and has not answered."""
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    return device


async def test_the_new_password_is_in_use_and_the_old_one_gone() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    before = harness.cloud.record(device).status.delivery
    await harness.rotate(device)
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert (record.spec.generation, record.status.observed_generation) == (2, 2)
    assert record.spec.rotation is None
    assert accepted(harness) == [1]
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}
    assert before is not None
    assert record.status.delivery is not None
    assert (before.slot, record.status.delivery.slot) == (Slot.ONE, Slot.TWO)
    (versions,) = harness.cloud.secrets.values()
    assert [stored.enabled for stored in versions] == [False, True]


async def test_each_step_waits_for_the_one_before() -> None:
    """Made, stored, synced, delivered, acknowledged; only then is the old password removed."""
    harness = Harness(sync_every=None)
    device = await ready_for_good(harness)
    await harness.rotate(device)
    await harness.run_for(3 * HOUR)
    assert (accepted(harness), delivered(harness, device)) == ([0, 1], 0)
    assert harness.state(device) is State.WAITING
    assert harness.reason(device) is Reason.AWAITING_SYNC
    assert not harness.cloud.record(device).is_converged
    harness.devices_answer = False
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(HOUR)
    assert (accepted(harness), delivered(harness, device)) == ([0, 1], 1)
    assert harness.state(device) is State.DELIVERED
    harness.devices_answer = True
    await harness.run_for(2 * HOUR)
    assert (accepted(harness), delivered(harness, device)) == ([1], 1)
    assert harness.state(device) is State.READY


async def test_ten_requests_at_once_replace_once() -> None:
    harness = Harness(processes=3)
    device = await harness.make_ready()
    records = await asyncio.gather(*(harness.rotate(device) for _ in range(10)))
    assert {record.spec.generation for record in records} == {2}
    await harness.run_until_quiet()
    assert accepted(harness) == [1]


@pytest.mark.parametrize(
    "operation", ["hubs.twin", "records.replace", "secrets.put", "hubs.patch_desired"]
)
async def test_a_request_before_the_delivery_is_that_rotation(operation: str) -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.rotate(device)
    async with harness.while_held(operation, harness.run_until_quiet()):
        await harness.rotate(device)
    assert accepted(harness) == [1]


async def test_a_request_after_the_delivery_waits_for_the_answer() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    await harness.rotate(device)
    harness.devices_answer = False
    await harness.run_until(lambda: delivered(harness, device) == 1, HOUR)
    await harness.rotate(device)
    await harness.run_for(6 * HOUR)
    assert accepted(harness) == [0, 1]
    assert not harness.cloud.record(device).is_converged
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [2]
    assert harness.state(device) is State.READY


async def test_a_rotation_during_a_renewal_is_that_renewal() -> None:
    harness = Harness(sync_every=None)
    device = await ready_for_good(harness)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(5 * MINUTE)
    assert accepted(harness) == [0, 1]
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [1]
    assert harness.cloud.record(device).spec.rotation is None


async def test_a_rotation_ends_like_a_renewal() -> None:
    rotated, renewed = Harness(), Harness()
    device = await rotated.make_ready()
    await rotated.rotate(device)
    await rotated.run_until_quiet()
    await renew(renewed, await about_to_renew(renewed))
    ends = [end_state(harness.cloud, device) for harness in (rotated, renewed)]
    assert ends[0] | {"generation": None} == ends[1] | {"generation": None}


async def test_immediately_ends_the_old_password_at_once() -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    harness.devices_answer = False
    await harness.rotate(device, immediately=True)
    await harness.run_for(MINUTE)
    assert (accepted(harness), delivered(harness, device)) == ([1], 1)
    assert harness.state(device) is State.DELIVERED
    assert harness.cloud.record(device).is_converged
    (versions,) = harness.cloud.secrets.values()
    assert [stored.enabled for stored in versions] == [False, True]
    harness.devices_answer = True
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY


async def test_immediately_ends_the_passwords_of_an_unfinished_rotation_too() -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    assert accepted(harness) == [0, 1]
    record = await harness.rotate(device, immediately=True)
    assert record.spec.generation == 3
    await harness.run_for(MINUTE)
    assert accepted(harness) == [2]
    assert harness.cloud.record(device).spec.rotation is None


async def test_immediately_stays_so_whatever_is_asked_for_next() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = await harness.rotate(device, immediately=True)
    assert await harness.rotate(device) == first
    assert await harness.rotate(device, immediately=True) == first


async def test_immediately_happens_once_though_other_repositories_are_asked_for_meanwhile() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.rotate(device, immediately=True)
    held = harness.while_held("hubs.patch_desired", harness.reconcile(device), answer=True)
    async with held:
        await harness.ask(repositories=["plant/app", "plant/b"])
    await harness.run_until_quiet()
    assert len(harness.cloud.passwords_made) == 2


async def test_immediately_ends_the_passwords_of_a_disabled_device_and_makes_none() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.change_identity(device, enabled=False)
    await harness.rotate(device, immediately=True)
    await harness.run_for(HOUR)
    assert accepted(harness) == []
    assert harness.reason(device) is Reason.DEVICE_DISABLED
    assert len(harness.cloud.passwords_made) == 1
    harness.cloud.change_identity(device, enabled=True)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert accepted(harness) == [1]


async def test_a_device_that_never_answered_keeps_its_password_unless_rotated_immediately() -> None:
    harness = Harness()
    device = await never_answered(harness)
    await harness.rotate(device)
    await harness.run_for(6 * HOUR)
    assert accepted(harness) == [0]
    await harness.rotate(device, immediately=True)
    await harness.run_for(MINUTE)
    assert (accepted(harness), delivered(harness, device)) == ([1], 1)


async def test_a_device_that_never_answered_is_rotated_when_it_has() -> None:
    harness = Harness()
    device = await never_answered(harness)
    await harness.rotate(device)
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [1]
    assert harness.state(device) is State.READY


async def test_a_device_without_a_password_has_nothing_to_rotate() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    with pytest.raises(Refused) as refused:
        await harness.rotate(device)
    assert refused.value.reason is Reason.NOTHING_TO_ROTATE


async def test_a_password_is_rotated_once_its_delivery_is_recorded() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.inject(Fault.CRASH_AFTER, at="hubs.patch_desired")
    while not harness.crashes:
        await harness.attempt(lambda app: app.worker.reconcile(device))
    assert delivered(harness, device) == 0
    with pytest.raises(Refused) as refused:
        await harness.rotate(device)
    assert refused.value.reason is Reason.NOTHING_TO_ROTATE
    await harness.run_until_quiet()
    await harness.rotate(device)
    await harness.run_until_quiet()
    assert accepted(harness) == [1]


@pytest.mark.parametrize("after", [timedelta(0), 20 * MINUTE], ids=["during", "after"])
async def test_a_revoked_device_is_not_rotated(after: timedelta) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(after)
    with pytest.raises(Refused) as refused:
        await harness.rotate(device)
    assert refused.value.reason is Reason.DEVICE_REVOKED


async def test_an_unknown_device_cannot_be_rotated() -> None:
    with pytest.raises(NotKnown):
        await Harness().rotate(DeviceKey(hub=HUB, device_id="stranger"))


async def test_the_rotation_is_recorded_before_a_reconcile_request_is_enqueued() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun, delivery = len(harness.cloud.calls), harness.cloud.record(device).status.delivery
    record = await harness.rotate(device)
    assert harness.cloud.calls[begun:] == ["records.get", "records.replace", "queue.put"]
    assert record.spec.rotation is not None
    assert delivery is not None
    assert record.spec.rotation.replaces == delivery.secret_version
    assert record.spec.rotation.requested_by == "a test"
    assert record.status.condition.state is State.PENDING


async def test_a_disabled_device_is_rotated_when_it_is_enabled() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    harness.cloud.change_identity(device, enabled=False)
    await harness.rotate(device)
    await harness.run_for(HOUR)
    assert accepted(harness) == [0]
    assert harness.reason(device) is Reason.DEVICE_DISABLED
    harness.cloud.change_identity(device, enabled=True)
    await harness.run_for(HOUR)
    assert accepted(harness) == [1]


async def test_other_repositories_asked_for_during_a_rotation_do_not_end_it() -> None:
    harness = Harness(sync_every=None)
    device = await ready_for_good(harness)
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    assert (await harness.ask(repositories=["plant/other"])).spec.rotation is not None
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [1]
    assert harness.state(device) is State.READY
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]


async def rotating(harness: Harness) -> DeviceKey:
    device = await ready_for_good(harness)
    await harness.rotate(device)
    return device


@EACH_OR_SOME_CALLS
async def test_a_rotation_at_any_call_of_another_never_locks_the_device_out(
    calls: Iterable[int],
) -> None:
    within = timedelta(seconds=30)
    async for harness, device in at_each_call(rotating, Harness.rotate, calls=calls, within=within):
        await harness.run_until_quiet()
        last = len(harness.cloud.passwords_made) - 1
        assert last in (1, 2)
        assert accepted(harness) == [last]
        assert harness.state(device) is State.READY
