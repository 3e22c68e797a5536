"""How full sites and connected registries are."""

from __future__ import annotations

from rich.text import Text

from firstpull_cli import output
from firstpull_cli.api import Document


def show(sites: Document) -> None:
    """Write the room of all sites, with bars."""
    console = output.console()
    table = output.table(
        "SITE",
        "CONNECTED REGISTRY",
        "STATE",
        "",
        "USED",
        "FREE",
        "LAST SYNC",
        "ADDRESS",
        right=("USED", "FREE"),
    )
    for site in sites["sites"]:
        for number, room in enumerate(site["connectedRegistries"]):
            table.add_row(output.cell(None if number else site["name"], "bold"), *_row(room))
    for room in sites["connectedRegistries"]:
        table.add_row(output.cell("-", "dim"), *_row(room))
    console.print(table)
    console.print(
        output.cell("█ this deployment's  ", "green")
        + output.cell("█ leaving  ", "magenta")
        + output.cell("█ others'  ", "blue")
        + output.cell("░ free", "dim")
    )


def all_rooms(sites: Document) -> list[Document]:
    """The connected registries of all sites and of none."""
    in_sites = (room for site in sites["sites"] for room in site["connectedRegistries"])
    return [*in_sites, *sites["connectedRegistries"]]


def name_of(room: Document) -> str:
    """`container registry/connected registry` of a room or a device, as a batch names places."""
    return f"{room['containerRegistry']}/{room['connectedRegistry']}"


def _row(room: Document) -> list[Text]:
    leaving = room["leaving"]
    parts = [(room["ours"] - leaving, "green"), (leaving, "magenta"), (room["foreign"], "blue")]
    state = room.get("state")
    return [
        output.cell(name_of(room)),
        output.cell(state, "" if state == "Online" else "yellow"),
        output.bar(parts, whole=room["capacity"]),
        output.cell(f"{room['used']}/{room['capacity']}"),
        output.cell(room["free"], "" if room["free"] else "bold red"),
        output.cell(output.ago(room.get("lastSync"))),
        output.cell(room.get("address")),
    ]
