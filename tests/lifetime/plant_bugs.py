"""`python -m tests.lifetime.plant_bugs`: does the state machine find every planted bug?

Exits with 1 where one survives, or where something is found without a bug.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test
from rich.console import Console
from rich.table import Table

from tests.lifetime.machine import Lifetime
from tests.lifetime.planted_bugs import PLANTED_BUGS
from tests.lifetime.profiles import until_red

_NO_BUG = -1
_SEEDS = (1, 2, 3)
"""A bug that survives the scenarios of one seed meets those of the next."""
_LONGEST = 160


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The first line of what was found with a bug, by its number; None for nothing."""

    number: int
    found: str | None
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether a bug was found by the promise it breaks; or nothing without a bug."""
        if self.number == _NO_BUG or self.found is None:
            return self.number == _NO_BUG and self.found is None
        return self.found.startswith(f"{PLANTED_BUGS[self.number].promise}: ")


def main() -> int:
    """Try all, and show a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=400, help="scenarios for each seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    console, table = Console(highlight=False), Table("", "bug", "s", "found")
    are_good = []
    with console.status("running ..."):
        for verdict in _verdicts(examples=arguments.examples, jobs=arguments.jobs):
            are_good.append(verdict.is_good)
            table.add_row(*_row(verdict))
    console.print(table)
    return 0 if all(are_good) else 1


def _verdicts(*, examples: int, jobs: int) -> Iterator[Verdict]:
    with ProcessPoolExecutor(jobs, max_tasks_per_child=1) as processes:
        numbers = (_NO_BUG, *range(len(PLANTED_BUGS)))
        yield from processes.map(partial(_try, examples=examples), numbers)


def _try(number: int, *, examples: int) -> Verdict:
    begun, found = time.monotonic(), None
    with pytest.MonkeyPatch.context() as patch:
        if number != _NO_BUG:
            PLANTED_BUGS[number].plant(patch)
        for each in _SEEDS if number != _NO_BUG else _SEEDS[:1]:
            found = _found(each, examples=examples)
            if found is not None:
                break
    return Verdict(number=number, found=found, seconds=time.monotonic() - begun)


def _found(number: int, *, examples: int) -> str | None:
    """The first line of the error that the scenarios of a seed end with."""
    try:
        run_state_machine_as_test(seed(number)(Lifetime), settings=until_red(examples=examples))
    except AssertionError as error:
        return str(error).partition("\n")[0][:_LONGEST]
    except Exception as error:
        return f"?? {type(error).__name__}: {error}"[:_LONGEST]
    return None


def _row(verdict: Verdict) -> tuple[str, ...]:
    promise, what = "-", "none"
    if verdict.number != _NO_BUG:
        bug = PLANTED_BUGS[verdict.number]
        promise, what = bug.promise, bug.what
    colour = "green" if verdict.is_good else "red"
    found = f"[{colour}]{verdict.found or 'nothing'}[/{colour}]"
    return promise, what, f"{verdict.seconds:.0f}", found


if __name__ == "__main__":
    sys.exit(main())
