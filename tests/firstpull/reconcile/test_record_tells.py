"""The record tells since when something is so, what kept failing, and what is about to leave."""

from __future__ import annotations

from datetime import timedelta

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness

HOUR = timedelta(hours=1)


async def test_a_condition_keeps_its_time_while_every_try_fails_alike() -> None:
    harness = Harness()
    device = harness.register()
    with harness.cloud.unavailable("registries.generate_password"):
        await harness.ask()
        await harness.run_for(timedelta(minutes=1))
        first = harness.cloud.record(device)
        await harness.run_for(HOUR)
    later = harness.cloud.record(device)
    assert later.status.condition.reason is Reason.SERVICE_UNAVAILABLE
    assert later.status.condition.since == first.status.condition.since
    assert later.schedule.attempts > first.schedule.attempts
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_what_keeps_failing_is_one_entry_with_its_first_and_last_time() -> None:
    harness = Harness()
    device = harness.register()
    with harness.cloud.unavailable("registries.generate_password"):
        await harness.ask()
        await harness.run_for(HOUR)
    record = harness.cloud.record(device)
    (failure,) = (e for e in record.history if Reason.SERVICE_UNAVAILABLE.value in e.detail)
    assert failure.count == record.schedule.attempts > 5
    assert failure.first_at is not None
    assert failure.at - failure.first_at > HOUR / 2
    assert record.history[0].event == "device.intent.recorded"
    await harness.run_until_quiet()
    with harness.cloud.unavailable("registries.generate_password"):
        await harness.rotate(device)
        await harness.run_for(HOUR)
    failures = [e for e in harness.cloud.record(device).history if e.count > 1]
    assert len(failures) == 2


async def test_a_place_that_a_device_is_about_to_leave_counts_as_leaving() -> None:
    harness = Harness()
    devices = [await harness.make_ready(f"press-{number}") for number in range(2)]
    harness.devices_answer = False
    for device in devices:
        await harness.ask(device.device_id, connectedRegistry="planttwo")
    await harness.run_for(timedelta(minutes=2))
    (site,) = (await harness.processes[0].application.sites.view()).sites
    leaving = {room.ref: (room.ours, room.retiring) for room in site.rooms}
    assert leaving == {PLANT_ONE: (2, 2), PLANT_TWO: (2, 0)}
    harness.devices_answer = True
    await harness.run_until_quiet()
    (site,) = (await harness.processes[0].application.sites.view()).sites
    leaving = {room.ref: (room.ours, room.retiring) for room in site.rooms}
    assert leaving == {PLANT_ONE: (0, 0), PLANT_TWO: (2, 0)}
