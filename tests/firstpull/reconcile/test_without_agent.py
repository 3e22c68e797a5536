"""A cluster without an agent: its operator makes the pull secret of what Key Vault has.

Nobody reads the twin, and nobody acknowledges: docs/kubernetes.md says what that costs.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.harness import PLANT_ONE, VALIDITY, Harness

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def pulls(harness: Harness) -> bool:
    """Whether the connected registry accepts the login that the operator reads."""
    (versions,) = harness.cloud.secrets.values()
    latest = versions[-1]
    tags = latest.tags or {}
    assert tags["address"] == f"{PLANT_ONE.name}.site.example:8000"
    if not latest.enabled:
        return False
    password = latest.value.get_secret_value()
    return harness.cloud.site_accepts(PLANT_ONE, tags["username"], password)


async def served(*, sync_every: timedelta = DAY) -> tuple[Harness, DeviceKey]:
    """A device of which only Key Vault is read, and which pulls."""
    harness = Harness(sync_every=sync_every)
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(2 * DAY)
    assert harness.state(device) is State.DELIVERED
    assert pulls(harness)
    return harness, device


def made(harness: Harness) -> int:
    return len(harness.cloud.passwords_made)


def expiry(harness: Harness, device: DeviceKey) -> datetime:
    delivery = harness.cloud.record(device).delivery
    assert delivery is not None
    return delivery.expires_at


async def test_a_password_that_nobody_acknowledges_is_replaced_when_it_has_expired() -> None:
    harness, device = await served()
    while harness.clock.now() < expiry(harness, device) - DAY:
        await harness.run_for(DAY)
        assert (pulls(harness), made(harness)) == (True, 1)
    await harness.run_for(3 * DAY)
    assert (pulls(harness), made(harness)) == (True, 2)
    assert expiry(harness, device) > harness.clock.now() + VALIDITY - 4 * DAY


@pytest.mark.slow
async def test_pods_cannot_pull_from_an_expiry_to_the_next_sync() -> None:
    harness, device = await served()
    harness._sync_every = None
    await harness.run_for(expiry(harness, device) - harness.clock.now() + 2 * HOUR)
    assert (pulls(harness), made(harness)) == (False, 2)
    harness.cloud.sync(PLANT_ONE)
    assert pulls(harness)


async def test_a_rotation_waits_unless_it_is_immediate() -> None:
    harness, device = await served(sync_every=MINUTE)
    await harness.rotate(device)
    await harness.run_for(DAY)
    assert (harness.reason(device), made(harness)) == (Reason.AWAITING_DEVICE, 1)
    await harness.rotate(device, immediately=True)
    await harness.run_for(HOUR)
    assert (pulls(harness), made(harness)) == (True, 2)
    (token,) = harness.cloud.tokens
    assert len(harness.cloud.accepted(token)) == 1
