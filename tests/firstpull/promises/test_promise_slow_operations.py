"""P3: operations of Azure that take 0 to 11 s end like quick ones, and nothing is a failure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.device_record import State
from firstpull.observability.log_events import LogEvent
from tests.firstpull.end_state import remains
from tests.firstpull.harness import Harness
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import SCENARIOS, run, storm
from tests.world.calls import Fault

SEEDS = pytest.mark.parametrize("seeds", [2, pytest.param(60, marks=pytest.mark.slow)])
EACH_SCENARIO = pytest.mark.parametrize("name", SCENARIOS)
IN_PROGRESS = {LogEvent.DEVICE_RECONCILE_CONVERGING, LogEvent.DEVICE_RECONCILE_REVOKING}
FAILED = {LogEvent.DEVICE_RECONCILE_BLOCKED, LogEvent.DEVICE_RECONCILE_CRASHED}


@SEEDS
@EACH_SCENARIO
async def test_slow_operations_end_like_quick_ones_and_their_history_says_the_same(
    name: str, seeds: int
) -> None:
    quick = await run(SCENARIOS[name], {})
    for seed in range(seeds):
        slow = await run(SCENARIOS[name], {}, slow=seed)
        assert slow.state == quick.state, seed
        assert not slow.writes_of_one_more_pass, seed
        assert slow.events - quick.events <= IN_PROGRESS, seed
        assert quick.events <= slow.events, seed


@pytest.mark.slow
@EACH_SCENARIO
async def test_slow_operations_and_faults_end_like_none(name: str) -> None:
    quick = await run(SCENARIOS[name], {})
    for seed in range(16):
        faults = storm(seed, chance=0.1, calls=150)
        slow = await run(SCENARIOS[name], faults, processes=3, slow=seed)
        assert slow.state == quick.state, seed
        assert not slow.writes_of_one_more_pass, seed


@SEEDS
async def test_a_fleet_converges_and_is_revoked_though_every_operation_is_slow(seeds: int) -> None:
    for seed in range(seeds):
        harness = Harness(processes=2, sync_every=timedelta(seconds=6))
        harness.cloud.slow_down(seed=seed)
        devices = await harness.make_fleet(6)
        await harness.sweep()
        for device in devices:
            await harness.revoke(device)
        await harness.run_for(timedelta(minutes=40))
        for device in devices:
            record = harness.cloud.record(device)
            assert record.status.condition.state is State.REVOKED
            assert FAILED.isdisjoint(entry.event for entry in record.history), seed
            assert "token" not in remains(harness.cloud, device)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.CRASH_AFTER])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 4), marks=pytest.mark.slow)])
async def test_a_lost_answer_of_a_slow_operation_ends_like_none(fault: Fault, seeds: range) -> None:
    quick = await run(SCENARIOS["revoke"], {})
    for seed in seeds:
        calls = (await run(SCENARIOS["revoke"], {}, slow=seed)).calls
        for call in range(1, calls, 5):
            slow = await run(SCENARIOS["revoke"], {call: fault}, slow=seed)
            assert slow.state == quick.state, (seed, call)


async def test_a_token_that_somebody_is_deleting_keeps_no_other_device_out() -> None:
    """P11: the service takes no list with it, and firstpull drops it from the list at once."""
    harness = Harness(sync_every=timedelta(seconds=6))
    first = await harness.make_ready()
    harness.cloud.operations_take(change=(0, 0), deletion=(60, 60))
    harness.cloud.delete_token(grant_of(harness.cloud.record(first)).names.token)
    second = harness.register("press-2")
    await harness.ask("press-2")

    def delivered() -> bool:
        assert harness.state(second) is not State.BLOCKED
        return harness.state(second) in (State.DELIVERED, State.READY)

    assert await harness.run_until(delivered, timedelta(seconds=50))
    await harness.run_until_quiet()
    assert harness.state(first) is harness.state(second) is State.READY


async def test_while_a_token_is_being_created_nothing_is_stored_for_it() -> None:
    harness = Harness(sync_every=timedelta(seconds=6))
    harness.cloud.operations_take(change=(60, 60), deletion=(0, 0))
    device = await harness.make_ready()
    secret = grant_of(harness.cloud.record(device)).names.secret
    assert len(harness.cloud.vault.list_versions(secret)) == 1
