"""Messages that firstpull has rejected and kept."""

from __future__ import annotations

from urllib.parse import quote

from rich.text import Text

from firstpull_cli import output
from firstpull_cli.api import Api, Document
from firstpull_cli.errors import CliError, Exit


def find(api: Api, message_id: str) -> Document:
    """A kept message by its id. Raises CliError for an unknown one."""
    messages: list[Document] = api.get("poison")["messages"]
    for message in messages:
        if message["id"] == message_id:
            return message
    raise CliError(
        f"no kept message has the id {message_id}",
        advice="`firstpull poison list` shows the oldest 32 of each queue.",
        status=Exit.NOT_FOUND,
    )


def path_of(message: Document, *, then: str = "") -> str:
    """The path of a kept message."""
    return f"poison/{quote(message['queue'])}/{quote(message['id'], safe='')}{then}"


def show_list(found: Document) -> None:
    """Write a table of kept messages."""
    messages = found["messages"]
    if messages:
        table = output.table("ID", "QUEUE", "KEPT", "REASON", "WHY")
        for message in messages:
            table.add_row(
                output.cell(message["id"]),
                output.cell(message["queue"]),
                output.cell(output.ago(message.get("keptAt"))),
                output.cell(message["reason"]),
                output.cell(_why(message)),
            )
        output.console().print(table)
    else:
        output.note("No message is kept.")
    for queue in found.get("unreadable", ()):
        output.note(
            f"{queue} has a message that storage cannot deliver; `firstpull poison discard --queue "
            f"{queue}` removes all of it."
        )


def show(message: Document) -> None:
    """Write one kept message with what it says."""
    console = output.console()
    names = (("id", "id"), ("queue", "queue"), ("kept", "keptAt"), ("reason", "reason"))
    facts: list[tuple[str, object]] = [(name, message.get(field)) for name, field in names]
    console.print(output.facts([*facts, ("why", _why(message))]))
    console.print()
    console.print(Text(output.clean(message["message"])))


def _why(message: Document) -> str:
    errors = (f"{error['path']}: {error['message']}" for error in message["errors"])
    return "; ".join(errors) or str(message["detail"])
