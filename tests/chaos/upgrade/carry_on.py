"""`python -m tests.chaos.upgrade.carry_on FOLDER`: this release works on worlds of another one.

Prints the worlds that it does not bring to the end that they should have.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from tests.chaos.upgrade.moments import MOMENTS, SECOND, file_of, new_world
from tests.chaos.upgrade.snapshots import load
from tests.firstpull.harness import PLANT_ONE, Harness

_BEYOND_THE_SECOND_LOOK = timedelta(minutes=40)


def worlds_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The worlds by their moments."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: found[file_of(name)] for name in MOMENTS if file_of(name) in found}


def taken_over(stored: dict[str, Any]) -> tuple[Harness, DeviceKey]:
    """A new process over a world, and the world's device."""
    harness = new_world()
    load(stored, harness)
    (device,) = harness.cloud.records
    return harness, device


async def carry_on(name: str, stored: dict[str, Any]) -> Harness:
    """Let a world come to its end, then ask for more. Raises AssertionError."""
    harness, device = taken_over(stored)
    await harness.run_for(_BEYOND_THE_SECOND_LOOK)
    await harness.run_until_quiet()
    _check_state(harness, device, MOMENTS[name].ends)
    if MOMENTS[name].ends == State.BLOCKED:
        harness.cloud.put_clients(PLANT_ONE)
        await harness.run_for(timedelta(hours=2))
        _check_state(harness, device, State.READY)
    before = harness.cloud.writes()
    await harness.reconcile(device)
    harness.check_promises()
    assert harness.cloud.writes() == before, "P3: one more pass writes"
    await _go_on(harness, device)
    return harness


async def _go_on(harness: Harness, device: DeviceKey) -> None:
    """Whatever a device was in the middle of, it can be onboarded, rotated, moved and revoked."""
    if harness.state(device) is State.REVOKED:
        harness.clock.advance(2 * SECOND)
        await harness.ask()
        await harness.run_until_quiet()
        _check_state(harness, device, State.READY)
    if not harness.cloud.record(device).status.adopted:
        await harness.rotate(device)
        await harness.run_until_quiet()
        _check_state(harness, device, State.READY)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    _check_state(harness, device, State.READY)
    await harness.revoke(device)
    await harness.run_for(_BEYOND_THE_SECOND_LOOK)
    _check_state(harness, device, State.REVOKED)


def _check_state(harness: Harness, device: DeviceKey, state: str) -> None:
    condition = harness.cloud.record(device).status.condition
    assert condition.state == state, f"P3: it is not {state} but {condition}"


async def _main(folder: Path) -> int:
    logging.disable(logging.CRITICAL)
    failed = 0
    for name, stored in worlds_in(folder).items():
        try:
            await carry_on(name, stored)
        except Exception as error:
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}")  # noqa: T201 - the command's answer
    return failed


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(_main(Path(sys.argv[1])))))
