"""P9: a dry run writes nothing, and shows what a pass then does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.reconcile.dry_run import Proposal
from tests.firstpull.harness import PLANT_ONE, Harness
from tests.world.calls import READS


async def dry_run(harness: Harness, record: DeviceRecord) -> Proposal:
    """The plan for a record, read without a write."""
    begun, stored = len(harness.cloud.calls), dict(harness.cloud.records)
    plan = await harness.processes[0].application.dry_run.plan_for(record)
    assert set(harness.cloud.calls[begun:]) <= READS
    assert harness.cloud.records == stored
    return plan


async def new(harness: Harness) -> DeviceKey:
    harness.register()
    return (await harness.ask()).device


async def ready(harness: Harness) -> DeviceKey:
    return await harness.make_ready()


async def changed_by_hand(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    harness.cloud.clear_twin(device)
    harness.cloud.put_clients(PLANT_ONE)
    return device


async def not_registered(harness: Harness) -> DeviceKey:
    return (await harness.ask()).device


async def without_connected_registry(harness: Harness) -> DeviceKey:
    device = await new(harness)
    harness.cloud.registry().delete_connected_registry(PLANT_ONE.name)
    return device


async def revoked_at_once(harness: Harness) -> DeviceKey:
    device = await new(harness)
    await harness.revoke(device)
    return device


async def revoked(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    await harness.revoke(device)
    return device


@pytest.mark.parametrize(
    ("situation", "writes"),
    [
        (new, 6),
        (ready, 0),
        (changed_by_hand, 2),
        (not_registered, 0),
        (without_connected_registry, 0),
        (revoked_at_once, 1),
        (revoked, 6),
    ],
)
async def test_a_dry_run_shows_what_a_pass_then_does(
    situation: Callable[[Harness], Awaitable[DeviceKey]], writes: int
) -> None:
    """Each action is one write outside of firstpull; that of a password is stored as well."""
    harness = Harness()
    device = await situation(harness)
    plan = await dry_run(harness, harness.cloud.record(device))
    before, stored = harness.cloud.writes(), len(harness.cloud.passwords_made)
    await harness.reconcile(device)
    made = (harness.cloud.writes() - before).total()
    assert len(plan.actions) == writes
    reserves = any(type(action).__name__ == "ReserveRoom" for action in plan.actions)
    assert made == writes - reserves + len(harness.cloud.passwords_made) - stored


async def test_a_dry_run_of_a_request_shows_its_actions_and_records_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    application = harness.processes[0].application
    revoke = await application.revoking.propose_within_limit(device, requested_by="me")
    rotate = await application.rotating.propose(device, immediately=False, requested_by="me")
    steps = [
        [type(action).__name__ for action in (await dry_run(harness, proposed)).actions]
        for proposed in (revoke, rotate)
    ]
    assert steps == [
        [
            "DisableToken",
            "LeaveConnectedRegistry",
            "RemoveFromTwin",
            "TagSecret",
            "DisableSecretVersion",
            "DeleteToken",
        ],
        ["GeneratePassword"],
    ]
    assert harness.cloud.record(device).spec.generation == 1


async def test_an_empty_plan_takes_no_claim() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    await harness.reconcile(device)
    written = [call for call in harness.cloud.calls[begun:] if call not in READS]
    assert written == ["records.replace"]
