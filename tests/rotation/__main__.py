"""`python -m tests.rotation`: the model check, with the wrong rules that it has to refute.

Writes what it found into docs/rotation.md. Exits with 1 where firstpull's own rule has a fault, or
where a wrong one has none.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from itertools import product

from rich.console import Console
from rich.table import Table

from tests.rotation.consumers import ALL as CONSUMERS
from tests.rotation.consumers import TWIN
from tests.rotation.page import (
    ALL,
    BY_KIND,
    PAGE,
    in_a_row,
    kinds_table,
    parts_of_result,
    with_part,
)
from tests.rotation.rules import OURS


def main() -> int:
    """Check each rule, and show a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.rotation", description=__doc__)
    parser.add_argument(
        "--steps", type=int, choices=(2, 3), default=2, help="in which a password ages (3: hours)"
    )
    arguments = parser.parse_args()
    logging.disable()
    console = Console(highlight=False)
    table = Table("kind", "rule", "states", "transitions", "s", "found")
    page, is_good = PAGE.read_text(), True
    rows: dict[str, list[str]] = {to.says: [] for to in CONSUMERS}
    with console.status("exploring ..."):
        for to, rule in product(CONSUMERS, ALL):
            begun = time.monotonic()
            model, result = rule.explore(to=to, steps=arguments.steps)
            seconds = f"{time.monotonic() - begun:.0f}"
            counts = f"{result.states:,}", f"{result.transitions:,}"
            table.add_row(to.says, rule.says, *counts, seconds, result.fault or "nothing")
            is_good = is_good and (result.fault is None) == (rule is OURS)
            if to is TWIN:
                for name, text in parts_of_result(rule, model, result):
                    page = with_part(page, name, text)
            rows[to.says].append(in_a_row(result))
    page = with_part(page, BY_KIND, kinds_table(rows))
    console.print(table)
    if is_good and arguments.steps == 2:
        PAGE.write_text(page)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
