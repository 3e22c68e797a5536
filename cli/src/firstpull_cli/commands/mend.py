"""Commands around the devices: doctor, audit, rebuild, open."""

from __future__ import annotations

from typing import Annotated

import typer

from firstpull_cli.commands.common import (
    AsJson,
    DryRun,
    Hub,
    ProfileName,
    Yes,
    confirm,
    open_api,
)
from firstpull_cli.errors import Exit


def doctor(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Look for what is wrong, and show the command that mends it.

    firstpull itself looks, with its own identity: roles, registries, sites, locks, policies,
    networks, events, settings, queues, records. Exits with 1 if something is wrong.
    """
    from firstpull_cli import diagnosis, output

    with open_api(profile) as api:
        found = api.get("doctor")
    if as_json:
        output.write_json(found)
    else:
        diagnosis.show(found)
    if found["findings"]:
        raise typer.Exit(Exit.FAILED)


def audit(
    *,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="2026-11-29, or so long ago: 12h, 7d, 4w.")
    ] = "7d",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Likewise; default: now.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this caller.")] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|jsonl|csv", help="JSON lines, or CSV.")
    ] = "table",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show who asked for what and when, the oldest first.

    A device's record keeps its last 20 requests at least; older ones are in the log.
    """
    from firstpull_cli import output, requests_made
    from firstpull_cli.errors import CliError

    if form not in set(requests_made.Form):
        advice = f"It is one of: {', '.join(requests_made.Form)}."
        raise CliError(f"--format {form} is not known", advice=advice, status=Exit.USAGE)
    begin = requests_made.time_of(since)
    end = requests_made.time_of(until) if until is not None else None
    with open_api(profile) as api:
        entries = requests_made.read(api, since=begin, until=end, by=by)
    if as_json:
        output.write_json({"entries": entries})
    else:
        requests_made.write(entries, requests_made.Form(form))


def rebuild(
    device_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One device; default: all.")
    ] = None,
    *,
    hub: Hub = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Make lost or outdated records again from what exists in Azure. Asks first."""
    from firstpull_cli import output, rebuilding

    with open_api(profile) as api:
        if not dry_run:
            named = device_id or "all devices"
            confirm(f"Rebuild the records of {named} at {api.profile.url}?", yes=yes)
        whole = rebuilding.rebuild(api, device_id=device_id, hub=hub, dry_run=dry_run)
    if as_json:
        output.write_json(whole)
    else:
        rebuilding.show(whole, dry_run=dry_run)
    if whole["notRebuilt"] or whole["unread"]:
        raise typer.Exit(Exit.FAILED)


def open_page(
    *,
    show: Annotated[bool, typer.Option("--show", help="Only write the address.")] = False,
    profile: ProfileName = None,
) -> None:
    """Open the fleet page in a browser, and write its address.

    No key is in the address, where histories and logs would keep it. The page asks for one that has
    a name; behind Entra, the address is that of the sign-in, which leads to the page.
    """
    import sys
    import webbrowser

    from firstpull_cli.output import note
    from firstpull_cli.profiles import choose_profile

    url = choose_profile(profile).page
    sys.stdout.write(f"{url}\n")
    if not show and not webbrowser.open(url):
        note("There is no browser here; open the address elsewhere.")
