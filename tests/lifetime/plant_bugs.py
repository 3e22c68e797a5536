"""`python -m tests.lifetime.plant_bugs`: is every planted bug caught?

Each is planted in a copy of firstpull, and the machine is run against the copy. Exits with 1 where
one survives, or where the copy without a bug fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.lifetime.planted_bugs import PLANTED_BUGS, PlantedBug, copy_firstpull

_ROOT = Path(__file__).parents[2]
_GREEN, _RED = 0, 1
_SEEDS = (1, 2, 3)
"""The second and third are for what the first lets pass: each draws other courses."""
_LONGEST = 160


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a run against a copy ended. `said` is its first line."""

    bug: PlantedBug | None
    exit_code: int
    said: str
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether a bug was caught by its own promise; or none was found where there is none."""
        if self.bug is None:
            return self.exit_code == _GREEN
        return self.exit_code == _RED and self.said.startswith(f"{self.bug.promise}: ")


def main() -> int:
    """Try all, and show a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=400, help="courses of events for each")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    arguments = parser.parse_args()
    console, table = Console(highlight=False), Table("", "bug", "in", "s", "found")
    verdicts = []
    with console.status("running ..."):
        for verdict in _verdicts(examples=arguments.examples, jobs=arguments.jobs):
            verdicts.append(verdict)
            table.add_row(*_row(verdict))
    console.print(table)
    return 0 if all(verdict.is_good for verdict in verdicts) else 1


def _verdicts(*, examples: int, jobs: int) -> Iterator[Verdict]:
    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(lambda bug: _try(bug, examples=examples), (None, *PLANTED_BUGS))


def _try(bug: PlantedBug | None, *, examples: int) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="firstpull-bug-") as folder:
        copy_firstpull(Path(folder), bug)
        begun = time.monotonic()
        for seed in _SEEDS if bug is not None else _SEEDS[:1]:
            run = _run(folder, seed=seed, examples=examples)
            if run.returncode != _GREEN:
                break
        said = (run.stdout or run.stderr).strip().splitlines()
        return Verdict(
            bug=bug,
            exit_code=run.returncode,
            said=said[0][:_LONGEST] if said else "",
            seconds=time.monotonic() - begun,
        )


def _run(folder: str, *, seed: int, examples: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.lifetime", "--until-red", "--seed", str(seed)]
    command += ["--examples", str(examples), "--firstpull", folder]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def _row(verdict: Verdict) -> tuple[str, ...]:
    promise, what, file = (
        (verdict.bug.promise, verdict.bug.what, verdict.bug.file)
        if verdict.bug is not None
        else ("-", "none", "-")
    )
    how = {_GREEN: "nothing", _RED: verdict.said}.get(verdict.exit_code, f"?? {verdict.said}")
    colour = "green" if verdict.is_good else "red"
    return promise, what, file, f"{verdict.seconds:.0f}", f"[{colour}]{how}[/{colour}]"


if __name__ == "__main__":
    sys.exit(main())
