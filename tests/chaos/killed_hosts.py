"""Hosts that are killed and started again while devices are onboarded, rotated, moved, revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from local_azure.kernel.background import in_background
from local_azure.kernel.storm import Storm
from tests.chaos.hosts import Hosted, hosted
from tests.chaos.lab import PLANTS
from tests.chaos.tally import Chaos

DEVICES, HOSTS = 200, 4
_LEAST_DEVICES, _FEW_HOSTS = 8, 2
_FEW_DEVICES = 40
_FAULTS = 0.05
_AT_ONCE = 25
_PAUSES = (2.0, 6.0)


class Life(NamedTuple):
    """What is asked for a device after its onboarding."""

    share: float
    rest: Callable[[Hosted, str, str, str], Awaitable[None]]


async def _nothing(_: Hosted, __: str, ___: str, ____: str) -> None:
    return


async def _rotated(hosted: Hosted, device_id: str, plant: str, _: str) -> None:
    before = hosted.agents.delivered(device_id, plant)
    await hosted.rotate(device_id)
    await hosted.until(
        lambda: hosted.agents.delivered(device_id, plant) not in (before, None),
        f"{device_id} gets no other password",
    )
    await hosted.until_used(device_id, plant)


async def _moved(hosted: Hosted, device_id: str, plant: str, other: str) -> None:
    hosted.moved[device_id] = other
    await hosted.onboard(device_id, other)
    await hosted.until_used(device_id, other)
    await hosted.until(
        lambda: hosted.agents.delivered(device_id, plant) is None,
        f"{device_id} keeps the delivery of {plant}",
    )


async def _revoked(hosted: Hosted, device_id: str, plant: str, _: str) -> None:
    hosted.revoked[device_id] = hosted.login(device_id)
    await hosted.revoke(device_id)
    await hosted.until(
        lambda: hosted.agents.delivered(device_id, plant) is None,
        f"{device_id} keeps the delivery of {plant}",
    )


LIVES = (Life(0.5, _nothing), Life(0.2, _rotated), Life(0.2, _moved), Life(0.1, _revoked))


async def killed_hosts(chaos: Chaos) -> None:
    """200 devices at four hosts; a share of both with a share of the cases."""
    size = max(_LEAST_DEVICES, round(DEVICES * min(chaos.share, 1.0)))
    hosts = HOSTS if size >= _FEW_DEVICES else _FEW_HOSTS
    with chaos.case(f"{size} devices, {hosts} hosts"):
        await hosted(chaos, lambda found: _lives(chaos, found, size), hosts=hosts)
    chaos.note(f"{size} devices at {hosts} hosts")


async def _lives(chaos: Chaos, found: Hosted, size: int) -> Callable[[], Awaitable[None]]:
    chance = chaos.chance("lives")
    devices = await found.new_devices(f"killed-{number:03}" for number in range(size))
    plants = {device: chance.choice(PLANTS) for device in devices}
    weights = [life.share for life in LIVES]
    lives = dict(zip(devices, chance.choices(LIVES, weights, k=size), strict=True))
    kernel, slots = found.stack.kernel, asyncio.Semaphore(_AT_ONCE)
    storm = Storm(chance=chaos.chance("storm"), share=_FAULTS, now=kernel.clock.now)
    kernel.faults.storm = storm

    async def live(device_id: str) -> None:
        plant = plants[device_id]
        other = next(each for each in PLANTS if each != plant)
        async with slots:
            if chance.random() < 0.5:
                await found.onboard(device_id, plant)
            else:
                await found.send([onboarding_message(device_id, plant)])
            await found.until_used(device_id, plant)
            await lives[device_id].rest(found, device_id, plant, other)

    try:
        async with (
            in_background(_kill(chaos, found)),
            in_background(found.pass_time()),
            asyncio.TaskGroup() as group,
        ):
            for device_id in devices:
                group.create_task(live(device_id))
    except* AssertionError as broken:
        raise AssertionError(str(broken.exceptions[0])) from None
    finally:
        kernel.faults.clear()
        found.met.update(storm.met)
    await found.until_done(devices)
    return lambda: found.check(devices, plants.__getitem__)


async def _kill(chaos: Chaos, found: Hosted) -> None:
    """Kill one host every few seconds; another one serves at the time."""
    chance = chaos.chance("kills")
    while True:
        await asyncio.sleep(chance.uniform(*_PAUSES))
        if len(serving := found.serving) > 1:
            chance.choice(serving).kill()
            found.met["kill -9 of a host"] += 1


def onboarding_message(device_id: str, plant: str) -> dict[str, object]:
    """A request as senders put it into the queue."""
    return {"deviceId": device_id, "connectedRegistry": plant, "repositories": ["hello-world"]}
