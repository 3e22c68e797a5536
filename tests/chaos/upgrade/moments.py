"""What a device can be in the middle of when another release takes over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from firstpull.model.device_key import DeviceKey
from tests.firstpull.harness import (
    OTHER_REGISTRY,
    PLANT_ONE,
    PORT_ONE,
    REGISTRY,
    Harness,
    make_policy,
)
from tests.firstpull.scenarios import make_by_hand
from tests.world.calls import Fault

SECOND = timedelta(seconds=1)


def new_world() -> Harness:
    """Three connected registries, of two container registries."""
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER_REGISTRY],
        connectedRegistries=[
            {"name": "plantone", "capacity": 3},
            {"name": "planttwo"},
            {"name": "portone", "containerRegistry": OTHER_REGISTRY.name},
        ],
        adoptableTokens=["by-hand"],
    )
    harness = Harness(policy=policy, sync_every=6 * SECOND)
    harness.cloud.connect(PORT_ONE, login_server="portone.other.example:8000")
    return harness


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How a world comes to it, and in which state the device ends."""

    reach: Callable[[Harness], Awaitable[DeviceKey]]
    ends: str = "Ready"


async def _pending(harness: Harness) -> DeviceKey:
    device = harness.register()
    await harness.ask()
    return device


def _crashed_at(operation: str, prepare: Callable[[Harness], Awaitable[DeviceKey]]) -> Any:  # noqa: ANN401
    async def reach(harness: Harness) -> DeviceKey:
        device = await prepare(harness)
        harness.cloud.inject(Fault.CRASH_AFTER, at=operation)
        await harness.run_until(lambda: harness.crashes > 0, timedelta(hours=1))
        assert harness.crashes, f"there was no {operation}"
        return device

    return reach


async def _ready(harness: Harness) -> DeviceKey:
    return await harness.make_ready()


async def _delivered(harness: Harness) -> DeviceKey:
    harness._sync_every = None
    device = await _pending(harness)
    await harness.run_for(30 * SECOND)
    return device


async def _rotating(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    await harness.rotate(device)
    return device


async def _rotation_waits_for_a_sync(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    harness._sync_every = None
    await harness.rotate(device)
    await harness.run_for(30 * SECOND)
    return device


async def _moving(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(60 * SECOND)
    return device


async def _moving_far(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="portone")
    await harness.run_for(60 * SECOND)
    return device


async def _other_repositories(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    harness.devices_answer = False
    await harness.ask(repositories=["plant/b"])
    await harness.run_for(60 * SECOND)
    return device


async def _revoking(harness: Harness) -> DeviceKey:
    device = await _ready(harness)
    await harness.revoke(device)
    return device


async def _revoked(harness: Harness) -> DeviceKey:
    device = await _revoking(harness)
    await harness.run_for(timedelta(minutes=1))
    return device


async def _adopted(harness: Harness) -> DeviceKey:
    make_by_hand(harness, "by-hand")
    device = harness.register()
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    return device


async def _blocked(harness: Harness) -> DeviceKey:
    for number in range(3):
        harness.cloud.add_foreign_client(PLANT_ONE, f"foreign{number}")
    device = await _pending(harness)
    await harness.run_for(60 * SECOND)
    return device


async def _fresh_beginning(harness: Harness) -> DeviceKey:
    device = await _revoking(harness)
    await harness.ask()
    await harness.run_for(SECOND)
    return device


MOMENTS = {
    "asked for": Moment(reach=_pending),
    "claimed, with a token": Moment(reach=_crashed_at("registries.create_token", _pending)),
    "a password that nobody has": Moment(
        reach=_crashed_at("registries.generate_password", _pending)
    ),
    "stored, not delivered": Moment(reach=_crashed_at("secrets.put", _pending)),
    "delivered": Moment(reach=_delivered),
    "ready": Moment(reach=_ready),
    "rotation asked for": Moment(reach=_rotating),
    "rotation waits for a sync": Moment(reach=_rotation_waits_for_a_sync),
    "rotation delivered": Moment(reach=_crashed_at("hubs.patch_desired", _rotating)),
    "moving": Moment(reach=_moving),
    "moving to another registry": Moment(reach=_moving_far),
    "other repositories": Moment(reach=_other_repositories),
    "revoke asked for": Moment(reach=_revoking, ends="Revoked"),
    "teardown begun": Moment(
        reach=_crashed_at("registries.disable_token", _revoking), ends="Revoked"
    ),
    "revoked": Moment(reach=_revoked, ends="Revoked"),
    "onboarded again": Moment(reach=_fresh_beginning),
    "adopted": Moment(reach=_adopted),
    "no room": Moment(reach=_blocked, ends="Blocked"),
}


def file_of(name: str) -> str:
    """The stem of a moment's file."""
    return name.replace(", ", " ").replace(" ", "-")
