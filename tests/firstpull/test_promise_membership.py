"""P4: no token of ours is lost from the list for good, and none of anybody's knowingly removed."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import TokenId
from firstpull.model.device_record import State
from tests.firstpull.fakes import FakeToken, Fault, FaultKind, name_in
from tests.firstpull.harness import PLANT_ONE, REGISTRY, Harness

WRITE = "registries.replace_client_tokens"
FOREIGN = [f"foreign{n}" for n in range(6)]


def with_foreign_tokens(harness: Harness) -> None:
    for name in FOREIGN:
        harness.cloud.tokens[name] = FakeToken(ScopeMapId("someone's"))
    harness.cloud.connected[PLANT_ONE].clients = [foreign(name) for name in FOREIGN[:3]]


def foreign(name: str) -> TokenId:
    return TokenId(f"{REGISTRY}/Tokens/{name}")


def listed(harness: Harness) -> set[str]:
    return {name_in(token) for token in harness.cloud.connected[PLANT_ONE].clients}


async def test_the_fakes_do_note_a_client_that_is_left_out() -> None:
    harness = Harness()
    with_foreign_tokens(harness)
    await harness.make_ready()
    registries = harness.processes[0].worker.applier.registries
    await registries.replace_client_tokens(PLANT_ONE, (), deadline_seconds=1)
    with pytest.raises(AssertionError, match="foreign0 was dropped"):
        harness.check_promises()


async def test_a_fleet_joins_while_somebody_else_writes_the_list_too() -> None:
    harness = Harness(processes=3)
    with_foreign_tokens(harness)
    opted_in_devices = FOREIGN[3:]

    def interfere(_: int, operation: str) -> None:
        """Now and then somebody writes the list as it was at the start, with one more."""
        if operation == "lease.release" and opted_in_devices:
            opted_in_devices.pop()
            added = FOREIGN[: 6 - len(opted_in_devices)]
            harness.cloud.connected[PLANT_ONE].clients = [foreign(name) for name in added]

    harness.cloud.before_call = interfere
    for n in range(30):
        harness.register(f"press-{n}")
    await asyncio.gather(*(harness.ask(f"press-{n}") for n in range(30)))
    await harness.run_until_quiet()
    assert opted_in_devices == []
    assert {r.status.condition.state for r in harness.cloud.all_records()} == {State.READY}
    ours = {name for name in harness.cloud.tokens if name.startswith("fp-")}
    assert len(ours) == 30
    assert listed(harness) == ours | set(FOREIGN)
    assert harness.cloud.calls.count(WRITE) <= 12


async def test_a_list_overwritten_later_is_mended_by_a_reconcile_any_device() -> None:
    harness = Harness()
    with_foreign_tokens(harness)
    device = await harness.make_ready("press-0")
    await harness.make_ready("press-1")
    before = listed(harness)
    harness.cloud.connected[PLANT_ONE].clients = [foreign(name) for name in FOREIGN[:3]]
    await harness.reconcile(device)
    assert listed(harness) == before


async def test_a_fleet_joins_through_a_storm_of_faults() -> None:
    harness = Harness(processes=3, sync_every=timedelta(seconds=20))
    with_foreign_tokens(harness)
    chance = random.Random(7)  # noqa: S311 - chance, not secrets
    harness.cloud.faults = {
        number: Fault(kind=chance.choice(list(FaultKind)), after=chance.random() < 0.5)
        for number in range(1, 2500)
        if chance.random() < 0.03
    }
    for n in range(12):
        harness.register(f"press-{n}")
    await asyncio.gather(*(harness.ask(f"press-{n}") for n in range(12)))
    await harness.run_until_quiet()
    assert harness.cloud.faults_met > 20
    assert harness.crashes > 5
    assert {r.status.condition.state for r in harness.cloud.all_records()} == {State.READY}
    ours = {name for name in harness.cloud.tokens if name.startswith("fp-")}
    assert listed(harness) == ours | set(FOREIGN[:3])
