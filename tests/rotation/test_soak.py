"""A share of `make soak`, with the same seed each time."""

from __future__ import annotations

import pytest

from tests.rotation.rules import naive
from tests.rotation.soak import KINDS, Fleet, Plan

FEW = Plan(devices=len(KINDS), days=3, share_of_faults=0.1)
SOME = Plan(devices=2 * len(KINDS), days=80)


async def test_no_device_is_refused_while_calls_fail_and_passwords_are_rotated() -> None:
    report = await Fleet(FEW).soak()
    assert report.rotations
    assert report.faults
    assert report.is_good, report


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_device_is_refused_in_weeks_and_one_that_was_away_too_long_comes_back() -> None:
    report = await Fleet(SOME).soak()
    assert report.rotations > SOME.devices
    assert report.came_back == 1
    assert report.is_good, report


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_naive_rule_is_refused_in_the_same_weeks(monkeypatch: pytest.MonkeyPatch) -> None:
    naive(monkeypatch)
    assert (await Fleet(SOME).soak()).refusals
