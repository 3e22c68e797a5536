"""`python -m tests.chaos`: everything that may go wrong, by a seed.

Prints what it tried, and exits with 1 and the seed where a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.chaos.parts import PARTS
from tests.chaos.processes import tallies
from tests.chaos.tally import Chaos, Tally

_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the parts, and show a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of everything drawn; another one each time")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, 1 means all")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="parts", metavar="PART")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10**6)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"seed {seed}")
    runs = [Chaos(part=part, seed=seed, share=arguments.share) for part in arguments.only or PARTS]
    try:
        done = asyncio.run(_run(console, runs, jobs=arguments.jobs))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted")
        return _INTERRUPTED
    done.sort(key=lambda found: list(PARTS).index(found[0]))
    _show(console, done)
    failed = [part for part, tally in done if tally.failures or not tally.cases]
    if failed:
        share = f"--share {arguments.share} " if arguments.share < 1 else ""
        again = f"make chaos SEED={seed} ARGS='{share}--only {' '.join(failed)}'"
        console.print(f"failed: {', '.join(failed)}. Again: {again}")
    return 1 if failed else 0


async def _run(console: Console, runs: Sequence[Chaos], *, jobs: int) -> list[tuple[str, Tally]]:
    """Run the parts, some at a time, and say what each one found as it ends."""
    ours = asyncio.current_task()
    assert ours
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ours.cancel)
    done = []
    async for part, tally in tallies(runs, at_once=jobs):
        console.print(f"{part}: {tally.cases} cases, {tally.seconds:.0f} s")
        for text in (*filter(None, tally.notes), *tally.failures):
            console.print(f"  {text}")
        done.append((part, tally))
    return done


def _show(console: Console, done: Sequence[tuple[str, Tally]]) -> None:
    total = Tally()
    table = Table("part", "cases", "faults", "checks", "failures", "s")
    for part, tally in done:
        total.add(tally)
        table.add_row(part, *_row(tally))
    table.add_row("all", *_row(total))
    console.print(table)
    for what, counted in (("faults", total.faults), ("checks", total.checks)):
        listed = ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))
        console.print(f"{what}: {listed or 'none'}")


def _row(tally: Tally) -> tuple[str, ...]:
    counted = (
        tally.cases,
        tally.faults.total(),
        tally.checks.total(),
        len(tally.failures),
        round(tally.seconds),
    )
    return tuple(f"{number:,}" for number in counted)


if __name__ == "__main__":
    sys.exit(main())
