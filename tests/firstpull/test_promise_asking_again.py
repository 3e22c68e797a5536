"""P8: asking again changes nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.firstpull.end_state import end_state
from tests.firstpull.harness import PLANT_ONE, Harness


@pytest.mark.parametrize("processes", [1, 4])
async def test_the_same_request_ten_times_at_once_makes_one_of_each(processes: int) -> None:
    harness = Harness(processes=processes)
    device = harness.register()
    records = await asyncio.gather(*(harness.ask() for _ in range(10)))
    await harness.run_until_quiet()
    assert {r.spec.generation for r in records} == {1}
    cloud = harness.cloud
    assert len(cloud.tokens) == len(cloud.passwords_made) == 1
    assert [len(versions) for versions in cloud.secrets.values()] == [1]
    assert len(cloud.connected[PLANT_ONE].clients) == 1
    once = Harness()
    assert end_state(cloud, device) == end_state(once.cloud, await once.make_ready())


async def test_the_same_request_in_other_words_is_the_same_request() -> None:
    harness = Harness()
    device = await harness.make_ready(repositories=["plant/b", "plant/a"])
    before = harness.cloud.record(device)
    again = await harness.ask(
        repositories=["plant/a", "plant/b"], actions=["content/read"], containerRegistry="acrtest"
    )
    assert again.spec.generation == before.spec.generation
    assert again.spec.intent.asks_the_same(before.spec.intent)
    assert again.is_converged


async def test_asking_again_at_any_time_of_a_pass_changes_nothing() -> None:
    once = Harness()
    want = end_state(once.cloud, await once.make_ready())
    for operation in ("hubs.twin", "ledgers.put", "records.replace", "secrets.put", "queue.put"):
        harness = Harness(processes=2)
        device = harness.register()
        await harness.ask()
        with harness.cloud.hold_call(operation) as held:
            task = asyncio.create_task(harness.run_until_quiet())
            await held.reached.wait()
            await harness.ask()
            held.release.set()
            await task
        assert end_state(harness.cloud, device) == want
        assert len(harness.cloud.passwords_made) == 1


async def test_asking_again_for_a_ready_device_writes_nothing_to_the_cloud() -> None:
    harness = Harness()
    device = await harness.make_ready()
    before = harness.cloud.writes()
    for _ in range(3):
        assert (await harness.ask()).is_converged
    await harness.run_until_quiet()
    assert harness.cloud.writes() == before
    assert harness.cloud.record(device).is_converged


async def test_reconcile_requests_delivered_twice_change_nothing() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    for _ in range(40):
        harness.cloud.queue += harness.cloud.queue[:1]
        await harness.play_what_is_due()
        harness.clock.advance_to(harness.next_event())
    await harness.run_until_quiet()
    once = Harness()
    assert end_state(harness.cloud, device) == end_state(once.cloud, await once.make_ready())
    assert len(harness.cloud.passwords_made) == 1
