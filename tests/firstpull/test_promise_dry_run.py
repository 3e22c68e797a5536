"""P9: a dry run writes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.reconcile.plan import Plan, make_plan
from tests.firstpull.fakes import READS
from tests.firstpull.harness import PLANT_ONE, VALIDITY, Harness


async def dry_run(harness: Harness, device: DeviceKey) -> Plan:
    """Observe and plan, and see that only reads went out."""
    begun = len(harness.cloud.calls)
    observer = harness.processes[0].worker.observer
    observed = await observer.observe(harness.cloud.record(device))
    plan = make_plan(observed, now=harness.clock.now(), validity=VALIDITY)
    calls = harness.cloud.calls[begun:]
    assert calls
    assert set(calls) <= READS
    return plan


async def new(harness: Harness) -> DeviceKey:
    harness.register()
    return (await harness.ask()).device


async def ready(harness: Harness) -> DeviceKey:
    return await harness.make_ready()


async def changed_by_somebody(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    harness.cloud.devices[device].desired.clear()
    harness.cloud.connected[PLANT_ONE].clients.clear()
    return device


async def unknown(harness: Harness) -> DeviceKey:
    return (await harness.ask()).device


async def without_a_place(harness: Harness) -> DeviceKey:
    device = await new(harness)
    harness.cloud.connected.clear()
    return device


@pytest.mark.parametrize(
    ("situation", "steps"),
    [(new, 6), (ready, 0), (changed_by_somebody, 2), (unknown, 0), (without_a_place, 0)],
)
async def test_a_dry_run_only_reads(
    situation: Callable[[Harness], Awaitable[DeviceKey]], steps: int
) -> None:
    harness = Harness()
    device = await situation(harness)
    record = harness.cloud.records[device]
    plan = await dry_run(harness, device)
    assert len(plan.actions) == steps
    assert harness.cloud.records[device] == record
    assert harness.cloud.ledgers.keys() <= {PLANT_ONE}


async def test_a_dry_run_shows_what_a_pass_then_does() -> None:
    harness = Harness()
    device = await new(harness)
    plan = await dry_run(harness, device)
    await harness.reconcile(device)
    assert [type(a).__name__ for a in plan.actions] == [
        "TakePlace",
        "PutScopeMap",
        "CreateToken",
        "GeneratePassword",
        "JoinConnectedRegistry",
        "Deliver",
    ]
    assert harness.cloud.writes() == {
        "registries.put_scope_map": 1,
        "registries.create_token": 1,
        "registries.generate_password": 1,
        "registries.replace_client_tokens": 1,
        "secrets.put": 1,
        "hubs.patch_desired": 1,
    }


async def test_an_empty_plan_takes_no_claim() -> None:
    harness = Harness()
    device = await harness.make_ready()
    begun = len(harness.cloud.calls)
    await harness.reconcile(device)
    wrote = [call for call in harness.cloud.calls[begun:] if call not in READS]
    assert wrote == ["records.replace"]
