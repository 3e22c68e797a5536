"""P4: no token of ours is lost from the list for good, and none of anybody's knowingly removed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.firstpull.harness import OUR_PREFIX, PLANT_ONE, Harness
from tests.firstpull.scenarios import storm

FOREIGN = ["foreign0", "foreign1", "foreign2"]


def with_foreign_clients(harness: Harness) -> Harness:
    for name in FOREIGN:
        harness.cloud.add_foreign_client(PLANT_ONE, name)
    return harness


def listed(harness: Harness) -> set[str]:
    return set(harness.cloud.clients(PLANT_ONE))


async def onboard(harness: Harness, count: int) -> None:
    """Ask for that many devices at once, and see that all of them get ready and are listed."""
    await harness.make_fleet(count)
    ours = {name for name in harness.cloud.tokens if name.startswith(OUR_PREFIX)}
    assert len(ours) == count
    assert listed(harness) >= ours | set(FOREIGN)


async def test_the_fakes_note_a_client_that_is_dropped() -> None:
    harness = with_foreign_clients(Harness())
    await harness.make_ready()
    registries = harness.processes[0].worker.applier.registries
    await registries.replace_client_tokens(PLANT_ONE, (), deadline_seconds=1)
    with pytest.raises(AssertionError, match="foreign0 was dropped"):
        harness.check_promises()


async def test_a_fleet_joins_while_somebody_else_writes_the_list_too() -> None:
    """Somebody writes the list as it was at the start, with one client more each time."""
    harness = with_foreign_clients(Harness(processes=3))
    at_start = harness.cloud.clients(PLANT_ONE)

    def overwrite(_: int, operation: str) -> None:
        if operation == "lease.release" and len(at_start) < 6:
            at_start.append(f"foreign{len(at_start)}")
            harness.cloud.add_token(at_start[-1])
            harness.cloud.put_clients(PLANT_ONE, *at_start)

    harness.cloud.before_call = overwrite
    await onboard(harness, 20)
    assert len(at_start) == 6
    assert listed(harness) >= set(at_start)
    assert harness.cloud.calls.count("registries.replace_client_tokens") <= 12


async def test_a_pass_over_any_device_repairs_the_whole_list() -> None:
    harness = with_foreign_clients(Harness())
    device = await harness.make_ready("press-0")
    await harness.make_ready("press-1")
    before = listed(harness)
    harness.cloud.put_clients(PLANT_ONE, *FOREIGN)
    await harness.reconcile(device)
    assert listed(harness) == before


@pytest.mark.parametrize("devices", [4, pytest.param(12, marks=pytest.mark.slow)])
async def test_a_fleet_joins_through_a_storm_of_faults(devices: int) -> None:
    harness = with_foreign_clients(Harness(processes=3, sync_every=timedelta(seconds=20)))
    harness.cloud.faults = storm(7, chance=0.03, calls=2500)
    await onboard(harness, devices)
    assert harness.cloud.faults_met > devices
    assert harness.crashes
