"""Each planted bug is found in a short scenario, by the promise that it breaks.

`make planted-bugs` shows whether the state machine finds them by itself.
"""

from __future__ import annotations

import pytest

from tests.lifetime.planted_bugs import PLANTED_BUGS, PlantedBug
from tests.lifetime.short_scenarios import SCENARIOS, run


def test_every_promise_that_the_state_machine_checks_has_a_planted_bug() -> None:
    assert {bug.promise for bug in PLANTED_BUGS} == {f"P{number}" for number in range(1, 10)}
    assert len(PLANTED_BUGS) == 10


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_a_bug_the_scenario_breaks_no_promise(name: str) -> None:
    run(SCENARIOS[name])


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: f"{bug.promise} {bug.what}")
def test_a_planted_bug_is_found_by_the_promise_that_it_breaks(
    bug: PlantedBug, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug.plant(monkeypatch)
    with pytest.raises(AssertionError, match=f"^{bug.promise}: "):
        run(SCENARIOS[bug.scenario])
