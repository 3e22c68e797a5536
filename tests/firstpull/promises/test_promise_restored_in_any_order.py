"""A backup of any moment is restored at any later one: no access comes back, and none is lost."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import FirstpullError
from tests.firstpull.harness import HUB, Harness, over_two_registries
from tests.firstpull.scenarios import make_by_hand

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DEVICES = tuple(DeviceKey(hub=HUB, device_id=name) for name in ("press-1", "press-2"))
ASKED: dict[str, dict[str, Any]] = {
    "onboard": {},
    "by site": {"connectedRegistry": None, "site": "all"},
    "other repositories": {"repositories": ["plant/other"]},
    "move within": {"connectedRegistry": "planttwo"},
    "move across": {"connectedRegistry": "portone", "containerRegistry": "acrtest2"},
    "adopt": {"adopt": "by-hand"},
}
ACTS = (*ASKED, "revoke", "rotate", "rotate at once", "recreate")


async def act(harness: Harness, device: DeviceKey, what: str) -> None:
    """Do one thing to a device; a request may be refused."""
    application, name = harness.processes[0].application, device.device_id
    try:
        if what in ASKED:
            await harness.ask(name, **ASKED[what])
        elif what == "revoke":
            await application.revoking.revoke(device, requested_by="a test")
        elif what == "recreate":
            harness.cloud.register(device)
        else:
            await harness.rotate(device, immediately=what == "rotate at once")
    except FirstpullError:
        return


def accepted(harness: Harness) -> set[str]:
    """All passwords that any token accepts."""
    return {p for name in harness.cloud.tokens for p in harness.cloud.accepted(name)}


def live_logins(harness: Harness) -> set[tuple[DeviceKey, str, str]]:
    """What devices can log in with at their sites."""
    return {
        (device, ref.name, login.password)
        for device, found in harness.cloud.devices.items()
        for ref, login in found.logins.items()
        if harness.cloud.site_accepts(ref, login.token, login.password)
    }


async def live(harness: Harness, chances: random.Random, steps: int) -> None:
    for _ in range(steps):
        await act(harness, chances.choice(DEVICES), chances.choice(ACTS))
        await harness.run_until(lambda: False, chances.choice((MINUTE / 30, MINUTE, 30 * MINUTE)))


@pytest.mark.parametrize(
    "seeds",
    [range(2), pytest.param(range(2, 200), marks=pytest.mark.slow, id="many")],
    ids=lambda seeds: f"{len(seeds)}",
)
async def test_a_backup_of_any_moment_brings_no_access_back_and_takes_none(seeds: range) -> None:
    for seed in seeds:
        await restored_at_some_moment(seed)


async def restored_at_some_moment(seed: int) -> None:
    chances = random.Random(seed)  # noqa: S311 - chance, not secrets
    harness = over_two_registries()
    make_by_hand(harness, "by-hand")
    for device in DEVICES:
        harness.register(device.device_id)
        await act(harness, device, chances.choice(ACTS))
        await harness.run_until(lambda: False, chances.choice((MINUTE / 30, HOUR)))
    await live(harness, chances, 2)
    backup = dict(harness.cloud.records) if chances.random() < 0.7 else {}
    harness.clock.advance(timedelta(seconds=2))
    await live(harness, chances, 4)
    await harness.sweep()  # which sees at once who was registered anew
    await harness.run_until(lambda: False, 2 * HOUR)
    passwords, logins = accepted(harness), live_logins(harness)
    states = {r.device: r.status.condition for r in harness.cloud.all_records()}
    for device in list(harness.cloud.records):
        harness.cloud.lose_record(device)
    harness.cloud.queue.clear()
    for device, (text, _) in backup.items():
        harness.cloud.records[device] = text, harness.cloud.next_number()
    is_swept = chances.random() < 0.5
    for _ in range(2):
        await harness.run_until(lambda: False, HOUR)
        if is_swept:
            await harness.sweep()
    assert accepted(harness) <= passwords
    assert live_logins(harness) >= logins
    rebuilding = harness.processes[0].application.rebuilding
    found = await rebuilding.page(after=None, size=10, dry_run=False)
    await harness.run_until(lambda: False, 2 * HOUR)
    assert accepted(harness) <= passwords
    assert live_logins(harness) >= logins
    for device, condition in states.items():
        if condition.state in (State.READY, State.REVOKED):
            assert harness.state(device) is condition.state, (found, condition)
