"""P8: asking again changes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from firstpull.model.device_record import State
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import Harness
from tests.firstpull.scenarios import smooth_end


@pytest.mark.parametrize("processes", [1, 4])
async def test_the_same_request_ten_times_at_once_makes_one_of_each(processes: int) -> None:
    harness = Harness(processes=processes)
    device = harness.register()
    records = await asyncio.gather(*(harness.ask() for _ in range(10)))
    await harness.run_until_quiet()
    assert {record.spec.generation for record in records} == {1}
    assert set(harness.cloud.writes().values()) == {1}
    assert end_state(harness.cloud, device) == await smooth_end()


async def test_the_same_request_in_other_words_is_the_same_request() -> None:
    harness = Harness()
    await harness.make_ready(repositories=["plant/b", "plant/a"])
    again = await harness.ask(
        repositories=["plant/a", "plant/b"], actions=["content/read"], containerRegistry="acrtest"
    )
    assert again.spec.generation == 1
    assert again.is_converged


@pytest.mark.parametrize(
    "operation", ["hubs.twin", "ledgers.put", "records.replace", "secrets.put", "queue.put"]
)
async def test_asking_again_during_a_pass_changes_nothing(operation: str) -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    async with harness.while_held(operation, harness.run_until_quiet()):
        await harness.ask()
    assert end_state(harness.cloud, device) == await smooth_end()
    assert len(harness.cloud.passwords_made) == 1


async def test_asking_again_for_a_ready_device_writes_nothing_to_the_cloud() -> None:
    harness = Harness()
    await harness.make_ready()
    before = harness.cloud.writes()
    for _ in range(3):
        assert (await harness.ask()).is_converged
    await harness.run_until_quiet()
    assert harness.cloud.writes() == before


async def test_reconcile_requests_delivered_twice_change_nothing() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()

    def is_ready_with_a_request_again() -> bool:
        harness.cloud.queue += harness.cloud.queue[:1]
        return harness.state(device) is State.READY

    assert await harness.run_until(is_ready_with_a_request_again, timedelta(hours=1))
    await harness.run_until_quiet()
    assert end_state(harness.cloud, device) == await smooth_end()
    assert len(harness.cloud.passwords_made) == 1
