"""Waits until devices have what was asked for, or cannot have it without somebody else."""

from __future__ import annotations

import time
from collections.abc import Collection

from firstpull_cli import output
from firstpull_cli.api import Answer, Api, Document, operation_path, retry_after
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.progress import Steps

Key = tuple[str, str]
"""Hub and device id."""

_UNFINISHED = "Pending,Converging,Waiting,Blocked,Revoking"
_OTHERS_TURN = {"DeviceNotRegistered", "DeviceDisabled", "NoFreeSlot"}
"""Reasons to wait that firstpull cannot end soon by itself."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


def wait_for_devices(api: Api, keys: Collection[Key], *, seconds: float) -> dict[Key, Document]:
    """The devices among these that do not have what they want, when the rest has, or time is up.

    It asks for the whole fleet's unfinished devices, in pages: never once for each device.
    """
    give_up, pause = time.monotonic() + seconds, _FIRST_PAUSE
    wanted = set(keys)
    found = _unfinished(api, wanted)
    with Steps("delivered", total=len(wanted), done=len(wanted) - len(found)) as steps:
        while not all(map(_is_stuck, found.values())) and time.monotonic() + pause <= give_up:
            api.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            found = _unfinished(api, wanted)
            steps.reached(len(wanted) - len(found))
    return found


def is_late(device: Document) -> bool:
    """Whether a device would have what it wants after a longer wait."""
    return not _is_stuck(device)


def wait_for_request(api: Api, answer: Answer, *, seconds: float) -> None:
    """Return when a recorded request is done. Raises CliError if it fails or time is up."""
    path = operation_path(answer)
    give_up, told = time.monotonic() + seconds, ""
    while path is not None:
        found = api.send("GET", path)
        operation, condition = found.document, found.document.get("condition") or {}
        match operation["status"]:
            case "Succeeded":
                return
            case "Failed" | "Canceled":
                error = operation["error"]
                advice = condition.get("remedy") or "`firstpull device ID` says more."
                raise CliError(f"{error['code']}: {error['message']}", advice=advice)
        asked = retry_after(found.headers.get("Retry-After"))
        pause = _FIRST_PAUSE if asked is None else asked
        says = f"{condition.get('reason')}: {condition.get('message')}"
        if time.monotonic() + pause > give_up:
            raise CliError(
                f"not done after {seconds:.0f} s. {says}",
                advice="It goes on without this command: `firstpull device ID`.",
                status=Exit.TIMED_OUT,
            )
        if condition and says != told:
            output.note(says)
            told = says
        api.sleep(pause)


def _unfinished(api: Api, wanted: Collection[Key]) -> dict[Key, Document]:
    return {
        key: device
        for device in api.devices({"state": _UNFINISHED})
        if (key := (device["hub"], device["deviceId"])) in wanted
    }


def _is_stuck(device: Document) -> bool:
    return device["state"] == "Blocked" or output.reason_of(device) in _OTHERS_TURN
