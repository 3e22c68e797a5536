"""P3: whatever fails, the device converges, and one more pass writes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from tests.firstpull.scenarios import SCENARIOS, Outcome, run, storm
from tests.world.calls import FAULTS, Fault

EACH_SCENARIO = pytest.mark.parametrize("name", SCENARIOS)
EACH_FAULT = pytest.mark.parametrize(
    "fault", FAULTS, ids=["unavailable", "answer lost", "crash before", "crash after"]
)
_smooth: dict[str, Outcome] = {}


async def smooth(name: str) -> Outcome:
    """The outcome of a scenario without faults."""
    if name not in _smooth:
        _smooth[name] = await run(SCENARIOS[name], {})
    return _smooth[name]


async def faults_met(name: str, runs: Iterable[dict[int, Fault]], *, processes: int = 1) -> int:
    """Run a scenario with these faults, and see that it ends as without any."""
    expected, met = await smooth(name), 0
    for faults in runs:
        outcome = await run(SCENARIOS[name], faults, processes=processes)
        assert outcome.state == expected.state
        assert not outcome.writes_of_one_more_pass
        met += outcome.faults_met
    return met


@EACH_SCENARIO
async def test_without_faults_one_more_pass_writes_nothing(name: str) -> None:
    assert not (await smooth(name)).writes_of_one_more_pass


@EACH_FAULT
@EACH_SCENARIO
async def test_a_fault_at_some_call_ends_like_none(name: str, fault: Fault) -> None:
    chance = random.Random(f"{name} {fault}")  # noqa: S311 - chance, not secrets
    call = chance.randrange(1, (await smooth(name)).calls)
    await faults_met(name, [{call: fault}])


@pytest.mark.slow
@EACH_FAULT
@EACH_SCENARIO
async def test_a_fault_at_any_call_ends_like_none(name: str, fault: Fault) -> None:
    calls = (await smooth(name)).calls
    assert await faults_met(name, ({call: fault} for call in range(1, calls + 20))) > 20


@pytest.mark.slow
async def test_two_crashes_at_any_calls_end_like_none() -> None:
    runs = (
        {first: Fault.CRASH_AFTER, second: Fault.CRASH_AFTER}
        for first in range(1, 46, 3)
        for second in range(first + 1, first + 50, 7)
    )
    assert await faults_met("onboarding", runs) > 180


@pytest.mark.parametrize("seeds", [1, pytest.param(16, marks=pytest.mark.slow)])
@EACH_SCENARIO
async def test_a_storm_of_faults_ends_like_none(name: str, seeds: int) -> None:
    runs = (storm(seed, chance=0.1, calls=150) for seed in range(1, seeds + 1))
    assert await faults_met(name, runs, processes=3) >= 2 * seeds
