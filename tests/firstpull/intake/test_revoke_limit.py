"""The limit of revokes an hour over the API."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from firstpull.intake.revoke_limit import RevokeLimit
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Refused
from firstpull.model.reasons import Reason
from tests.firstpull.harness import Harness

LIMIT = 50
MINUTE = timedelta(minutes=1)


def limit_of(harness: Harness, process: int = 0) -> RevokeLimit:
    return harness.processes[process].application.revoking.limit


async def revoke(harness: Harness, device: DeviceKey, process: int = 0) -> None:
    revoking = harness.processes[process].application.revoking
    await revoking.revoke_within_limit(device, requested_by="a person")


async def reach_the_limit(harness: Harness) -> None:
    for _ in range(LIMIT):
        await limit_of(harness).take()


async def refused(harness: Harness, device: DeviceKey) -> None:
    with pytest.raises(Refused, match="MassRevokeApprover") as error:
        await revoke(harness, device)
    assert error.value.reason is Reason.TOO_MANY_REVOKES


async def test_beyond_the_limit_a_device_keeps_its_access_until_somebody_approves() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await reach_the_limit(harness)
    await refused(harness, device)
    assert harness.state(device) is State.READY
    await limit_of(harness).approve(1, approved_by="another person")
    await revoke(harness, device)
    assert harness.state(device) is not State.READY


async def test_an_approval_allows_as_many_as_it_says_for_an_hour() -> None:
    harness = Harness()
    first, second = [await harness.make_ready(name) for name in ("press-1", "press-2")]
    await reach_the_limit(harness)
    await limit_of(harness).approve(1, approved_by="another person")
    await revoke(harness, first)
    await refused(harness, second)
    await limit_of(harness).approve(7, approved_by="another person")
    harness.clock.advance(timedelta(hours=1))
    await reach_the_limit(harness)
    await refused(harness, second)


async def test_after_an_hour_there_is_room_again() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await reach_the_limit(harness)
    harness.clock.advance(59 * MINUTE)
    await refused(harness, device)
    harness.clock.advance(MINUTE)
    await revoke(harness, device)


async def test_instances_count_together() -> None:
    harness = Harness(processes=3)
    device = await harness.make_ready()
    takes = (limit_of(harness, number % 3).take() for number in range(LIMIT))
    await asyncio.gather(*takes)
    await refused(harness, device)


async def test_what_is_revoked_already_or_unknown_does_not_count() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await revoke(harness, device)
    for _ in range(2):
        await revoke(harness, device)
        with pytest.raises(NotKnown):
            await revoke(harness, DeviceKey(hub=device.hub, device_id="never-seen"))
    assert limit_of(harness).room(await limit_of(harness).count()) == LIMIT - 1
    await reach_the_limit_less(harness, 1)
    await revoke(harness, device)


async def reach_the_limit_less(harness: Harness, less: int) -> None:
    for _ in range(LIMIT - less):
        await limit_of(harness).take()


async def test_a_dry_run_says_the_same_and_counts_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    revoking = harness.processes[0].application.revoking
    await revoking.propose_within_limit(device, requested_by="a person")
    assert limit_of(harness).room(await limit_of(harness).count()) == LIMIT
    await reach_the_limit(harness)
    with pytest.raises(Refused):
        await revoking.propose_within_limit(device, requested_by="a person")


async def test_a_device_that_its_hub_no_longer_has_is_revoked_all_the_same() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await reach_the_limit(harness)
    harness.cloud.devices.pop(device)
    await harness.handle(device, created=False)
    await harness.run_until_quiet()
    assert harness.state(device) is State.REVOKED


async def test_a_damaged_count_is_begun_anew() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.documents["revokes"] = b"{", 1
    await revoke(harness, device)
    assert limit_of(harness).room(await limit_of(harness).count()) == LIMIT - 1
