"""A sweep takes minutes: what workers, endpoints and people do meanwhile is no drift."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from firstpull.fleet.inventory import Inventory, InventoryReader
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.observability.log_events import LogEvent
from tests.firstpull.fleet.test_sweep import UNUSED_MAP, add_unused_map
from tests.firstpull.harness import Harness
from tests.firstpull.records import grant_of

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

Act = Callable[[], Awaitable[object]]


async def check_sweep_while(harness: Harness, act: Act) -> None:
    """A sweep finds nothing of what is done between its first reads and that of the records."""
    async with harness.while_held("hubs.list_devices", harness.sweep(), answer=True):
        await act()
    report = await harness.processes[0].application.sweeper.latest()
    assert report is not None
    assert (report.drifted, report.orphans) == ({}, ())


def act_after_inventory(patch: pytest.MonkeyPatch, act: Act) -> None:
    """Have something done between the inventory and what the sweep does with it."""
    take = InventoryReader.take

    async def take_slowly(inventory_reader: InventoryReader) -> Inventory:
        inventory = await take(inventory_reader)
        await act()
        return inventory

    patch.setattr(InventoryReader, "take", take_slowly)


def has_drifted(harness: Harness, device: DeviceKey) -> bool:
    events = {entry.event for entry in harness.cloud.record(device).history}
    return LogEvent.DEVICE_DRIFT_FOUND in events


async def test_a_device_that_is_onboarded_meanwhile_has_not_drifted() -> None:
    harness = Harness(processes=2)
    await harness.make_ready("press-0")
    device = harness.register()

    async def onboard() -> None:
        await harness.ask()
        await harness.run_for(5 * MINUTE)
        assert harness.state(device) is State.READY

    await check_sweep_while(harness, onboard)
    assert not has_drifted(harness, device)


async def test_a_device_that_is_revoked_meanwhile_leaves_no_orphan() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()

    async def revoke() -> None:
        await harness.revoke(device)
        await harness.run_for(2 * MINUTE)
        assert harness.cloud.record(device).is_tombstone

    await check_sweep_while(harness, revoke)


async def test_drift_that_a_pass_has_repaired_by_then_is_not_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    (token,) = harness.cloud.tokens
    harness.cloud.registry().update_token(token, status="disabled")

    async def revoke() -> None:
        await harness.revoke(device)
        await harness.run_for(5 * MINUTE)

    act_after_inventory(monkeypatch, revoke)
    await harness.sweep()
    assert not has_drifted(harness, device)
    assert harness.cloud.record(device).is_tombstone


async def test_a_scope_map_that_is_wanted_since_the_inventory_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness(processes=2)
    add_unused_map(harness)
    await harness.sweep()
    harness.clock.advance(2 * DAY)
    device = harness.register()
    act_after_inventory(monkeypatch, lambda: harness.ask(repositories=["plant/nobody"]))
    assert (await harness.sweep()).scope_maps_removed == 0
    assert UNUSED_MAP in harness.cloud.scope_maps
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_record_that_cannot_be_read_ends_no_sweep_and_loses_nothing() -> None:
    harness = Harness()
    gone = await harness.make_ready("press-1")
    damaged = await harness.make_ready("press-2", repositories=["plant/b"])
    token = grant_of(harness.cloud.record(damaged)).names.token
    text, version = harness.cloud.records[damaged]
    harness.cloud.records[damaged] = text.replace('"Ready"', '"Resting"'), version
    harness.cloud.after_write = None  # what checks the promises reads all records
    harness.cloud.unregister(gone)
    maps = set(harness.cloud.scope_maps)
    for _ in range(3):
        report = await harness.sweep()
        assert report.unread == (f"the record of press-2 at {damaged.hub}",)
        assert report.complete_at is None
        assert report.ledger_entries_removed == report.scope_maps_removed == 0
        harness.clock.advance(DAY)
    assert harness.cloud.record(gone).spec.revocation is not None
    assert set(harness.cloud.scope_maps) == maps
    assert token in harness.cloud.tokens
