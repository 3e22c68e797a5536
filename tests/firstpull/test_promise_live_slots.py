"""P2: a live slot is never touched. The fakes note every live password that is overwritten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from tests.firstpull.fakes import Crashed, Fault, FaultKind
from tests.firstpull.harness import PLANT_ONE, REGISTRY, Harness
from tests.firstpull.records import grant_of

FAULTS = [Fault(kind=kind, after=after) for kind in FaultKind for after in (False, True)]


async def test_the_fakes_do_note_a_live_password_that_is_overwritten() -> None:
    harness = Harness()
    device = await harness.make_ready()
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    await harness.processes[0].worker.applier.registries.generate_password(
        REGISTRY,
        names.token,
        slot=Slot.ONE,
        expires_at=harness.clock.now() + timedelta(days=1),
        deadline_seconds=1,
    )
    with pytest.raises(AssertionError, match="P2"):
        harness.check_promises()


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_a_renewal_that_fails_again_and_again_leaves_the_password_in_use(
    fault: Fault,
) -> None:
    """Every second password that is asked for is lost on its way."""
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    lost = 0

    def lose(number: int, operation: str) -> None:
        nonlocal lost
        if operation in ("registries.generate_password", "secrets.put") and lost < 6:
            lost += 1
            harness.cloud.faults[number] = fault

    harness.cloud.before_call = lose
    await harness.run_for(timedelta(hours=12))
    assert lost == 6
    held = harness.cloud.devices[device].held["plantone"]
    assert held == harness.cloud.passwords_made[-1]
    assert len(harness.cloud.passwords_made) >= 2


async def test_a_lost_first_password_is_made_again_in_the_same_slot() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def lose(number: int, operation: str) -> None:
        if operation == "secrets.put" and len(harness.cloud.passwords_made) == 1:
            harness.cloud.faults[number] = Fault(kind=FaultKind.CRASH, after=False)

    harness.cloud.before_call = lose
    await harness.run_until_quiet()
    assert len(harness.cloud.passwords_made) == 2
    (token,) = harness.cloud.tokens.values()
    assert set(token.passwords) == {Slot.ONE}
    assert (
        harness.cloud.twin_entry(device, PLANT_ONE)["password"] == (harness.cloud.passwords_made[1])
    )


async def test_a_password_that_somebody_else_made_is_waited_out() -> None:
    """Both slots are live and neither value is kept: nobody knows who uses them."""
    harness = Harness()
    device = await harness.make_ready()
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    registries = harness.processes[0].worker.applier.registries
    await registries.generate_password(
        REGISTRY,
        names.token,
        slot=Slot.TWO,
        expires_at=harness.clock.now() + timedelta(days=3),
        deadline_seconds=1,
    )
    harness.must_stay_logged_in.add(device)
    harness.cloud.secrets[names.secret].clear()
    await harness.reconcile(device)
    await harness.run_for(timedelta(hours=1))
    assert len(harness.cloud.passwords_made) == 2
    harness.clock.advance(timedelta(days=3))
    await harness.run_for(timedelta(hours=1))
    assert len(harness.cloud.passwords_made) == 3
    assert harness.cloud.devices[device].held["plantone"] == harness.cloud.passwords_made[2]


async def test_a_worker_that_died_between_making_and_storing_does_not_stop_the_device() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    with pytest.raises(Crashed):
        await die_at(harness, "secrets.put")
    await harness.run_for(timedelta(hours=6))
    record = harness.cloud.record(device)
    assert record.status.delivery is not None
    assert record.status.delivery.slot is Slot.TWO


async def die_at(harness: Harness, operation: str) -> None:
    """Look at the only device in a process that dies at this call; start a new one."""

    def die(number: int, called: str) -> None:
        if called == operation:
            harness.cloud.faults[number] = Fault(kind=FaultKind.CRASH, after=False)

    (device,) = harness.cloud.devices
    harness.cloud.before_call = die
    try:
        await harness.reconcile(device)
    finally:
        harness.cloud.before_call = None
        harness.restart(0)
