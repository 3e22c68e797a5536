"""`python -m tests.rotation.soak_command`: 90 days of 50 devices, by our rule and the naive one.

Exits with 1 where a device was refused by our rule, or none by the naive one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import pytest
from rich.console import Console
from rich.table import Table

from tests.rotation.rules import naive
from tests.rotation.soak import Fleet, Plan, Report


def main() -> int:
    """Soak twice, and show a table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rotation.soak_command", description=__doc__
    )
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    plan = Plan(devices=arguments.devices, days=arguments.days, seed=arguments.seed)
    logging.disable()
    console = Console(highlight=False)
    table = Table(
        "rule", "rotations", "faults", "logins", "refused", "locked out", "came back", "s"
    )
    with console.status("soaking ..."):
        begun = time.monotonic()
        ours = asyncio.run(Fleet(plan).soak())
        table.add_row("firstpull", *_row(ours, time.monotonic() - begun))
        begun = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            naive(patch)
            theirs = asyncio.run(Fleet(plan).soak())
        table.add_row("naive", *_row(theirs, time.monotonic() - begun))
    console.print(table)
    for refusal in ours.refusals:
        console.print(f"refused: {refusal}")
    return 0 if ours.is_good and theirs.refusals else 1


def _row(report: Report, seconds: float) -> tuple[str, ...]:
    return (
        f"{report.rotations:,}",
        f"{report.faults:,}",
        f"{report.logins:,}",
        f"{len(report.refusals):,}",
        f"{len(report.locked_out):,}",
        f"{report.came_back:,}",
        f"{seconds:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
