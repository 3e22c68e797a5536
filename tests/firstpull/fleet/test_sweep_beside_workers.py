"""A sweep takes minutes: what workers, doors and people do meanwhile is no drift."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from firstpull.fleet.inventory import Inventory, InventoryReader
from firstpull.model.azure_resources import ScopeMap
from firstpull.model.device_record import State
from firstpull.model.naming import scope_map_name
from tests.firstpull.harness import DEPLOYMENT, PLANT_ONE, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import HAND_MADE, make_by_hand

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONELY = frozenset({"repositories/plant/nobody/content/read"})
LONELY_MAP = scope_map_name(LONELY, deployment=DEPLOYMENT)
FOUND = "device.drift.found"


async def sweep_while(harness: Harness, act: Callable[[], Awaitable[object]]) -> tuple[object, ...]:
    """A sweep, and what is done when it has read all but the records' end: what it says."""
    with harness.cloud.hold_call("hubs.list_devices", answer=True) as call:
        sweeping = asyncio.create_task(harness.sweep())
        await call.reached.wait()
        await act()
        call.release.set()
        report = await sweeping
    return report.drifted, report.orphans


def acting_after_take(patch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Have something done between the inventory and what the sweep does with it."""
    take = InventoryReader.take

    async def take_slowly(inventory_reader: InventoryReader) -> Inventory:
        inventory = await take(inventory_reader)
        await act()
        return inventory

    patch.setattr(InventoryReader, "take", take_slowly)


async def test_a_device_that_is_onboarded_meanwhile_has_not_drifted() -> None:
    harness = Harness(processes=2)
    await harness.make_ready("press-0")
    device = harness.register("press-1")

    async def onboard() -> None:
        await harness.ask("press-1")
        await harness.run_for(5 * MINUTE)
        assert harness.state(device) is State.READY

    assert await sweep_while(harness, onboard) == ({}, ())
    assert FOUND not in {entry.event for entry in harness.cloud.record(device).history}


async def test_a_device_that_is_revoked_meanwhile_leaves_nothing_unexplained() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready("press-0")

    async def revoke() -> None:
        await harness.revoke(device)
        await harness.run_for(2 * MINUTE)
        assert harness.cloud.record(device).is_tombstone

    assert await sweep_while(harness, revoke) == ({}, ())


async def test_drift_that_somebody_has_seen_to_by_then_is_not_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    harness.cloud.tokens[names.token].enabled = False

    async def revoke() -> None:
        await harness.revoke(device)
        await harness.run_for(5 * MINUTE)

    acting_after_take(monkeypatch, revoke)
    await harness.sweep()
    assert FOUND not in {entry.event for entry in harness.cloud.record(device).history}
    assert harness.cloud.record(device).is_tombstone


async def test_a_scope_map_that_is_wanted_again_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness(processes=2)
    harness.cloud.scope_maps[LONELY_MAP] = ScopeMap(name=LONELY_MAP, actions=LONELY)
    await harness.sweep()
    harness.clock.advance_to(harness.clock.now() + 2 * DAY)
    device = harness.register()
    acting_after_take(monkeypatch, lambda: harness.ask(repositories=["plant/nobody"]))
    report = await harness.sweep()
    assert report.scope_maps_removed == 0
    assert LONELY_MAP in harness.cloud.scope_maps
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_an_approval_outlasts_a_hub_that_does_not_answer_for_a_device() -> None:
    harness = Harness()
    for number in range(5):
        await harness.make_ready(f"press-{number}")
    harness.cloud.devices.clear()
    held = await harness.sweep()
    assert len(held.held) == 5
    await harness.processes[0].application.sweeper.approve(held.id)
    with harness.cloud.unavailable("hubs.twin"):
        unanswered = await harness.sweep()
    assert (unanswered.revoked, len(unanswered.approved)) == (0, 5)
    assert (await harness.sweep()).revoked == 5


async def test_a_sweep_costs_no_call_for_each_adopted_device() -> None:
    costs = []
    for count in (2, 9):
        harness = Harness(policy=make_policy(adoptableTokens=["hand-*"]))
        for number in range(count):
            make_by_hand(harness, f"hand-{number}", f"{HAND_MADE}{number}")
            harness.register(f"press-{number}")
            await harness.ask(f"press-{number}", adopt=f"hand-{number}")
        await harness.run_until_quiet()
        begun = len(harness.cloud.calls)
        assert (await harness.sweep()).drifted == {}
        costs.append(len(harness.cloud.calls) - begun)
    assert costs[0] == costs[1]


async def test_a_warning_says_what_is_true_today() -> None:
    harness = Harness()
    device = await harness.make_ready()
    messages = []
    for state in ("Offline", "Unhealthy"):
        harness.cloud.connected[PLANT_ONE].connection_state = state
        await harness.run_for(HOUR)
        await harness.sweep()
        (warning,) = harness.cloud.record(device).status.warnings
        messages.append(warning.message)
    assert "Offline" in messages[0]
    assert "Unhealthy" in messages[1]


async def test_a_record_that_cannot_be_read_ends_no_sweep_and_loses_nobody_anything() -> None:
    harness = Harness()
    gone = await harness.make_ready("press-1")
    damaged = await harness.make_ready("press-2", repositories=["plant/b"])
    names = grant_of(harness.cloud.record(damaged)).names
    assert names is not None
    text, version = harness.cloud.records[damaged]
    harness.cloud.records[damaged] = text.replace('"Ready"', '"Resting"'), version
    harness.cloud.after_write = None  # what checks the promises reads all records
    del harness.cloud.devices[gone]
    maps = set(harness.cloud.scope_maps)
    for _ in range(3):
        report = await harness.processes[0].application.sweeper.run()
        assert report.unread == (f"the record of press-2 at {damaged.hub}",)
        assert report.complete_at is None
        assert report.ledger_entries_removed == report.scope_maps_removed == 0
        harness.clock.advance_to(harness.clock.now() + DAY)
    assert harness.cloud.record(gone).spec.revocation is not None
    assert set(harness.cloud.scope_maps) == maps
    assert names.token in harness.cloud.tokens


async def test_a_ledger_that_cannot_be_read_is_rebuilt_from_the_records() -> None:
    harness = Harness()
    device = await harness.make_ready()
    before = harness.cloud.ledger(PLANT_ONE)
    text, version = harness.cloud.ledgers[PLANT_ONE]
    harness.cloud.ledgers[PLANT_ONE] = text[:-5], version
    report = await harness.sweep()
    assert report.drifted == {"the ledger has lost the device": 1}
    await harness.run_for(HOUR)
    after = harness.cloud.ledger(PLANT_ONE)
    assert set(after.entries) == set(before.entries)
    assert harness.state(device) is State.READY
