"""The longest chain of calls."""

from __future__ import annotations

import pytest

from benchmarks.floor import (
    DELIVER_AFTER_SYNC,
    FIRST_OF_ITS_SCOPE_MAP,
    MOVE,
    ONBOARD,
    REVOKE,
    ROTATE,
    Step,
    longest_chain,
)
from benchmarks.profile import TOKEN_PUT, Profile

_SHORT = Step(name="short", seconds=1.0, after={})
_LONG = Step(name="long", seconds=2.0, after={})
_LAST = Step(name="last", seconds=0.5, after={"short": "one reason", "long": "another one"})


def test_a_step_begins_when_the_last_one_that_it_waits_for_has_ended() -> None:
    chain = longest_chain((_SHORT, _LONG, _LAST))
    assert chain.steps == ("long", "last")
    assert chain.seconds == 2.5


def test_steps_that_wait_for_nothing_run_side_by_side() -> None:
    assert longest_chain((_SHORT, _LONG)).seconds == 2.0


@pytest.mark.parametrize(
    "steps", [ONBOARD, FIRST_OF_ITS_SCOPE_MAP, REVOKE, MOVE, ROTATE, DELIVER_AFTER_SYNC]
)
def test_each_step_waits_for_earlier_ones_and_says_why(steps: tuple[Step, ...]) -> None:
    names: list[str] = []
    for step in steps:
        assert set(step.after) <= set(names)
        assert all(reason.endswith(".") for reason in step.after.values())
        names.append(step.name)
    assert len(set(names)) == len(names)


def test_a_longer_operation_of_the_token_makes_the_floor_as_much_longer() -> None:
    short, long = (longest_chain(ONBOARD, operation_seconds=s).seconds for s in (0.5, 1.2))
    assert long - short == pytest.approx(0.7)


def test_an_operation_that_ends_before_the_answer_of_the_put_costs_nothing() -> None:
    at_once = longest_chain(ONBOARD, operation_seconds=0.0).seconds
    assert longest_chain(ONBOARD, operation_seconds=TOKEN_PUT / 2).seconds == at_once


def test_the_first_device_with_its_repositories_waits_for_the_scope_map() -> None:
    operation = Profile().mean_operation_seconds
    first = longest_chain(FIRST_OF_ITS_SCOPE_MAP, operation_seconds=operation)
    assert "PUT the scope map" in first.steps
    assert first.seconds > longest_chain(ONBOARD, operation_seconds=operation).seconds
