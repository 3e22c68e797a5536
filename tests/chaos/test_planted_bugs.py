"""Each planted bug is found by its part of `make chaos`: `make planted-bugs`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import hosts
from tests.chaos.interleavings import forget_ends
from tests.chaos.lab import Lab
from tests.chaos.planted_bugs import PLANTED_BUGS, PlantedBug
from tests.chaos.planted_in_hosts import BUGS, app_with
from tests.chaos.real_crashes import own_lab
from tests.chaos.tally import Chaos, Part, run_part

IN_HOSTS = [bug for bug in PLANTED_BUGS if bug.plant is None]
IN_A_LAB = [bug for bug in PLANTED_BUGS if bug.lab_part is not None]
IN_A_PART = [bug for bug in PLANTED_BUGS if bug not in (*IN_HOSTS, *IN_A_LAB)]
_GIVE_UP_SECONDS = 60.0
planted = pytest.mark.skipif("PLANTED_BUGS" not in os.environ, reason="make planted-bugs")


def planted_for(bug: PlantedBug) -> Chaos:
    """The share of its part that finds a bug; the first failure is enough."""
    return Chaos(part="planted", seed=14, share=bug.share, patience=1)


async def failures_of(part: Part, chaos: Chaos) -> list[str]:
    """What a part finds."""
    return (await run_part(part, chaos)).failures


def test_there_are_ten_or_more() -> None:
    assert len(PLANTED_BUGS) >= 10
    assert [bug.what for bug in IN_HOSTS] == list(BUGS)
    assert all(bug.part for bug in (*IN_HOSTS, *IN_A_PART))


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: bug.what)
def test_what_a_bug_replaces_is_there(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug.plant is not None:
        bug.plant(monkeypatch)


@planted
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", IN_A_PART, ids=lambda bug: bug.what)
async def test_a_planted_bug_is_found(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    await forget_ends()
    assert bug.plant is not None
    bug.plant(monkeypatch)
    assert bug.part is not None
    assert await failures_of(bug.part, planted_for(bug))


@planted
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", IN_HOSTS, ids=lambda bug: bug.what)
async def test_a_planted_bug_is_found_in_real_hosts(
    bug: PlantedBug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_GIVE_UP_SECONDS", _GIVE_UP_SECONDS)
    chaos = replace(planted_for(bug), app_folder=app_with(bug.what, tmp_path))
    assert bug.part is not None
    assert await failures_of(bug.part, chaos)


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
    assert bug.plant is not None
    bug.plant(monkeypatch)
    assert bug.lab_part is not None
    part = bug.lab_part
    assert await failures_of(lambda chaos: part(chaos, lab), planted_for(bug))
