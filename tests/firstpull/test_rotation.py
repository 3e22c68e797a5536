"""Another password before its time, once for each that is asked to be replaced."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Refused
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import end_state
from tests.firstpull.fakes import READS
from tests.firstpull.harness import HUB, PLANT_ONE, Harness, make_policy
from tests.firstpull.records import grant_of

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


async def ready_without_syncs(harness: Harness) -> DeviceKey:
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    harness.must_stay_logged_in.add(device)
    return device


async def test_the_new_password_is_in_use_and_the_old_one_gone() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    before = harness.cloud.record(device)
    await harness.rotate(device)
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert (record.spec.generation, record.status.observed_generation) == (2, 2)
    assert record.spec.rotation is None
    assert accepted(harness) == [1]
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[1]}
    assert before.status.delivery is not None
    assert record.status.delivery is not None
    assert (before.status.delivery.slot, record.status.delivery.slot) == (Slot.ONE, Slot.TWO)
    (versions,) = harness.cloud.secrets.values()
    assert [stored.version.enabled for stored in versions] == [False, True]


async def test_each_step_waits_for_the_one_before() -> None:
    """Made, stored, synced, delivered, acknowledged, and only then is the old one removed."""
    harness = Harness(sync_every=None)
    device = await ready_without_syncs(harness)
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


async def test_asked_ten_times_at_once_it_replaces_once() -> None:
    harness = Harness(processes=3)
    device = await harness.make_ready()
    records = await asyncio.gather(*(harness.rotate(device) for _ in range(10)))
    assert {record.spec.generation for record in records} == {2}
    await harness.run_until_quiet()
    assert accepted(harness) == [1]
    assert len(harness.cloud.passwords_made) == 2


async def test_asked_again_at_any_time_before_the_delivery_it_replaces_once() -> None:
    for operation in ("hubs.twin", "records.replace", "secrets.put", "hubs.patch_desired"):
        harness = Harness(processes=2)
        device = await harness.make_ready()
        await harness.rotate(device)
        with harness.cloud.hold_call(operation) as held:
            task = asyncio.create_task(harness.run_until_quiet())
            await held.reached.wait()
            await harness.rotate(device)
            held.release.set()
            await task
        assert len(harness.cloud.passwords_made) == 2


async def test_asked_again_after_the_delivery_it_waits_for_the_answer() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    await harness.rotate(device)
    harness.devices_answer = False
    await harness.run_until(lambda: delivered(harness, device) == 1, HOUR)
    await harness.rotate(device)
    await harness.run_for(DAY)
    assert len(harness.cloud.passwords_made) == 2
    assert not harness.cloud.record(device).is_converged
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [2]
    assert harness.state(device) is State.READY


async def test_a_rotation_during_a_renewal_is_that_renewal() -> None:
    harness = Harness(sync_every=None)
    device = await ready_without_syncs(harness)
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
    await renewed.make_ready()
    renewed.clock.advance_to(renewed.cloud.record(device).schedule.due_at)
    await renewed.run_for(6 * HOUR)
    ends = [end_state(harness.cloud, device) for harness in (rotated, renewed)]
    assert ends[0] | {"generation": None} == ends[1] | {"generation": None}


async def test_immediately_ends_the_old_password_at_once() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    harness.devices_answer = False
    await harness.rotate(device, immediately=True)
    await harness.run_for(MINUTE)
    assert (accepted(harness), delivered(harness, device)) == ([1], 1)
    assert harness.state(device) is State.DELIVERED
    assert harness.cloud.record(device).is_converged
    (versions,) = harness.cloud.secrets.values()
    assert [stored.version.enabled for stored in versions] == [False, True]
    harness.devices_answer = True
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY


async def test_immediately_ends_what_an_unfinished_rotation_left_too() -> None:
    harness = Harness(sync_every=None)
    device = await ready_without_syncs(harness)
    harness.must_stay_logged_in.clear()
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    assert accepted(harness) == [0, 1]
    record = await harness.rotate(device, immediately=True)
    assert record.spec.generation == 3
    await harness.run_for(MINUTE)
    assert accepted(harness) == [2]
    assert harness.cloud.record(device).spec.rotation is None


async def test_a_gentle_rotation_does_not_soften_one_that_was_asked_for_at_once() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = await harness.rotate(device, immediately=True)
    assert await harness.rotate(device) == first
    assert await harness.rotate(device, immediately=True) == first


async def test_immediately_is_for_a_device_that_never_answered_too() -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    await harness.rotate(device, immediately=True)
    await harness.run_for(MINUTE)
    assert (accepted(harness), delivered(harness, device)) == ([1], 1)


async def test_a_device_that_never_answered_keeps_the_password_it_may_yet_read() -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    await harness.rotate(device)
    await harness.run_for(5 * DAY)
    assert accepted(harness) == [0]
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


@pytest.mark.parametrize("after", [timedelta(0), timedelta(minutes=20)], ids=["before", "after"])
async def test_a_revoked_device_is_not_rotated(after: timedelta) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(after)
    with pytest.raises(Refused) as refused:
        await harness.rotate(device)
    assert refused.value.reason is Reason.DEVICE_REVOKED


async def test_a_device_that_nobody_named_is_not_known() -> None:
    with pytest.raises(NotKnown):
        await Harness().rotate(DeviceKey(hub=HUB, device_id="stranger"))


async def test_the_rotation_is_recorded_before_anybody_is_told() -> None:
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


async def test_a_dry_run_of_a_rotation_tells_its_first_step_and_writes_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    application = harness.processes[0].application
    begun = len(harness.cloud.calls)
    proposed = await application.rotating.propose(device, immediately=False, requested_by="me")
    plan = await application.dry_run.plan_for(proposed)
    assert [(type(a).__name__, a.why) for a in plan.actions][:1] == [
        ("GeneratePassword", "another password was asked for")
    ]
    assert set(harness.cloud.calls[begun:]) <= READS
    assert harness.cloud.record(device).spec.rotation is None


async def test_a_disabled_device_is_rotated_when_it_is_enabled() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
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
    device = await ready_without_syncs(harness)
    await harness.rotate(device)
    await harness.run_for(MINUTE)
    record = await harness.ask(repositories=["plant/other"])
    assert record.spec.rotation is not None
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_for(3 * HOUR)
    assert accepted(harness) == [1]
    assert harness.state(device) is State.READY
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]


async def test_a_rotation_at_any_moment_of_another_never_locks_the_device_out() -> None:
    number, cut_in = 0, True
    while cut_in:
        number += 1
        harness = Harness(sync_every=timedelta(seconds=6))
        device = await harness.make_ready()
        harness.must_stay_logged_in.add(device)
        await harness.rotate(device)

        async def rotate(harness: Harness = harness, device: DeviceKey = device) -> None:
            await harness.rotate(device)

        with harness.at_call(number, rotate) as tasks:
            await harness.run_for(timedelta(seconds=30))
        cut_in = bool(tasks)
        if cut_in:
            await tasks[0]
            await harness.run_until_quiet()
            last = len(harness.cloud.passwords_made) - 1
            assert last in (1, 2)
            assert accepted(harness) == [last]
            assert harness.state(device) is State.READY
    assert number > 30


async def test_at_once_happens_once_whatever_is_asked_for_meanwhile() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.rotate(device, immediately=True)
    with harness.cloud.hold_call("hubs.patch_desired", answer=True) as call:
        looking = asyncio.create_task(harness.reconcile(device))
        await call.reached.wait()
        await harness.ask(repositories=["plant/app", "plant/b"])
        call.release.set()
        await looking
    await harness.run_until_quiet()
    assert len(harness.cloud.passwords_made) == 2


async def test_at_once_ends_the_passwords_of_a_device_that_is_disabled() -> None:
    harness = Harness()
    device = await harness.make_ready()
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    harness.cloud.change_identity(device, enabled=False)
    await harness.rotate(device, immediately=True)
    await harness.run_for(HOUR)
    assert harness.cloud.accepted(names.token) == set()
    assert harness.reason(device) is Reason.DEVICE_DISABLED
    assert len(harness.cloud.passwords_made) == 1
    harness.cloud.change_identity(device, enabled=True)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 2


async def test_a_device_whose_move_is_blocked_is_told_where_it_can_be_rotated() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone"}, {"name": "planttwo", "capacity": 1}]
    )
    harness = Harness(policy=policy)
    await harness.make_ready("press-9", connectedRegistry="planttwo")
    device = await harness.make_ready()
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(HOUR)
    with pytest.raises(Refused, match="old place"):
        await harness.rotate(device, immediately=True)
