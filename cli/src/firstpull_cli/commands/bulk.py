"""Commands for many devices at once: onboard and plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstpull_cli.commands.common import AsJson, ProfileName, Timeout, Wait, open_api
from firstpull_cli.errors import Exit

if TYPE_CHECKING:
    from firstpull_cli.onboarding import Outcome
    from firstpull_cli.rows import Row

File = Annotated[
    str, typer.Argument(metavar="FILE", help="CSV or JSON lines, or - for standard input.")
]
Form = Annotated[
    str | None,
    typer.Option("--format", metavar="csv|jsonl", help="Default: by the file's name or content."),
]
ConnectedRegistry = Annotated[
    str | None,
    typer.Option("--connected-registry", "-c", metavar="NAME", help="For rows without a target."),
]
Site = Annotated[
    str | None, typer.Option("--site", metavar="NAME", help="For rows without a target.")
]
Repositories = Annotated[
    list[str] | None,
    typer.Option("--repository", "-r", metavar="NAME", help="For rows without any; repeatable."),
]
_FILE = """
FILE is a CSV whose first line names its columns: deviceId, connectedRegistry or site, repositories
and actions (several with spaces), hub, containerRegistry, adopt, delivery, deliveryOptions,
sealingKey (what firstpull-agent key prints). Or JSON lines, each a request of POST /api/devices.
"""
ONBOARD = f"""
Onboard the devices of a file, or change what they may pull.
{_FILE}
A killed run goes on when the same command is given again: each answered batch is noted in
~/.local/state/firstpull, and what is sent twice changes nothing. Rows that are refused for now are
sent again. The report has every refused row with its line, reason and why. --wait waits until all
are delivered, or cannot be without somebody else.
"""
PLAN = f"""
Show what `onboard FILE` would do, and the room afterwards. Nothing is written.

+ a device that is new, or joins a connected registry; ~ one that changes; - one that leaves.
{_FILE}
"""


def onboard(
    file: File,
    *,
    form: Form = None,
    connected_registry: ConnectedRegistry = None,
    site: Site = None,
    repository: Repositories = None,
    at_once: Annotated[
        int, typer.Option("--batch", min=1, max=1000, help="Rows of a request.")
    ] = 100,
    refused: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write refused rows here, to correct and onboard them."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Send all rows, also those of a killed run.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Onboard the devices of a file; help is `ONBOARD`."""
    from firstpull_cli import onboarding, output, rows
    from firstpull_cli.errors import CliError
    from firstpull_cli.journal import Journal

    found = _read(file, form, connected_registry, site, repository)
    with open_api(profile) as api:
        journal = Journal.of(found, url=api.profile.url)
        if restart:
            journal.remove()
        output.note(f"{len(found)} rows for {api.profile.url} ({api.profile.name}).")
        try:
            outcomes = onboarding.send_rows(api, found, journal=journal, at_once=at_once)
            late = False
            if wait:
                outcomes, late = onboarding.wait_for_outcomes(api, outcomes, seconds=timeout)
        except (CliError, KeyboardInterrupt):
            output.note("Not finished. The same command goes on where this one stopped.")
            raise
        journal.remove()
    if refused is not None:
        rows.write_refused(refused, _refused(found, outcomes))
    if as_json:
        output.write_json(onboarding.as_json(outcomes))
    else:
        onboarding.show(outcomes, waited=wait)
    if any(f.is_refused or f.state == "Blocked" for f in outcomes):
        raise typer.Exit(Exit.FAILED)
    if late:
        raise typer.Exit(Exit.TIMED_OUT)


def plan(
    file: File,
    *,
    form: Form = None,
    connected_registry: ConnectedRegistry = None,
    site: Site = None,
    repository: Repositories = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 7 if there is something to do.")
    ] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Plan `onboard`; help is `PLAN`."""
    from firstpull_cli import output, planning

    found = _read(file, form, connected_registry, site, repository)
    with open_api(profile) as api:
        planned = planning.make_plan(api, found)
    if as_json:
        output.write_json(planning.as_json(planned))
    else:
        planning.show(planned)
    if planned.refused:
        raise typer.Exit(Exit.FAILED)
    if exit_code and planned.changes:
        raise typer.Exit(Exit.CHANGES)


def _read(
    file: str,
    form: str | None,
    connected_registry: str | None,
    site: str | None,
    repositories: list[str] | None,
) -> list[Row]:
    from firstpull_cli import rows
    from firstpull_cli.errors import CliError

    if form is not None and form not in set(rows.Form):
        advice = f"It is one of: {', '.join(rows.Form)}."
        raise CliError(f"--format {form} is not known", advice=advice, status=Exit.USAGE)
    defaults = {
        "connectedRegistry": connected_registry,
        "site": site,
        "repositories": repositories,
    }
    return rows.read_rows(file, form=rows.Form(form) if form else None, defaults=defaults)


def _refused(found: list[Row], outcomes: list[Outcome]) -> list[tuple[Row, str, str]]:
    return [
        (row, outcome.reason or "", outcome.why or "")
        for row, outcome in zip(found, outcomes, strict=True)
        if outcome.is_refused
    ]
