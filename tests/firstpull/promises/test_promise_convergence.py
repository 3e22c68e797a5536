"""P3: whatever went wrong, the device converges, and one more pass writes nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from tests.firstpull.fakes import Fault, FaultKind
from tests.firstpull.scenarios import ONBOARDING, SCENARIOS, Outcome, Scenario, run

EACH_SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
FAULTS = pytest.mark.parametrize(
    "fault",
    [Fault(kind=kind, after=after) for kind in FaultKind for after in (False, True)],
    ids=["unavailable", "answer lost", "crash before", "crash after"],
)
CRASH = Fault(kind=FaultKind.CRASH, after=True)


async def with_fault_at_each_call(scenario: Scenario, fault: Fault) -> AsyncIterator[Outcome]:
    """One run per call; a call that fails by itself has no answer to lose."""
    number, calls = 1, 1
    while number <= calls:
        outcome = await run(scenario, {number: fault})
        calls = outcome.calls
        if outcome.faults_met:
            yield outcome
        number += 1


def check(outcome: Outcome, *, like: Outcome) -> None:
    assert outcome.state == like.state
    assert not outcome.writes_of_one_more_pass


@EACH_SCENARIO
async def test_without_faults_one_more_pass_writes_nothing(scenario: Scenario) -> None:
    outcome = await run(scenario, {})
    check(outcome, like=outcome)
    assert outcome.faults_met == 0


@FAULTS
@EACH_SCENARIO
async def test_one_fault_at_any_call_ends_like_none(scenario: Scenario, fault: Fault) -> None:
    smooth, runs = await run(scenario, {}), 0
    async for outcome in with_fault_at_each_call(scenario, fault):
        check(outcome, like=smooth)
        runs += 1
    assert runs > 20


async def test_two_crashes_at_any_calls_end_like_none() -> None:
    smooth, met = await run(ONBOARDING, {}), 0
    for first in range(1, 46, 3):
        for second in range(first + 1, first + 50, 7):
            outcome = await run(ONBOARDING, {first: CRASH, second: CRASH})
            check(outcome, like=smooth)
            met += outcome.faults_met
    assert met > 180


@pytest.mark.parametrize("processes", [1, 3])
@EACH_SCENARIO
async def test_a_storm_of_faults_ends_like_none(scenario: Scenario, processes: int) -> None:
    smooth, met = await run(scenario, {}), 0
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        faults = {
            number: Fault(kind=chance.choice(list(FaultKind)), after=chance.random() < 0.5)
            for number in range(1, 150)
            if chance.random() < 0.1
        }
        outcome = await run(scenario, faults, processes=processes)
        check(outcome, like=smooth)
        met += outcome.faults_met
    assert met > 35
