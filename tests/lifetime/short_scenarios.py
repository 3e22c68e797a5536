"""Short courses of events, each of which sets off one planted bug or more.

`python -m tests.lifetime.short_scenarios COURSE FOLDER` runs one against the firstpull in a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.lifetime.external_actor import ToList
from tests.lifetime.line import Mishap
from tests.lifetime.machine import Lifetime

Scenario = Callable[[Lifetime], None]


def _onboarded(life: Lifetime) -> None:
    life.some_are_there(["press-1"], "plantone")


def _rotated(life: Lifetime) -> None:
    _onboarded(life)
    life.rotate("press-1", immediately=False, meanwhile=False)
    life.play(1)


def _a_crash_under_a_claim(life: Lifetime) -> None:
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.have(Mishap.CRASH_AFTER, "registries.create_token")
    life.deliver()


def _beside_a_foreign_client(life: Lifetime) -> None:
    life.change_list("plantone", ToList.ADDS_A_TOKEN, at=0)
    _onboarded(life)


def _one_too_many(life: Lifetime) -> None:
    life.some_are_there(["press-1", "press-2", "press-3"], "plantone")


def _a_late_message(life: Lifetime) -> None:
    _onboarded(life)
    life.revoke("press-1", meanwhile=False)
    life.ask_late("press-1", "plantone", age=1)


def _registered_anew(life: Lifetime) -> None:
    _onboarded(life)
    life.delete("press-1", announced=False, comes_back=True)
    life.ask("press-1", "plantone", ["plant/app", "plant/model"], meanwhile=False)
    life.play(7)


def _asked_again(life: Lifetime) -> None:
    _onboarded(life)
    life.ask_again("press-1")


def _previewed(life: Lifetime) -> None:
    life.dry_run("press-1", "plantone", ["plant/app"])


COURSES: dict[str, Scenario] = {
    scenario.__name__.strip("_"): scenario
    for scenario in (
        _onboarded,
        _rotated,
        _a_crash_under_a_claim,
        _beside_a_foreign_client,
        _one_too_many,
        _a_late_message,
        _registered_anew,
        _asked_again,
        _previewed,
    )
}


def run(scenario: Scenario) -> None:
    """One course to its end. Raises AssertionError where a promise is broken."""
    life = Lifetime()
    try:
        scenario(life)
        life.promises_hold()
    finally:
        life.teardown()


def main() -> None:
    """Run the course that is named, against the package that is."""
    import firstpull  # noqa: PLC0415 - what PYTHONPATH says

    name, folder = sys.argv[1:]
    if not Path(firstpull.__file__).resolve().is_relative_to(Path(folder).resolve()):
        raise SystemExit(f"{firstpull.__file__} was imported instead")
    run(COURSES[name])


if __name__ == "__main__":
    main()
