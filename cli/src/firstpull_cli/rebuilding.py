"""Records that are made again from what exists, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from firstpull_cli import output
from firstpull_cli.api import Api, Document

_LISTS = ("rebuilt", "notRebuilt")


def rebuild(api: Api, *, device_id: str | None, hub: str | None, dry_run: bool) -> Document:
    """What became of the records of one device or of all. Raises CliError.

    Repeating it changes nothing, so that it goes on after a kill.
    """
    whole: Document = {"current": 0, "rebuilt": [], "notRebuilt": []}
    for page in _pages(api, device_id=device_id, hub=hub, dry_run=dry_run):
        whole["current"] += page["current"]
        for name in _LISTS:
            whole[name] += page[name]
        # Each page finds these anew; the last one knows the most.
        whole["unexplained"], whole["unread"] = page["unexplained"], page["unread"]
        if page.get("next"):
            output.note(f"{len(whole['rebuilt'])} rebuilt, {whole['current']} current so far.")
    return whole


def show(whole: Document, *, dry_run: bool) -> None:
    """Write the result for a person."""
    console = output.console()
    would = "would be rebuilt" if dry_run else "rebuilt"
    table = output.table("DEVICE", "HUB", "STATE", "WHY NOT")
    for device in whole["rebuilt"]:
        name, hub = output.cell(device["deviceId"]), output.cell(device["hub"])
        table.add_row(name, hub, output.state_cell(device["state"]), "")
    for device in whole["notRebuilt"]:
        cells = (device["deviceId"], device["hub"], None, device["message"])
        table.add_row(*map(output.cell, cells))
    if table.row_count:
        console.print(table)
    for orphan in whole["unexplained"]:
        line = f"No tag names {orphan['kind']} {orphan['name']} ({orphan['where']})."
        output.note(line)
    for source in whole["unread"]:
        output.note(f"Could not be read: {source}")
    output.note(f"{len(whole['rebuilt'])} {would}, {whole['current']} current.")


def _pages(
    api: Api, *, device_id: str | None, hub: str | None, dry_run: bool
) -> Iterator[Document]:
    query = {"deviceId": device_id, "hub": hub, "dryRun": "true" if dry_run else None}
    after: str | None = None
    while True:
        page = api.send("POST", "devices:rebuild", query={**query, "after": after}).document
        yield page
        after = page.get("next")
        if after is None:
            return
