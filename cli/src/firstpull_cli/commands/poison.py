"""Commands for rejected messages: poison list, show, resend, discard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from firstpull_cli.commands.common import AsJson, DryRun, ProfileName, Yes, confirm, open_api

app = typer.Typer(no_args_is_help=True, help="Messages that were rejected and kept.")
MessageId = Annotated[str, typer.Argument(metavar="ID")]
Queue = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="device-onboarding, device-events or device-work."),
]


@app.command("list")
def list_messages(
    *, queue: Queue = None, profile: ProfileName = None, as_json: AsJson = False
) -> None:
    """List the oldest 32 messages of each queue, and why they were rejected."""
    from firstpull_cli import kept_messages, output

    with open_api(profile) as api:
        found = api.get("poison", queue=queue)
    if as_json:
        output.write_json(found)
    else:
        kept_messages.show_list(found)


@app.command()
def show(message_id: MessageId, *, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show a message and all that is wrong with it."""
    from firstpull_cli import kept_messages, output

    with open_api(profile) as api:
        found = kept_messages.find(api, message_id)
    if as_json:
        output.write_json(found)
    else:
        kept_messages.show(found)


@app.command()
def resend(
    message_id: MessageId,
    *,
    body: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The corrected message, in JSON.")
    ] = None,
    dry_run: DryRun = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Put a message back into its queue, as it came or corrected."""
    from firstpull_cli import kept_messages, output
    from firstpull_cli.errors import CliError, Exit

    corrected = None
    if body is not None:
        try:
            corrected = json.loads(body.read_bytes())
        except (OSError, ValueError) as error:
            advice = "Give a file with the corrected message."
            raise CliError(f"{body}: {error}", advice=advice, status=Exit.USAGE) from None
    with open_api(profile) as api:
        message = kept_messages.find(api, message_id)
        path = kept_messages.path_of(message, then="/resend")
        query = {"dryRun": "true" if dry_run else None}
        sent = api.send("POST", path, query=query, body=corrected, repeatable=False).document
    if as_json:
        output.write_json(sent)
    output.note(f"{message_id} {'would go' if dry_run else 'is'} back in {message['queue']}.")


@app.command()
def discard(
    message_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]")] = None,
    *,
    queue: Queue = None,
    reason: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --queue: only those.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Throw messages away: some by their ids, or all of --queue. Shows them, and asks."""
    from firstpull_cli import kept_messages, output
    from firstpull_cli.errors import CliError, Exit

    if bool(message_ids) == (queue is not None) or (reason is not None and queue is None):
        raise CliError(
            "give ids, or --queue and perhaps --reason",
            advice="`firstpull poison list` shows both.",
            status=Exit.USAGE,
        )
    with open_api(profile) as api:
        if queue is not None:
            path, query = f"poison/{quote(queue, safe='')}", {"reason": reason}
            planned = api.send("DELETE", path, query={**query, "dryRun": "true"}).document
            messages = [action["message"] for action in planned["actions"]]
        else:
            messages = [kept_messages.find(api, one) for one in message_ids or ()]
        if not as_json:
            kept_messages.show_list({"messages": messages})
        if dry_run:
            if as_json:
                output.write_json({"messages": messages})
            return
        what = f"all of {queue}" if queue else f"these {len(messages)}"
        confirm(f"Discard {what} at {api.profile.url}?", yes=yes)
        if queue is not None:
            count = api.send("DELETE", path, query=query).document["discarded"]
        else:
            for message in messages:
                api.send("DELETE", kept_messages.path_of(message))
            count = len(messages)
    if as_json:
        output.write_json({"discarded": count})
    output.note(f"{count} discarded.")
