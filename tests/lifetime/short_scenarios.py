"""Short scenarios, each of which shows one planted bug or more."""

from __future__ import annotations

from collections.abc import Callable

from tests.lifetime.external_actor import ListChange
from tests.lifetime.machine import Lifetime
from tests.world.calls import Fault

type Scenario = Callable[[Lifetime], None]


def onboarded(life: Lifetime) -> None:
    life.some_are_there(["press-1"], "plantone")


def rotated(life: Lifetime) -> None:
    onboarded(life)
    life.rotate("press-1", immediately=False, meanwhile=False)
    life.run_for(1)


def a_crash_under_a_claim(life: Lifetime) -> None:
    life.register("press-1", tagged=False)
    life.ask("press-1", "plantone", ["plant/app"], meanwhile=False)
    life.inject(Fault.CRASH_AFTER, "registries.create_token")
    life.deliver()


def beside_a_foreign_client(life: Lifetime) -> None:
    life.change_list("plantone", ListChange.ADD_TOKEN, at=0)
    onboarded(life)


def one_too_many(life: Lifetime) -> None:
    life.some_are_there(["press-1", "press-2", "press-3"], "plantone")


def a_late_message(life: Lifetime) -> None:
    onboarded(life)
    life.revoke("press-1", meanwhile=False)
    life.ask_late("press-1", "plantone", age=1)


def registered_again(life: Lifetime) -> None:
    onboarded(life)
    life.delete("press-1", announced=False, comes_back=True)
    life.ask("press-1", "plantone", ["plant/app", "plant/model"], meanwhile=False)
    life.run_for(7)


def asked_again(life: Lifetime) -> None:
    onboarded(life)
    life.ask_again("press-1")


def dry_run(life: Lifetime) -> None:
    life.dry_run("press-1", "plantone", ["plant/app"])


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        onboarded,
        rotated,
        a_crash_under_a_claim,
        beside_a_foreign_client,
        one_too_many,
        a_late_message,
        registered_again,
        asked_again,
        dry_run,
    )
}


def run(scenario: Scenario) -> None:
    """Play one scenario to its end. Raises AssertionError where a promise is broken."""
    life = Lifetime()
    try:
        scenario(life)
        life.promises_hold()
    finally:
        life.teardown()
