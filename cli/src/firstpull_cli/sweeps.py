"""The sweep: have it run now, and what its last report says."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.text import Text

from firstpull_cli import output
from firstpull_cli.api import Api, Document
from firstpull_cli.errors import CliError, Exit

_PAUSE = 2.0


def latest(api: Api) -> Document | None:
    """The report of the last sweep; None before the first. Raises CliError."""
    try:
        return api.get("sweep")
    except CliError as error:
        if error.status is not Exit.NOT_FOUND:
            raise
        return None


def start(api: Api) -> None:
    """Have the Functions host run the sweep now, which needs its master key. Raises CliError."""
    api.send("POST", "/admin/functions/sweep", body={}, as_master=True)


def wait_for_report(api: Api, *, before: Document | None, seconds: float) -> Document:
    """The next report after `before`. Raises CliError when time is up."""
    give_up = time.monotonic() + seconds
    while True:
        found = latest(api)
        if found is not None and (before is None or found["id"] != before["id"]):
            return found
        if time.monotonic() + _PAUSE > give_up:
            raise CliError(
                f"no report of the sweep after {seconds:.0f} s",
                advice="It may go on: `firstpull sweep show`, later.",
                status=Exit.TIMED_OUT,
            )
        api.sleep(_PAUSE)


def show(report: Document) -> None:
    """Write a report for a person."""
    console = output.console()
    drifted = ", ".join(f"{count} {what}" for what, count in report["drifted"].items())
    continues = report.get("continues")
    console.print(
        output.facts(
            [
                ("sweep", report["id"]),
                ("finished", f"{report['finishedAt']} ({output.ago(report['finishedAt'])} ago)"),
                ("read everything", report.get("completeAt") or "never yet"),
                ("devices", report["devices"]),
                ("drifted", drifted or "none"),
                ("onboarded", report["onboarded"]),
                ("revoked", report["revoked"]),
                ("goes on at", continues and f"{continues['step']} after {continues['after']}"),
            ]
        )
    )
    held, approved = report["held"], report["approved"]
    _list(f"Held, {len(held)} to approve or to register again", map(_name, held), "bold yellow")
    _list("Approved, to be revoked by the next sweep", map(_name, approved), "magenta")
    _list("Could not be read", report["unread"], "red")
    orphans = (f"{one['kind']} {one['name']} ({one['where']})" for one in report["unexplained"])
    _list("Of this deployment without a record, left alone", orphans, "")


def _name(device: Document) -> str:
    return f"{device['deviceId']} ({device['hub']})"


def _list(title: str, items: Iterable[str], style: str) -> None:
    console, lines = output.console(), list(items)
    if lines:
        console.print()
        console.print(Text(f"{title}:", style=style))
    for line in lines:
        console.print(Text(f"  {output.clean(line)}"))
