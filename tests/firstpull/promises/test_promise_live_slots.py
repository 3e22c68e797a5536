"""P2: a live slot is never touched. The fakes note every live password that is overwritten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from tests.firstpull.harness import PLANT_ONE, REGISTRY, Harness
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import about_to_renew
from tests.world.calls import FAULTS, Fault


async def make_password_by_hand(harness: Harness, device: DeviceKey, slot: Slot) -> None:
    """A password that lives for three days, and whose value nobody stores."""
    await harness.processes[0].worker.applier.registries.generate_password(
        REGISTRY,
        grant_of(harness.cloud.record(device)).names.token,
        slot=slot,
        expires_at=harness.clock.now() + timedelta(days=3),
        deadline_seconds=1,
    )


async def test_the_fakes_note_a_live_password_that_is_overwritten() -> None:
    harness = Harness()
    await make_password_by_hand(harness, await harness.make_ready(), Slot.ONE)
    with pytest.raises(AssertionError, match="P2"):
        harness.check_promises()


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_a_renewal_that_fails_again_and_again_leaves_the_password_in_use(
    fault: Fault,
) -> None:
    """It fails while the new password is made, or before that is stored."""
    harness = Harness()
    device = await about_to_renew(harness)
    lost = ("registries.generate_password", "secrets.put")
    with harness.cloud.failing(*lost, fault=fault, times=6):
        await harness.run_for(timedelta(hours=5))
    assert harness.cloud.faults_met == 6
    assert len(harness.cloud.passwords_made) >= 2
    assert harness.cloud.devices[device].held["plantone"] == harness.cloud.passwords_made[-1]
    delivery = harness.cloud.record(device).status.delivery
    assert delivery is not None
    assert delivery.slot is Slot.TWO


async def test_a_lost_first_password_is_made_again_in_the_same_slot() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    with harness.cloud.failing("secrets.put", fault=Fault.CRASH_BEFORE, times=1):
        await harness.run_until_quiet()
    _, second = harness.cloud.passwords_made
    (token,) = harness.cloud.tokens.values()
    assert [password.name for password in token.passwords] == [Slot.ONE]
    assert harness.cloud.twin_entry(device, PLANT_ONE)["password"] == second


async def test_a_password_that_somebody_else_made_is_waited_out() -> None:
    """Both slots are live and neither value is stored: nobody knows who uses them."""
    harness = Harness()
    device = await harness.make_ready()
    await make_password_by_hand(harness, device, Slot.TWO)
    harness.must_stay_logged_in.add(device)
    harness.cloud.purge_secrets()
    await harness.reconcile(device)
    await harness.run_for(timedelta(hours=1))
    assert len(harness.cloud.passwords_made) == 2
    harness.clock.advance(timedelta(days=3))
    await harness.run_for(timedelta(hours=1))
    assert harness.cloud.devices[device].held["plantone"] == harness.cloud.passwords_made[2]
