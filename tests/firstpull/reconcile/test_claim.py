"""A claim is short, is renewed while its worker works, and stops the worker when it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.reconcile.claim import CLAIM, LONGEST_HELD, PASS, comes_back_at
from tests.firstpull.harness import PLANT_ONE, Harness
from tests.world.calls import Fault

SECOND = timedelta(seconds=1)


async def asked(*, processes: int = 2) -> tuple[Harness, DeviceKey]:
    """A device that was asked for, and no reconcile request."""
    harness = Harness(processes=processes)
    device = harness.register()
    await harness.ask()
    harness.cloud.queue.clear()
    return harness, device


async def test_a_claim_outlasts_its_first_time_while_its_worker_works() -> None:
    harness, device = await asked()
    first, second = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        begun = harness.cloud.record(device).claim
        await harness.clock.sleep((LONGEST_HELD + SECOND).total_seconds())
        held = harness.cloud.record(device).claim
        assert begun is not None
        assert held is not None
        assert (held.owner, held.until > begun.until) == (begun.owner, True)
        await second.worker.reconcile(device)
        assert harness.cloud.record(device).claim == held
    assert harness.state(device) is State.DELIVERED
    assert harness.cloud.writes()["registries.create_token"] == 1


async def test_a_request_during_a_renewed_pass_is_carried_out_next() -> None:
    harness, device = await asked()
    first, _ = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        await harness.ask(repositories=["plant/other"])
        await harness.clock.sleep(CLAIM.total_seconds())
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.THROTTLED], ids=repr)
async def test_a_worker_that_cannot_renew_its_claim_stops_before_its_next_write(
    fault: Fault,
) -> None:
    harness, device = await asked()
    first, _ = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        with harness.cloud.failing("records.replace", fault=fault):
            await harness.clock.sleep(CLAIM.total_seconds())
    assert harness.reason(device) is Reason.OUT_OF_TIME
    assert not harness.cloud.writes()["registries.generate_password"]
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_renewal_whose_answer_was_lost_loses_nothing() -> None:
    harness, device = await asked()
    first, _ = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        harness.cloud.inject(Fault.ANSWER_LOST, at="records.replace")
        await harness.clock.sleep(PASS.total_seconds() / 2)
    assert harness.state(device) is State.DELIVERED


async def test_a_worker_that_lost_its_claim_writes_nothing_more() -> None:
    harness, device = await asked()
    first, second = harness.processes
    async with harness.while_held("registries.create_token", first.worker.reconcile(device)):
        records = second.application.ports.records
        stored = await records.get(device)
        assert stored is not None
        assert stored.value.claim is not None
        other = replace(stored.value.claim, owner="another worker")
        await records.replace(replace(stored.value, claim=other), etag=stored.etag)
        await harness.clock.sleep(CLAIM.total_seconds() / 2)
    assert harness.cloud.record(device).claim == other
    assert not harness.cloud.writes()["registries.generate_password"]


@pytest.mark.parametrize("operation", ["registries.create_token", "hubs.patch_desired"])
async def test_the_device_of_a_dead_worker_comes_back_when_its_claim_has_ended(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, device = await asked(processes=1)
    harness.cloud.inject(Fault.CRASH_BEFORE, at=operation)
    died_at = harness.clock.now()
    await harness.attempt(lambda application: application.worker.reconcile(device))
    claim = harness.cloud.record(device).claim
    assert claim is not None
    assert claim.until <= died_at + CLAIM + SECOND

    async def no_timer() -> None:
        """The request that came with the claim brings the device back."""

    monkeypatch.setattr(harness, "run_timer", no_timer)
    await harness.run_until(lambda: harness.state(device) is State.DELIVERED, timedelta(minutes=2))
    assert harness.state(device) is State.DELIVERED
    assert comes_back_at(claim) <= harness.clock.now() <= died_at + LONGEST_HELD + 5 * SECOND


async def test_a_pass_that_takes_too_long_ends_alone_and_is_retried_later_each_time() -> None:
    harness = Harness()
    stuck, neighbour = harness.register("press-1"), harness.register("press-2")
    await harness.ask("press-1")
    await harness.ask("press-2")
    worker = replace(harness.processes[0].worker, most_seconds=0.05)
    waits = []
    for _ in range(3):
        harness.make_due(stuck)
        harness.cloud.silent = ("hubs.",)
        await worker.reconcile(stuck)
        harness.cloud.silent = ()
        record = harness.cloud.record(stuck)
        waits.append(record.schedule.due_at - harness.clock.now())
        assert record.status.condition.reason is Reason.OUT_OF_TIME
    assert waits[0] < waits[1] < waits[2]
    await harness.processes[0].worker.reconcile(neighbour)
    assert harness.state(neighbour) is State.DELIVERED


async def test_after_a_write_that_was_cut_off_nobody_takes_the_device_over_at_once() -> None:
    harness, device = await asked()
    first, second = harness.processes
    harness.cloud.silent = ("registries.create_token",)
    await replace(first.worker, most_seconds=0.5).reconcile(device)
    harness.cloud.silent = ()
    record = harness.cloud.record(device)
    assert record.status.condition.reason is Reason.OUT_OF_TIME
    assert record.claim is not None
    assert record.schedule.due_at >= comes_back_at(record.claim)
    harness.make_due(device)
    await second.worker.reconcile(device)
    assert harness.cloud.record(device).claim == record.claim
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
