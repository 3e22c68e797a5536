"""Progress with rate and time left, on standard error: a bar, or lines where nobody watches."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from firstpull_cli import output

_STEP = 0.05
"""The part of the whole after which there is another line."""


class Steps:
    """Counts what is done of `total`. What an earlier run has `done` is not part of the rate."""

    def __init__(self, what: str, *, total: int, done: int = 0) -> None:
        self._what, self._total = what, total
        self._done = self._before = self._told = done
        self._began = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            rate = TextColumn("{task.fields[pace]}")
            self._bar = Progress(*columns, rate, console=output.console(sys.stderr))
            self._task = self._bar.add_task(what, total=total, completed=done, pace="")

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()

    def reached(self, done: int) -> None:
        """So much is done now."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, pace=self._pace())
        elif done - self._told >= self._total * _STEP or (done == self._total > self._told):
            self._told = done
            output.note(f"{self._what}: {done} of {self._total}, {self._pace()}")

    def advanced(self, by: int) -> None:
        """So much more is done."""
        self.reached(self._done + by)

    def _pace(self) -> str:
        seconds = max(time.monotonic() - self._began, 0.001)
        rate = (self._done - self._before) / seconds
        if rate <= 0:
            return "waiting"
        left = (self._total - self._done) / rate
        return f"{rate:.1f}/s, {left:.0f} s left"
