"""Commands for the limit of revokes an hour: revokes show, approve."""

from __future__ import annotations

from typing import Annotated

import typer

from firstpull_cli.commands.common import AsJson, DryRun, ProfileName, Yes, confirm, open_api

app = typer.Typer(no_args_is_help=True, help="How many devices may be revoked within an hour.")


@app.command()
def show(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show the limit, what was revoked within the hour, and the room that is left."""
    from firstpull_cli import output

    with open_api(profile) as api:
        found = api.get("revokes")
    if as_json:
        output.write_json(found)
        return
    names = ("limit", "revoked", "approved", "approvedBy", "approvedUntil", "room")
    output.console().print(output.facts([(name, found.get(name)) for name in names]))


@app.command()
def approve(
    count: Annotated[int, typer.Argument(min=1, metavar="COUNT", help="So many devices more.")],
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Let so many more devices be revoked within the next hour: shows the limit, and asks.

    This takes the role MassRevokeApprover. Then `firstpull revoke` goes on.
    """
    from firstpull_cli import output

    body = {"revokes": count}
    with open_api(profile) as api:
        before = api.get("revokes")
        room = f"{before['revoked']} of {before['limit']} revoked within the hour"
        output.note(f"{room}, {before['room']} left.")
        if dry_run:
            planned = api.send("POST", "revokes/approve", body=body, query={"dryRun": "true"})
            output.write_json(planned.document)
            return
        confirm(f"Let {count} more devices be revoked at {api.profile.url}?", yes=yes)
        # Approving twice would be no more than once: the later approval replaces the earlier.
        found = api.send("POST", "revokes/approve", body=body).document
    if as_json:
        output.write_json(found)
    else:
        output.note(f"{found['room']} may be revoked until {found.get('approvedUntil')}.")
