"""Each planted bug is caught every day, by a short course of events and the promise it breaks.

`make planted-bugs` tells whether the machine finds them by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifetime.planted_bugs import PLANTED_BUGS, PlantedBug, copy_firstpull
from tests.lifetime.short_scenarios import COURSES, run

_ROOT = Path(__file__).parents[2]


def test_every_promise_that_the_machine_watches_has_a_planted_bug() -> None:
    assert {bug.promise for bug in PLANTED_BUGS} == {f"P{number}" for number in range(1, 10)}
    assert len(PLANTED_BUGS) == 10


@pytest.mark.parametrize("name", COURSES)
def test_without_a_bug_the_scenario_breaks_no_promise(name: str) -> None:
    run(COURSES[name])


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: f"{bug.promise} {bug.what}")
def test_a_planted_bug_is_caught_by_the_promise_that_it_breaks(
    bug: PlantedBug, tmp_path: Path
) -> None:
    copy_firstpull(tmp_path, bug)
    ran = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-P", "-m", "tests.lifetime.short_scenarios", bug.scenario, str(tmp_path)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(_ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, f"nothing was found: {ran.stderr}"
    assert f"AssertionError: {bug.promise}: " in ran.stderr, ran.stderr
