"""Commands for the sweep: sweep run, show, approve."""

from __future__ import annotations

import typer

from firstpull_cli.commands.common import (
    AsJson,
    DryRun,
    ProfileName,
    Timeout,
    Wait,
    Yes,
    confirm,
    open_api,
)

app = typer.Typer(no_args_is_help=True, help="The sweep over all devices, which runs each hour.")


@app.command()
def run(
    *,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Start a sweep now; with --wait show its report.

    This is the Functions host's own route: it needs the master key, from FIRSTPULL_MASTER_KEY or
    master_key_command of the profile.
    """
    from firstpull_cli import output, sweeps

    with open_api(profile) as api:
        before = sweeps.latest(api)
        sweeps.start(api)
        output.note("The sweep is started.")
        if not wait:
            return
        report = sweeps.wait_for_report(api, before=before, seconds=timeout)
    if as_json:
        output.write_json(report)
    else:
        sweeps.show(report)


@app.command()
def show(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show the report of the last sweep."""
    from firstpull_cli import output, sweeps

    with open_api(profile) as api:
        report = api.get("sweep")
    if as_json:
        output.write_json(report)
    else:
        sweeps.show(report)


@app.command()
def approve(
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Let the next sweep revoke what the last one held: shows the devices, and asks."""
    from firstpull_cli import output, sweeps

    with open_api(profile) as api:
        report = api.get("sweep")
        body = {"sweep": report["id"]}
        api.send("POST", "sweep/approve", body=body, query={"dryRun": "true"})  # 404 without any
        if not as_json:
            sweeps.show(report)
        if dry_run:
            if as_json:
                output.write_json(report)
            return
        count = len(report["held"])
        confirm(f"Let the next sweep revoke {count} devices at {api.profile.url}?", yes=yes)
        approved = api.send("POST", "sweep/approve", body=body).document
    if as_json:
        output.write_json(approved)
    else:
        output.note(f"{len(approved['approved'])} approved, for the next sweep.")
