"""The planted bugs still have their places. `make planted-bugs` tells whether they are caught."""

from __future__ import annotations

from pathlib import Path

import pytest

import firstpull
from tests.lifetime.planted_bugs import PLANTED_BUGS, PlantedBug

_PACKAGE = Path(firstpull.__file__).parent


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: f"{bug.promise} {bug.what}")
def test_a_planted_bug_has_one_place(bug: PlantedBug) -> None:
    file = _PACKAGE / bug.file
    text = file.read_text()
    planted = bug.planted(text)
    assert planted != text
    compile(planted, str(file), "exec")


def test_there_is_a_bug_for_each_promise() -> None:
    assert len(PLANTED_BUGS) == 10
    assert {bug.promise for bug in PLANTED_BUGS} == {f"P{number}" for number in range(1, 10)}
