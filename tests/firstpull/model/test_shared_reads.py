"""Reads that devices in flight share: single flight, for a few seconds, never across a write."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from firstpull.model.errors import Transient
from firstpull.model.shared_reads import FRESH, Look, SharedReads
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness
from tests.firstpull.hosts_apart import HostClock

READ = "registries.get_connected_registry"


def shared_of(harness: Harness) -> SharedReads:
    """The reads that the first process shares."""
    return harness.processes[0].application.worker.observer.shared


def reads(harness: Harness, operation: str = READ) -> int:
    """How often an operation was called."""
    return harness.cloud.calls.count(operation)


async def test_concurrent_looks_are_one_read() -> None:
    harness = Harness()
    await asyncio.gather(*(shared_of(harness).look_at(PLANT_ONE) for _ in range(20)))
    assert reads(harness) == 1


async def test_a_look_is_shared_as_long_as_it_is_fresh() -> None:
    harness = Harness()
    await shared_of(harness).look_at(PLANT_ONE)
    harness.clock.advance(FRESH / 2)
    await shared_of(harness).look_at(PLANT_ONE)
    assert reads(harness) == 1
    harness.clock.advance(FRESH)
    await shared_of(harness).look_at(PLANT_ONE)
    assert reads(harness) == 2


async def test_a_look_is_not_shared_once_the_hosts_clock_was_set_back() -> None:
    harness = Harness()
    ports, clock = harness.processes[0].application.ports, HostClock(harness.clock, FRESH)
    shared = SharedReads(registries=ports.registries, ledgers=ports.ledgers, clock=clock)
    await shared.look_at(PLANT_ONE)
    clock.off = timedelta()
    await shared.look_at(PLANT_ONE)
    assert reads(harness) == 2


async def test_only_those_who_waited_for_a_read_share_its_failure() -> None:
    harness = Harness()
    with harness.cloud.unavailable(READ):
        answers = await asyncio.gather(
            *(shared_of(harness).look_at(PLANT_ONE) for _ in range(3)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [Transient] * 3
    assert reads(harness) == 1
    assert (await shared_of(harness).look_at(PLANT_ONE)).connected_registry is not None


async def test_a_caller_who_gives_up_ends_no_other_callers_read() -> None:
    harness = Harness()
    shared = shared_of(harness)
    with harness.cloud.hold_call(READ) as held:
        first = asyncio.create_task(shared.look_at(PLANT_ONE))
        await held.reached.wait()
        second = asyncio.create_task(shared.look_at(PLANT_ONE))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert (await second).connected_registry is not None
    assert reads(harness) == 1


async def test_what_does_not_exist_is_read_anew() -> None:
    harness = Harness()
    harness.cloud.registry().delete_connected_registry(PLANT_ONE.name)
    assert (await shared_of(harness).look_at(PLANT_ONE)).connected_registry is None
    harness.cloud.connect(PLANT_ONE, login_server="plantone.site.example:8000")
    assert (await shared_of(harness).look_at(PLANT_ONE)).connected_registry is not None
    assert await shared_of(harness).scope_map(REGISTRY, "none") is None
    assert await shared_of(harness).scope_map(REGISTRY, "none") is None
    assert reads(harness, "registries.get_scope_map") == 2


async def test_a_look_from_before_a_write_is_not_shared_after_it() -> None:
    harness = Harness()
    shared = shared_of(harness)
    with harness.cloud.hold_call(READ, answer=True) as held:
        before = asyncio.create_task(shared.look_at(PLANT_ONE))
        await held.reached.wait()
        harness.cloud.add_foreign_client(PLANT_ONE, "later")
        shared.forget(PLANT_ONE)
        after = await shared.look_at(PLANT_ONE)
    assert after.connected_registry is not None
    assert len(after.connected_registry.client_token_ids) == 1
    assert (await before).connected_registry is not None


async def test_a_listing_from_before_a_write_replaces_no_later_look() -> None:
    harness = Harness()
    shared = shared_of(harness)
    listing = "registries.list_connected_registries"
    with harness.cloud.hold_call(listing, answer=True) as held:
        before = asyncio.create_task(shared.look_at_all((PLANT_ONE, PLANT_TWO)))
        await held.reached.wait()
        harness.clock.advance(timedelta(seconds=1))
        shared.forget(PLANT_ONE)
        harness.cloud.add_foreign_client(PLANT_ONE, "later")
    await before
    found = (await shared.look_at(PLANT_ONE)).connected_registry
    assert found is not None
    assert len(found.client_token_ids) == 1
    await shared.look_at(PLANT_TWO)
    assert reads(harness) == 1  # the listing has the other one


async def test_what_a_write_has_shown_is_shared() -> None:
    harness = Harness()
    shared = shared_of(harness)
    look = await shared.look_at(PLANT_ONE)
    shared.forget(PLANT_ONE)
    shared.note(PLANT_ONE, look)
    assert await shared.look_at(PLANT_ONE) == Look(
        connected_registry=look.connected_registry, ledger=look.ledger
    )
    assert reads(harness) == 1
