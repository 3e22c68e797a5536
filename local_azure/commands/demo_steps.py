"""The output of the demo: steps with their durations, live on a terminal or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import wrap

from rich.console import Console

_WIDTH = 100
"""Of the picture. On the screen long lines are left to the terminal."""
_PICTURE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; line-height: {line_height}px }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own, without the font that it would load from elsewhere."""


class Show:
    """Writes to standard output. Times are in seconds."""

    def __init__(self, *, picture: Path | None = None) -> None:
        """With `picture`, a file for save_picture."""
        self._picture = picture
        self._console = Console(
            highlight=False,
            soft_wrap=True,
            record=picture is not None,
            width=_WIDTH if picture is not None else None,
            force_terminal=True if picture is not None else None,
        )

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
        moving = self._console.status(f"{text} …") if self._picture is None else nullcontext()
        with moving:
            yield lambda done: result.__setitem__(0, done)
        self.done(result[0], seconds=time.monotonic() - begun)

    def last(self, text: str) -> None:
        """The last line."""
        self._console.print()
        self._console.print(text, style="bold", markup=False)

    def save_picture(self, title: str) -> None:
        """Write what was shown as an SVG, if a picture is wanted."""
        if self._picture is not None:
            self._console.save_svg(
                str(self._picture), title=title, code_format=_PICTURE, unique_id="demo"
            )


def brief(image: str) -> str:
    """An image's name with the first part of its digest."""
    name, _, digest = image.partition("@sha256:")
    return f"{name}@sha256:{digest[:12]}…"


def folded(text: str) -> str:
    """A long text as lines below a step's own."""
    return "".join(f"\n{' ' * 15}{line}" for line in wrap(text, _WIDTH - 15))


def _clock(seconds: float) -> str:
    return f"{seconds:6.2f} s"
