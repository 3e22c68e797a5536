"""The whole fleet on one page, and what in it needs a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.text import Text

from firstpull_cli import output, rooms, sweeps
from firstpull_cli.api import Api, Document
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.profiles import Profile

_NEARLY_FULL = 0.1


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the API tells about itself and all devices. `sweep` is None before the first."""

    unhealthy: str | None
    fleet: Document
    sites: Document
    sweep: Document | None
    revokes: Document
    poison: Document


def read(api: Api) -> Overview:
    """Everything on the page. Raises CliError."""
    unhealthy = None
    try:
        warning = api.send("GET", "readyz").document.get("warning")
        unhealthy = warning and f"{warning}: a changed policy is wrong; the one before counts"
    except CliError as error:
        if error.status is not Exit.UNAVAILABLE or "cannot be reached" in error.message:
            raise
        unhealthy = error.message
    return Overview(
        unhealthy=unhealthy,
        fleet=api.get("fleet.json"),
        sites=api.get("sites"),
        sweep=sweeps.latest(api),
        revokes=api.get("revokes"),
        poison=api.get("poison"),
    )


def write_json(found: Overview) -> None:
    """Write the page for a script."""
    output.write_json({**asdict(found), "concerns": concerns(found)})


def concerns(found: Overview) -> list[str]:
    """What needs a person, and the command that shows more."""
    fleet, sweep = found.fleet, found.sweep or {}
    listed = [f"unhealthy: {found.unhealthy}"] if found.unhealthy else []
    if blocked := fleet["states"].get("Blocked"):
        listed.append(f"{blocked} blocked: firstpull devices --state Blocked")
    if fleet["unreadable"]:
        listed.append(f"{fleet['unreadable']} damaged records: firstpull devices")
    if held := sweep.get("held"):
        listed.append(f"{len(held)} revokes held by the sweep: firstpull sweep show")
    if unread := sweep.get("unread"):
        listed.append(f"{len(unread)} sources the sweep could not read: firstpull sweep show")
    if messages := found.poison["messages"]:
        listed.append(f"{len(messages)} rejected messages: firstpull poison list")
    nearly = [
        rooms.name_of(room)
        for room in rooms.all_rooms(found.sites)
        if room["capacity"] and room["free"] <= room["capacity"] * _NEARLY_FULL
    ]
    if nearly:
        listed.append(f"nearly full: {', '.join(nearly)}: firstpull sites")
    return listed


def show(found: Overview, *, profile: Profile) -> None:
    """Write the page for a person."""
    console = output.console()
    fleet, revokes, sweep = found.fleet, found.revokes, found.sweep
    states = Text("  ").join(
        output.state_cell(f"{name}") + f" {count}"
        for name, count in fleet["states"].items()
        if count
    )
    wait, expiry = fleet.get("oldestWait"), fleet.get("nextExpiry")
    console.print(
        output.facts(
            [
                ("firstpull", f"{profile.url} ({profile.name})"),
                ("devices", Text(f"{fleet['devices']}  ") + states),
                (
                    "waits longest",
                    wait
                    and f"{wait['deviceId']}: {wait['reason']} for {output.ago(wait['since'])}",
                ),
                (
                    "expires next",
                    expiry and f"{expiry['deviceId']} {output.ago(expiry['expiresOn'])}",
                ),
                ("last sweep", f"{output.ago(sweep['finishedAt'])} ago" if sweep else "none yet"),
                ("may revoke", f"{revokes['room']} more within the hour"),
            ]
        )
    )
    needed = concerns(found)
    console.print()
    if not needed:
        console.print(Text("Nothing needs a person.", style="green"))
    for concern in needed:
        console.print(Text(f"! {output.clean(concern)}", style="bold yellow"))
