"""Commands that only read: status, devices, device, sites."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from firstpull_cli.commands.common import AsJson, Hub, ProfileName, open_api


class State(StrEnum):
    """The states of a device."""

    PENDING = "Pending"
    CONVERGING = "Converging"
    WAITING = "Waiting"
    BLOCKED = "Blocked"
    DELIVERED = "Delivered"
    READY = "Ready"
    REVOKING = "Revoking"
    REVOKED = "Revoked"


class Order(StrEnum):
    """The orders of a listing."""

    DEVICE_ID = "deviceId"
    SINCE = "since"
    EXPIRES_ON = "expiresOn"


def status(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if something needs a person.")
    ] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show how the fleet is, and what needs a person.

    One page: is the app healthy, how many devices are in which state, who waits longest, which
    password expires next, rejected messages, the last sweep, and how many may be revoked.
    """
    from firstpull_cli import overview

    with open_api(profile) as api:
        found = overview.read(api)
        if as_json:
            overview.write_json(found)
        else:
            overview.show(found, profile=api.profile)
    if check and overview.concerns(found):
        raise typer.Exit(1)


def devices(
    *,
    state: Annotated[
        list[State] | None, typer.Option("--state", "-s", help="Only these states; repeatable.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this reason, such as SiteFull.")
    ] = None,
    connected_registry: Annotated[
        str | None,
        typer.Option("--connected-registry", "-c", metavar="NAME", help="Only of this one."),
    ] = None,
    hub: Annotated[str | None, typer.Option(metavar="HOST", help="Only of this hub.")] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Revoked devices too.")] = False,
    order: Annotated[
        Order | None, typer.Option(help="since: longest in its state first.", show_default=False)
    ] = None,
    most: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many at most.", show_default=False)
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C; in a pipe, a line a change.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks of --watch.")
    ] = 2.0,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List devices.

    With --json --watch there is a JSON line for each device that appears, changes or goes.
    """
    from firstpull_cli import listing

    filters: dict[str, str | int | None] = {
        "state": ",".join(state) if state else None,
        "reason": reason,
        "connectedRegistry": connected_registry,
        "hub": hub,
        "tombstones": "true" if revoked else None,
        "order": order.value if order else None,
    }
    with open_api(profile) as api:
        if watch:
            listing.watch(api, filters, most=most, as_json=as_json, interval=interval)
        else:
            listing.show(api, filters, most=most, as_json=as_json)


def device(
    device_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    hub: Hub = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show a device: its state and why, what to do, its history."""
    from firstpull_cli import one_device, output

    with open_api(profile) as api:
        found = one_device.find(api, device_id, hub=hub)
    if as_json:
        output.write_json(found)
    else:
        one_device.show(found)


def sites(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show the room of all sites: what is used, and what is free."""
    from firstpull_cli import output, rooms

    with open_api(profile) as api:
        found = api.get("sites")
    if as_json:
        output.write_json(found)
    else:
        rooms.show(found)
