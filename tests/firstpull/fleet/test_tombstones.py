"""The sweep deletes the records of devices that were revoked long ago, and no others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.schedule import NEVER
from tests.firstpull.harness import HUB, Harness

_LONG = timedelta(days=91)


async def revoked_device(harness: Harness) -> DeviceKey:
    """A device whose tombstone needs no further pass."""
    device = await harness.make_ready()
    await harness.revoke(device)
    assert await harness.run_until(
        lambda: harness.cloud.record(device).schedule.due_at == NEVER, timedelta(hours=3)
    )
    assert harness.state(device) is State.REVOKED
    return device


async def test_an_old_tombstone_goes_and_the_device_may_begin_anew() -> None:
    harness = Harness()
    device = await revoked_device(harness)
    harness.cloud.unregister(device)
    harness.clock.advance(_LONG)
    await harness.sweep()
    assert device not in harness.cloud.records
    harness.register(device.device_id)
    await harness.ask(device.device_id)  # names the disabled secret again, which has stayed
    assert await harness.run_until(
        lambda: harness.state(device) is State.READY, timedelta(minutes=10)
    )


async def test_a_tombstone_stays_for_its_time() -> None:
    harness = Harness()
    device = await revoked_device(harness)
    harness.cloud.unregister(device)
    harness.clock.advance(timedelta(days=80))
    await harness.sweep()
    assert harness.cloud.record(device).is_tombstone


@pytest.mark.parametrize("tagged", [True, False])
async def test_the_tombstone_of_a_device_that_stayed_in_its_hub_stays(*, tagged: bool) -> None:
    """Else its tag, or a late event, would restore what was revoked."""
    harness = Harness()
    device = await revoked_device(harness)
    if tagged:
        harness.opt_in(device)
    harness.clock.advance(_LONG)
    await harness.sweep()
    assert harness.cloud.record(device).is_tombstone


async def test_a_hub_that_does_not_answer_ends_no_tombstone() -> None:
    harness = Harness()
    device = await revoked_device(harness)
    harness.cloud.unregister(device)
    harness.clock.advance(_LONG)
    for operation in ("hubs.list_devices", "hubs.twin"):
        with harness.cloud.unavailable(operation):
            await harness.sweep()
        assert device in harness.cloud.records


async def test_a_request_during_the_sweep_keeps_its_record() -> None:
    harness = Harness()
    device = await revoked_device(harness)
    harness.cloud.unregister(device)
    harness.clock.advance(_LONG)
    async with harness.while_held("records.delete", harness.sweep()):
        await harness.ask(device.device_id)
    assert harness.cloud.record(DeviceKey(hub=HUB, device_id=device.device_id)).spec.generation == 3
