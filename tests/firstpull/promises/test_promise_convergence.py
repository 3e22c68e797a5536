"""P3: whatever fails, the device converges, and one more pass writes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from tests.firstpull.fakes import CRASH_AFTER, FAULTS, Fault
from tests.firstpull.scenarios import ONBOARDING, SCENARIOS, Outcome, Scenario, run, storm

EACH_SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
EACH_FAULT = pytest.mark.parametrize(
    "fault", FAULTS, ids=["unavailable", "answer lost", "crash before", "crash after"]
)


async def ends_like_none(
    scenario: Scenario, runs: Iterable[dict[int, Fault]], *, processes: int = 1
) -> int:
    """Run a scenario without faults, then with these; returns how many faults were met."""
    smooth = await run(scenario, {})
    assert smooth.faults_met == 0
    met, outcomes = 0, [smooth]
    for faults in runs:
        outcomes.append(await run(scenario, faults, processes=processes))
        met += outcomes[-1].faults_met
    for outcome in outcomes:
        check(outcome, like=smooth)
    return met


def check(outcome: Outcome, *, like: Outcome) -> None:
    assert outcome.state == like.state
    assert not outcome.writes_of_one_more_pass


@EACH_SCENARIO
async def test_a_fault_of_each_kind_at_some_call_ends_like_none(scenario: Scenario) -> None:
    calls = random.Random(5).sample(range(1, 40), len(FAULTS))  # noqa: S311 - chance, not secrets
    runs = ({call: fault} for call, fault in zip(calls, FAULTS, strict=True))
    assert await ends_like_none(scenario, runs) >= 2


@pytest.mark.slow
@EACH_FAULT
@EACH_SCENARIO
async def test_a_fault_at_any_call_ends_like_none(scenario: Scenario, fault: Fault) -> None:
    calls = (await run(scenario, {})).calls
    runs = ({number: fault} for number in range(1, calls + 20))
    assert await ends_like_none(scenario, runs) > 20


@pytest.mark.slow
async def test_two_crashes_at_any_calls_end_like_none() -> None:
    runs = (
        {first: CRASH_AFTER, second: CRASH_AFTER}
        for first in range(1, 46, 3)
        for second in range(first + 1, first + 50, 7)
    )
    assert await ends_like_none(ONBOARDING, runs) > 180


@pytest.mark.parametrize("seeds", [1, pytest.param(16, marks=pytest.mark.slow)])
@EACH_SCENARIO
async def test_a_storm_of_faults_ends_like_none(scenario: Scenario, seeds: int) -> None:
    runs = (storm(seed, chance=0.1, calls=150) for seed in range(seeds))
    assert await ends_like_none(scenario, runs, processes=3) >= 2 * seeds
