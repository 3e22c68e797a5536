"""One device: its state and why, what it has, and its history as a timeline."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from firstpull_cli import output
from firstpull_cli.api import Api, Document, device_path


def find(api: Api, device_id: str, *, hub: str | None) -> Document:
    """A device as the API shows it; without history where no path can carry the id.

    Raises CliError, also for an unknown device.
    """
    path, query = device_path(device_id)
    found = api.get(path, **query, hub=hub)
    if not query:
        return found
    devices: list[Document] = found["devices"]
    if devices:
        return devices[0]
    return api.get("devices:operation", deviceId=device_id, generation=1, hub=hub)  # says 404


def show(device: Document) -> None:
    """Write a device for a person."""
    console = output.console()
    condition, wants = device["condition"], device["wants"]
    heading = Text.assemble(
        (output.clean(device["deviceId"]), "bold"),
        "  ",
        output.state_cell(device["state"]),
        f"  {condition['reason']} for {output.ago(condition['since'])}",
    )
    console.print(heading)
    console.print(Text(f"  {output.clean(condition['message'])}"))
    if remedy := condition.get("remedy"):
        console.print(Text(f"  → {output.clean(remedy)}", style="bold yellow"))
    for warning in device.get("warnings", ()):
        line = f"  ! {warning['reason']} for {output.ago(warning['since'])}: {warning['message']}"
        console.print(Text(output.clean(line), style="yellow"))
    console.print()
    console.print(output.facts([*_wanted(device, wants), *_has(device)]))
    _show_history(console, device.get("history", ()))


def _sealed(wants: Document) -> str | None:
    if wants.get("sealingKey"):
        return "to the device's key"
    return "to a key that its record has lost" if wants.get("sealedTo") else None


def _wanted(device: Document, wants: Document) -> list[tuple[str, object]]:
    rotation, revoked = device.get("rotation"), device.get("revoked")
    done = device["observedGeneration"]
    return [
        ("hub", device["hub"]),
        ("wants", f"{wants['target']}: {', '.join(wants['repositories'])}"),
        ("may", ", ".join(wants["actions"])),
        ("by", wants.get("delivery")),
        ("sealed", _sealed(wants)),
        ("adopts", wants.get("adopt")),
        ("asked by", f"{wants['requestedBy']}, {wants['requestedAt']}"),
        ("generation", f"{device['generation']}, done up to {done}"),
        ("rotation", rotation and f"asked by {rotation['requestedBy']}, {rotation['at']}"),
        ("revoked", revoked and f"by {revoked['requestedBy']}, {revoked['at']}"),
    ]


def _has(device: Document) -> list[tuple[str, object]]:
    delivery, rejected = device.get("delivery"), device.get("lastRejected")
    leaving = [
        f"{one['connectedRegistry']}{' at once' if one['atOnce'] else ' after its next login'}"
        for one in device.get("leaving", ())
    ]
    attempts, look = device["attempts"], output.ago(device.get("nextLookAt"))
    place = device.get("connectedRegistry")
    return [
        ("at", place and f"{device['containerRegistry']}/{place}"),
        ("leaves", ", ".join(leaving) or None),
        ("token", device.get("token")),
        ("secret", device.get("secret")),
        ("delivered", delivery and _delivered(delivery)),
        ("expires", delivery and f"{delivery['expiresOn']} ({output.ago(delivery['expiresOn'])})"),
        ("rejected", rejected and f"{rejected['reason']}: {rejected['message']}"),
        ("failures", f"{attempts} in a row" if attempts else None),
        ("next look", look if look is None or look.startswith("in ") else "due"),
    ]


def _delivered(delivery: Document) -> str:
    login = delivery.get("acknowledgedAt")
    seen = f"logged in {login}" if login else "no login reported yet"
    return f"{delivery['slot']} for {delivery['address']}, {delivery['deliveredAt']}; {seen}"


def _show_history(console: Console, history: list[Document]) -> None:
    if not history:
        return
    console.print()
    day = ""
    for entry in history:
        date, _, clock = entry["at"].removesuffix("Z").partition("T")
        if date != day:
            console.print(Text(date, style="bold"))
            day = date
        is_bad = any(
            word in entry["event"] for word in ("failed", "blocked", "rejected", "crashed")
        )
        line = Text.assemble(
            "  ",
            (clock.partition(".")[0], "dim"),
            ("  ●  ", "red" if is_bad else "cyan"),
            entry["event"].removeprefix("device."),
        )
        if by := entry.get("by"):
            line.append(f"  by {output.clean(by)}", style="dim")
        if detail := entry.get("detail"):
            line.append(f"  {output.clean(detail)}")
        if (count := entry.get("count", 1)) > 1:
            line.append(f"  {count} times since {entry.get('firstAt')}", style="dim")
        console.print(line)
