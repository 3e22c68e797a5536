"""What an operator sees at a glance, and what it costs while many look."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from firstpull.fleet.overview import Overview
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.harness import Harness
from tests.world.calls import Fault


async def overview(harness: Harness) -> Overview:
    return await harness.processes[0].application.overviews.overview()


async def test_it_tells_what_fails_waits_and_happens_with_the_same_figures_as_the_summary() -> None:
    harness = Harness()
    await harness.make_ready("press-1")
    await harness.ask("not-there")
    harness.register("press-2")
    await harness.ask("press-2", connectedRegistry="planttwo", repositories=["plant/app"])
    await harness.run_for(timedelta(minutes=5))
    found = await overview(harness)
    application = harness.processes[0].application
    summary = await application.summaries.summary()
    assert replace(found.now.summary, at=summary.at) == summary
    (trouble,) = found.now.troubles
    assert (trouble.state, trouble.reason) == (State.WAITING, Reason.DEVICE_NOT_REGISTERED)
    assert trouble.longest.device.device_id == "not-there"
    assert [r.device.device_id for r in found.now.waiting] == ["not-there"]
    assert {r.device.device_id for r in found.now.expiring} == {"press-1", "press-2"}
    times = [one.entry.at for one in found.now.happened]
    assert times == sorted(times, reverse=True)
    assert found.around.sites == await application.sites.view(with_retiring=False)


async def test_a_bulk_shows_what_is_left_and_its_pace() -> None:
    harness = Harness()
    await harness.make_fleet(3)
    await harness.ask("press-9")
    found = (await overview(harness)).now.under_way
    assert (found.left, found.done) == (1, 3)
    assert found.minutes_left is None or found.minutes_left > 0


async def test_many_who_look_at_once_cost_one_reading_and_a_later_look_another() -> None:
    harness = Harness()
    await harness.make_ready()
    calls = harness.cloud.calls
    before = calls.count("records.page")
    await asyncio.gather(*(overview(harness) for _ in range(20)))
    assert calls.count("records.page") == before + 1
    harness.clock.advance_to(harness.clock.now() + timedelta(minutes=1))
    await overview(harness)
    assert calls.count("records.page") == before + 2


async def test_what_does_not_answer_is_named_and_hides_no_device() -> None:
    harness = Harness()
    await harness.make_ready()
    with harness.cloud.failing("registries.list_connected_registries", fault=Fault.THROTTLED):
        found = await overview(harness)
    assert found.around.sites is None
    assert [text.partition(":")[0] for text in found.around.unread] == ["Sites"]
    assert found.now.summary.devices == 1


async def test_each_sweep_adds_its_counts_to_the_history_and_no_request_more() -> None:
    harness = Harness()
    await harness.make_ready()
    calls = harness.cloud.calls
    for hours in range(3):
        before = calls.count("sweeps.get") + calls.count("sweeps.put")
        await harness.sweep()
        assert calls.count("sweeps.get") + calls.count("sweeps.put") == before + 2, hours
        harness.clock.advance_to(harness.clock.now() + timedelta(hours=1))
    sweep = (await overview(harness)).around.sweep
    assert sweep is not None
    assert [dict(counts.states) for counts in sweep.history] == [{State.READY: 1}] * 3
