"""Devices whose generationId is not known yet: the hub has no time to tell it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.hub_identity import IdentityBudget, is_by_etag
from tests.firstpull.harness import Harness
from tests.world.calls import Fault

HOUR = timedelta(hours=1)


def spent(harness: Harness) -> IdentityBudget:
    """The first process's budget, of which nothing is left for a minute or more."""
    budget = harness.processes[0].worker.observer.budget
    budget.refuse()
    return budget


async def delivered_in_a_burst(harness: Harness) -> DeviceKey:
    """A device whose generationId was not read."""
    device = harness.register()
    spent(harness)
    await harness.ask()
    await harness.deliver()
    assert harness.state(device) is State.DELIVERED
    assert is_by_etag(harness.cloud.record(device).status.hub_generation_id)
    assert "hubs.generation_id" not in harness.cloud.calls
    return device


async def test_a_burst_does_not_wait_for_identities_and_reads_them_afterwards() -> None:
    harness = Harness()
    device = await delivered_in_a_burst(harness)
    await harness.run_for(HOUR)
    known = harness.cloud.record(device).status.hub_generation_id
    assert known == harness.cloud.devices[device].generation_id
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 1


async def test_a_throttled_identity_is_read_later() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    with harness.cloud.failing("hubs.generation_id", fault=Fault.THROTTLED, times=1):
        await harness.deliver()
    assert harness.state(device) is State.DELIVERED
    await harness.run_for(HOUR)
    assert not is_by_etag(harness.cloud.record(device).status.hub_generation_id)


async def test_an_identity_that_was_replaced_before_it_was_known_gets_nothing_old() -> None:
    harness = Harness()
    device = await delivered_in_a_burst(harness)
    harness.register()
    await harness.run_for(HOUR)
    await harness.sweep()
    await harness.run_for(HOUR)
    harness.cloud.watch.check_replaced_devices()
    assert harness.state(device) is State.REVOKED


async def test_an_identity_that_was_changed_before_it_was_known_counts_as_another_device() -> None:
    harness = Harness()
    device = await delivered_in_a_burst(harness)
    harness.cloud.change_identity(device, enabled=True)
    harness.clock.advance(timedelta(seconds=2))
    await harness.ask()  # for the one of now
    assert not await harness.run_until(lambda: False, HOUR)  # it had live passwords: no P2
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 2
    old = harness.cloud.passwords_made[0]
    grant = harness.cloud.record(device).status.grant
    assert grant is not None
    assert not harness.cloud.site_accepts(grant.ref, grant.names.token, old)


@pytest.mark.parametrize("knows", [True, False])
async def test_a_revoke_is_final_whether_the_identity_was_known_or_not(*, knows: bool) -> None:
    harness = Harness()
    device = await harness.make_ready() if knows else await delivered_in_a_burst(harness)
    await harness.revoke(device)
    await harness.run_for(HOUR)
    record = harness.cloud.record(device)
    assert harness.state(device) is State.REVOKED
    assert record.status.hub_generation_id == harness.cloud.devices[device].generation_id


async def test_a_crash_right_after_the_claim_keeps_the_identity_that_the_password_is_for() -> None:
    harness = Harness()
    device = harness.register()
    spent(harness)
    await harness.ask()
    with harness.cloud.failing("secrets.put", fault=Fault.CRASH_AFTER, times=1):
        await harness.deliver()
    made = [*harness.cloud.passwords_made]
    assert made
    harness.register()  # another device, before the next pass
    await harness.run_for(HOUR)
    harness.cloud.watch.check_replaced_devices()
    record = harness.cloud.record(device)
    assert record.status.delivery is None or harness.cloud.passwords_made != made


def test_a_budget_gives_twenty_at_once_and_thirty_a_minute_and_none_after_a_refusal() -> None:
    harness = Harness()
    budget = replace(IdentityBudget(clock=harness.clock))
    assert [budget.take() for _ in range(21)] == [True] * 20 + [False]
    harness.clock.advance(timedelta(seconds=2))
    assert [budget.take(), budget.take()] == [True, False]
    harness.clock.advance(timedelta(hours=1))
    budget.refuse()
    harness.clock.advance(timedelta(seconds=59))
    assert not budget.take()
    harness.clock.advance(timedelta(seconds=3))
    assert budget.take()
