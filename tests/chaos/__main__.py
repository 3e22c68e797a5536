"""`python -m tests.chaos`: everything that may go wrong, by a seed.

Prints what it tried, and exits with 1 and the seed where a promise was broken.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from rich.console import Console
from rich.table import Table

from tests.chaos.parts import PARTS, tally_of
from tests.chaos.tally import Chaos, Tally


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
    done = []
    for chaos, tally in _tallies(runs, jobs=arguments.jobs):
        console.print(f"{chaos.part}: {tally.cases} cases, {tally.seconds:.0f} s")
        for text in (*filter(None, tally.notes), *tally.failures):
            console.print(f"  {text}")
        done.append((chaos.part, tally))
    done.sort(key=lambda found: list(PARTS).index(found[0]))
    _show(console, done)
    failed = [part for part, tally in done if tally.failures or not tally.cases]
    if failed:
        share = f"--share {arguments.share} " if arguments.share < 1 else ""
        again = f"make chaos SEED={seed} ARGS='{share}--only {' '.join(failed)}'"
        console.print(f"failed: {', '.join(failed)}. Again: {again}")
    return 1 if failed else 0


def _tallies(runs: Sequence[Chaos], *, jobs: int) -> Iterator[tuple[Chaos, Tally]]:
    """Each part as it ends, in a process of its own, which leaves nothing to the next."""
    spawning = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawning, max_tasks_per_child=1) as processes:
        running = {processes.submit(tally_of, run): run for run in runs}
        for ended in as_completed(running):
            try:
                yield running[ended], ended.result()
            except BrokenProcessPool as broken:
                yield running[ended], Tally(failures=[f"not run to its end: {broken}"])


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
