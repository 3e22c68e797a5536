"""`python -m tests.rotation`: the model check, with the wrong rules that it has to refute.

Writes what it found into docs/rotation.md. Exits with 1 where firstpull's own rule has a fault, or
where a wrong one has none.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

from rich.console import Console
from rich.table import Table

from tests.rotation.check import Result
from tests.rotation.consumers import ALL as CONSUMERS
from tests.rotation.consumers import TWIN, Consumer
from tests.rotation.page import (
    ALL,
    BY_KIND,
    PAGE,
    in_a_row,
    kinds_table,
    parts_of_result,
    with_part,
)
from tests.rotation.rules import OURS, Rule

_PROCESSES = 2


@dataclass(frozen=True)
class Found:
    """What one rule came to with one kind. `parts` are those of the page."""

    result: Result
    seconds: float
    parts: Mapping[str, str]


def found_by(rule: Rule, to: Consumer, steps: int) -> Found:
    """Explore in this process. Nothing that a search makes is garbage before its end."""
    logging.disable()
    gc.disable()
    begun = time.monotonic()
    model, result = rule.explore(to=to, steps=steps)
    seconds = time.monotonic() - begun
    parts = dict(parts_of_result(rule, model, result)) if to == TWIN else {}
    gc.enable()
    return Found(result, seconds, parts)


def main() -> int:
    """Check each rule, and show a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.rotation", description=__doc__)
    parser.add_argument(
        "--steps", type=int, choices=(2, 3), default=2, help="in which a password ages (3: hours)"
    )
    steps: int = parser.parse_args().steps
    console = Console(highlight=False)
    table = Table("rule", "kind", "states", "transitions", "s", "found")
    page, is_good = PAGE.read_text(), True
    rows: dict[str, list[str]] = {to.says: [] for to in CONSUMERS}
    cases = list(product(ALL, CONSUMERS))  # those that take long first
    with console.status("exploring ..."), ProcessPoolExecutor(_PROCESSES) as pool:
        founds = pool.map(found_by, *zip(*((*case, steps) for case in cases), strict=True))
        for (rule, to), found in zip(cases, founds, strict=True):
            result = found.result
            counts = f"{result.states:,}", f"{result.transitions:,}", f"{found.seconds:.0f}"
            table.add_row(rule.says, to.says, *counts, result.fault or "nothing")
            is_good = is_good and (result.fault is None) == (rule is OURS)
            rows[to.says].append(in_a_row(result))
            for name, text in found.parts.items():
                page = with_part(page, name, text)
    page = with_part(page, BY_KIND, kinds_table(rows))
    console.print(table)
    if is_good and steps == 2:
        PAGE.write_text(page)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
