"""The list of devices, once or while it changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.live import Live
from rich.table import Table

from firstpull_cli import output
from firstpull_cli.api import Api, Document, Filters

_SHOWN_BY_WATCH = 200
"""Rows of a live table; a screen has fewer."""


def show(api: Api, filters: Filters, *, most: int | None, as_json: bool) -> None:
    """Write the devices of some filters. Raises CliError."""
    devices: list[Document] = []
    unreadable: list[Document] = []
    for page in api.pages(filters, most=most):
        devices += page["devices"]
        unreadable += page.get("unreadable", ())
    if as_json:
        output.write_json({"devices": devices, "unreadable": unreadable})
        return
    if devices:
        output.console().print(_table(devices))
    count = len(devices)
    output.note("No device." if not count else f"{count} device{'s' * (count > 1)}.")
    for one in unreadable:
        output.note(
            f"{one['deviceId']} ({one['hub']}): its record is damaged; the runbook says how to "
            "rebuild it (RecordNotReadable)."
        )


def watch(api: Api, filters: Filters, *, most: int | None, as_json: bool, interval: float) -> None:
    """Show the devices and their changes until Ctrl-C. Raises CliError."""
    if sys.stdout.isatty() and not as_json:
        with Live(console=output.console(), auto_refresh=False, screen=True) as live:
            while True:
                devices = list(api.devices(filters, most=most))
                live.update(_table(devices[:_SHOWN_BY_WATCH]), refresh=True)
                api.sleep(interval)
    before: dict[tuple[str, str], Document] = {}
    while True:
        now = {(d["hub"], d["deviceId"]): d for d in api.devices(filters, most=most)}
        for change in _changes(before, now):
            if as_json:
                output.write_json_line(change)
            else:
                sys.stdout.write(_line(change))
                sys.stdout.flush()
        before = now
        api.sleep(interval)


def _changes(
    before: Mapping[tuple[str, str], Document], now: Mapping[tuple[str, str], Document]
) -> Iterator[Document]:
    for key, device in now.items():
        earlier = before.get(key)
        if earlier is None or _told(earlier) != _told(device):
            yield {"change": "seen" if earlier is None else "changed", "device": device}
    for key, device in before.items():
        if key not in now:
            yield {"change": "gone", "device": device}


def _told(device: Document) -> tuple[object, ...]:
    return (
        device["state"],
        output.reason_of(device),
        device.get("connectedRegistry"),
        device["generation"],
        [warning["reason"] for warning in device.get("warnings", ())],
    )


def _line(change: Document) -> str:
    device = change["device"]
    state = "no longer listed" if change["change"] == "gone" else device["state"]
    at = f"{datetime.now():%H:%M:%S}"  # noqa: DTZ005 - the time on the operator's wall
    place = device.get("connectedRegistry", "-")
    words = (at, device["deviceId"], state, output.reason_of(device), place)
    return output.clean("  ".join(words)) + "\n"


def _table(devices: list[Document]) -> Table:
    table = output.table("DEVICE", "STATE", "REASON", "SINCE", "CONNECTED REGISTRY", "EXPIRES", "!")
    several_hubs = len({device["hub"] for device in devices}) > 1
    for device in devices:
        warnings = device.get("warnings", ())
        hub = f" ({device['hub']})" if several_hubs else ""
        table.add_row(
            output.cell(device["deviceId"] + hub),
            output.state_cell(device["state"]),
            output.cell(output.reason_of(device)),
            output.cell(output.ago(device["condition"]["since"])),
            output.cell(device.get("connectedRegistry") or f"→ {device['wants']['target']}"),
            output.cell(output.ago(device.get("delivery", {}).get("expiresOn"))),
            output.cell(", ".join(w["reason"] for w in warnings) or None, "yellow"),
        )
    return table
