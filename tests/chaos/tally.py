"""What a part of the run tried, and what broke."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from firstpull.model.delivery_kinds import KINDS
from local_azure.commands.function_hosts import APP_FOLDER

DELIVERIES = tuple(sorted(KINDS))
"""The delivery kinds that are tried."""
_LINES = 6


def asks_for(delivery: str) -> dict[str, Any]:
    """What a request says for a kind. With all options, so that it leaves one password each."""
    options = sorted(KINDS[delivery].options)
    return {"delivery": delivery, **({"deliveryOptions": options} if options else {})}


@dataclass
class Tally:
    """Cases, faults by kind, invariants checked by promise, and failures, each with its case."""

    cases: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was exhausted, what was sampled."""
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Count another part's, too."""
        self.cases += other.cases
        self.faults += other.faults
        self.checks += other.checks
        self.failures += other.failures
        self.seconds += other.seconds


class TooManyFailures(Exception):
    """A part has shown often enough that it fails."""


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """One run of one part. The same seed and share try the same cases."""

    part: str
    seed: int
    share: float = 1.0
    """Of the cases, drawn by the seed; 1 means all."""
    app_folder: Path = APP_FOLDER
    """The app of real hosts."""
    patience: int = 5
    """Failures of one part before it gives up: more say nothing new."""
    tally: Tally = field(default_factory=Tally)

    def chance(self, name: str = "") -> random.Random:
        """Random numbers of this seed, for one purpose."""
        return random.Random(f"{self.seed} {self.part} {name}")  # noqa: S311 - chance, not secrets

    def some[T](self, cases: Sequence[T], *, name: str, least: int = 1) -> Sequence[T]:
        """The run's share of these cases, in their order; all of them in a whole run."""
        if self.share >= 1:
            return cases
        count = min(len(cases), max(least, round(self.share * len(cases))))
        chosen = sorted(self.chance(name).sample(range(len(cases)), count))
        return [cases[number] for number in chosen]

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """One case. A broken promise is noted, and the run goes on to the next case."""
        self.tally.cases += 1
        try:
            yield
        except AssertionError as broken:
            said = "\n    ".join(str(broken).splitlines()[:_LINES])
            self.tally.failures.append(f"{self.part}: {name}: {said}")
            if len(self.tally.failures) >= self.patience:
                raise TooManyFailures from None

    def count(self, faults: Mapping[str, int] | Iterable[str], checks: Mapping[str, int]) -> None:
        """Note what a case met and what it checked."""
        self.tally.faults.update(faults)
        self.tally.checks.update(checks)

    def note(self, text: str) -> None:
        """Say what was exhausted or sampled."""
        self.tally.notes.append(text)

    def of(self, part: str) -> Self:
        """The same seed and share for a part of its own."""
        return type(self)(part=part, seed=self.seed, share=self.share)


type Part = Callable[[Chaos], Awaitable[None]]


async def run_part(part: Part, chaos: Chaos) -> Tally:
    """Run a part to its end, or until it has failed often enough."""
    began = time.monotonic()
    try:
        await part(chaos)
    except TooManyFailures:
        chaos.note(f"gave up after {chaos.patience} failures")
    finally:
        chaos.tally.seconds = time.monotonic() - began
    return chaos.tally
