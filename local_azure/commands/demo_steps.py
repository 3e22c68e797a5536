"""The output of the demo: steps with their durations, live on a terminal or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


class Show:
    """Writes to standard output. Times are in seconds."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """The title of the next steps."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def note(self, text: str) -> None:
        """A text that is not a step."""
        self._console.print(text, markup=False)

    def done(self, text: str, *, seconds: float) -> None:
        """A step that succeeded, with its duration."""
        self._console.print(f"  [green]ok[/green] {_clock(seconds)}  ", end="")
        self._console.print(text, markup=False)

    def failed(self, text: str) -> None:
        """A step that failed."""
        self._console.print("  [red]FAILED[/red]  ", end="")
        self._console.print(text, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """One step. `text` is shown while it runs; call the yielded function with its result."""
        begun, result = time.monotonic(), [text]
        with self._console.status(f"{text} …"):
            yield lambda done: result.__setitem__(0, done)
        self.done(result[0], seconds=time.monotonic() - begun)

    def last(self, text: str) -> None:
        """The last line."""
        self._console.print()
        self._console.print(text, style="bold", markup=False)


def _clock(seconds: float) -> str:
    return f"{seconds:6.2f} s"
