"""Each planted bug is found by its part of `make chaos`: `make planted-bugs`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from tests.chaos.interleavings import forget_ends
from tests.chaos.lab import Lab
from tests.chaos.planted_bugs import PLANTED_BUGS, PlantedBug
from tests.chaos.real_crashes import own_lab
from tests.chaos.tally import Chaos, run_part

IN_MEMORY = [bug for bug in PLANTED_BUGS if bug.part is not None]
IN_A_LAB = [bug for bug in PLANTED_BUGS if bug.lab_part is not None]
planted = pytest.mark.skipif("PLANTED_BUGS" not in os.environ, reason="make planted-bugs")


def test_there_are_ten_or_more() -> None:
    assert len(PLANTED_BUGS) >= 10
    assert len(IN_MEMORY) + len(IN_A_LAB) == len(PLANTED_BUGS)


@planted
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", IN_MEMORY, ids=lambda bug: bug.what)
async def test_a_planted_bug_is_found(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    await forget_ends()
    bug.plant(monkeypatch)
    chaos = Chaos(part="planted", seed=14, share=bug.share, patience=1)
    assert bug.part is not None
    tally = await run_part(bug.part, chaos)
    assert tally.failures


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with own_lab(Chaos(part="planted", seed=14)) as lab:
        yield lab


@planted
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", IN_A_LAB, ids=lambda bug: bug.what)
async def test_a_planted_bug_is_found_with_the_real_adapters(
    bug: PlantedBug, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug.plant(monkeypatch)
    chaos = Chaos(part="planted", seed=14, share=bug.share, patience=1)
    assert bug.lab_part is not None
    part = bug.lab_part
    tally = await run_part(lambda one: part(one, lab), chaos)
    assert tally.failures
