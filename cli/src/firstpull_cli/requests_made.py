"""Who asked for what and when: read in pages, and written as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from firstpull_cli import output
from firstpull_cli.api import PAGE, Api, Document
from firstpull_cli.errors import CliError, Exit

_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLUMNS = ("at", "by", "event", "deviceId", "hub", "detail")


class Form(StrEnum):
    """How requests are written."""

    TABLE = "table"
    JSON_LINES = "jsonl"
    CSV = "csv"


def time_of(text: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """A time as the API takes it: so long ago, as `7d`, or a date or time, here if it has no zone.

    Raises CliError.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return (now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise CliError(
            f"{text!r} is no time",
            advice="Give one such as 2026-11-29, 2026-11-29T08:00:00Z, 12h, 7d or 4w.",
            status=Exit.USAGE,
        ) from None


def read(api: Api, *, since: str, until: str | None, by: str | None) -> list[Document]:
    """The requests of a time, the oldest first. Raises CliError."""
    found = [
        entry
        for page in _pages(api, since=since, until=until)
        for entry in page["entries"]
        if by is None or entry["by"] == by
    ]
    return sorted(found, key=lambda entry: (entry["at"], entry["hub"], entry["deviceId"]))


def write(entries: list[Document], form: Form) -> None:
    """Write requests."""
    match form:
        case Form.JSON_LINES:
            for entry in entries:
                output.write_json_line(entry)
        case Form.CSV:
            writer = csv.DictWriter(sys.stdout, _COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(entries)
        case Form.TABLE:
            table = output.table("AT", "BY", "ASKED", "DEVICE", "FOR")
            for entry in entries:
                asked = entry["event"].removeprefix("device.").removesuffix(".recorded")
                words = (entry["at"], entry["by"], asked, entry["deviceId"], entry.get("detail"))
                table.add_row(*map(output.cell, words))
            if entries:
                output.console().print(table)
            output.note(f"{len(entries)} request{'s' * (len(entries) != 1)}.")


def _pages(api: Api, *, since: str, until: str | None) -> Iterator[Document]:
    after: str | None = None
    while True:
        page = api.get("audit", since=since, until=until, size=PAGE, after=after)
        for one in page.get("unreadable", ()):
            output.note(f"{one['deviceId']} ({one['hub']}): its record is damaged; see the log.")
        yield page
        after = page.get("next")
        if after is None:
            return
