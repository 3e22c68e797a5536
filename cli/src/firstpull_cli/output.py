"""What the command writes: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 240
"""Columns where nobody watches: a script gets whole lines."""

STYLES = {
    "Ready": "green",
    "Delivered": "green",
    "Blocked": "bold red",
    "Waiting": "yellow",
    "Pending": "cyan",
    "Converging": "cyan",
    "Revoking": "magenta",
    "Revoked": "dim",
}


def console(stream: IO[str] | None = None) -> Console:
    """A console on standard output, or another stream. Nothing in a text is markup."""
    file = stream if stream is not None else sys.stdout
    width = None if file.isatty() else max(_WIDE, shutil.get_terminal_size().columns)
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


def write_json(document: object) -> None:
    """A result for a script: one JSON document, to the end of the line."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_json_line(document: object) -> None:
    """One of many results, as it comes."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """Something to know, which is no result."""
    sys.stderr.write(f"{clean(message)}\n")
    sys.stderr.flush()


def pausing(why: str, seconds: float) -> None:
    """Say that a request is repeated."""
    note(f"{why.splitlines()[0]}, again in {seconds:.0f} s")


def clean(text: object) -> str:
    """A text without what would steer a terminal: devices and senders have written into it."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in f"{text}"
    )


def cell(value: object, style: str = "") -> Text:
    """A cell of a table; empty for None."""
    return Text("" if value is None else clean(value), style=style)


def state_cell(state: str) -> Text:
    """A state in its colour."""
    return cell(state, STYLES.get(state, ""))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table with these headings."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def facts(pairs: list[tuple[str, object]]) -> Table:
    """Names and values, without those that are None."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for name, value in pairs:
        if value is not None:
            made.add_row(cell(name, "dim"), value if isinstance(value, Text) else cell(value))
    return made


def bar(parts: list[tuple[int, str]], *, whole: int, width: int = 24) -> Text:
    """A bar of parts in their styles, and what is free of the whole."""
    text, drawn, total = Text(), 0, 0
    for size, style in parts:
        total += size
        end = min(width, round(width * total / whole)) if whole else 0
        if size and end == drawn and end < width:
            end += 1  # what is there is to be seen
        text.append("█" * (end - drawn), style=style)
        drawn = max(drawn, end)
    text.append("░" * (width - drawn), style="dim")
    return text


def ago(at: str | None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str | None:
    """How long a time is past or to come, such as `3 m` or `in 2 d`."""
    if at is None:
        return None
    passed = now() - datetime.fromisoformat(at)
    return length(passed) if passed >= timedelta(0) else f"in {length(-passed)}"


def length(time: timedelta) -> str:
    """A length in its largest unit."""
    seconds = time.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def reason_of(device: dict[str, Any]) -> str:
    """The reason of a device's state."""
    return str(device["condition"]["reason"])
