"""What the demo shows: steps with their durations, live on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


class Show:
    """Writes to standard output. Times are in seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._monotonic = monotonic

    def heading(self, text: str) -> None:
        """The title of what follows."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def note(self, text: str) -> None:
        """Something to read, not something that happened."""
        self._console.print(text, markup=False)

    def done(self, text: str, *, seconds: float) -> None:
        """Something that happened, and how long it took."""
        self._console.print(f"  [green]ok[/green] {_clock(seconds)}  ", end="")
        self._console.print(text, markup=False)

    def failed(self, text: str) -> None:
        """Something that did not happen as it should have."""
        self._console.print("  [red]FAILED[/red]  ", end="")
        self._console.print(text, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """One step. Call what is yielded to say how it ended; `text` is shown until then."""
        begun, outcome = self._monotonic(), [text]
        with self._console.status(f"{text} …"):
            yield lambda said: outcome.__setitem__(0, said)
        self.done(outcome[0], seconds=self._monotonic() - begun)

    def last(self, text: str) -> None:
        """The line that everything led to."""
        self._console.print()
        self._console.print(text, style="bold", markup=False)


def _clock(seconds: float) -> str:
    return f"{seconds:6.2f} s"
