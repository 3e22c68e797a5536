"""Courses of events that are repeated with a fault at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from firstpull.cloud import ScopeMap, Slot, TokenId
from firstpull.devices import DeviceKey
from firstpull.records import State
from tests.firstpull.end_state import end_state
from tests.firstpull.fakes import FakeToken, Fault
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is there before, and what happens then. Faults count from the second part."""

    prepare: Callable[[Harness], Awaitable[DeviceKey]]
    act: Callable[[Harness, DeviceKey], Awaitable[None]]
    capacity: int = 50


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    state: Mapping[str, Any]
    faults_met: int
    calls: int
    writes_of_one_more_pass: Counter[str]


async def run(scenario: Scenario, faults: Mapping[int, Fault], *, processes: int = 1) -> Outcome:
    """Play a scenario with faults at these calls, then look once more."""
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone", "capacity": scenario.capacity},
            {"name": "planttwo"},
        ]
    )
    harness = Harness(policy=policy, processes=processes, sync_every=timedelta(seconds=6))
    device = await scenario.prepare(harness)
    begun = len(harness.cloud.calls)
    harness.cloud.faults = {begun + number: fault for number, fault in faults.items()}
    await scenario.act(harness, device)
    calls = len(harness.cloud.calls) - begun
    harness.cloud.faults = {}
    state, before = end_state(harness.cloud, device), harness.cloud.writes()
    await harness.look(device)
    harness.check_promises()
    return Outcome(
        state=state,
        faults_met=harness.cloud.faults_met,
        calls=calls,
        writes_of_one_more_pass=harness.cloud.writes() - before,
    )


async def _registered(harness: Harness) -> DeviceKey:
    return harness.register()


async def _ready(harness: Harness) -> DeviceKey:
    return await harness.make_ready()


async def _ask(harness: Harness, _: DeviceKey) -> None:
    await harness.ask()
    await harness.run_until_quiet()


async def _about_to_renew(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    harness.clock.advance_to(harness.cloud.record(device).due_at)
    for place in harness.cloud.connected:
        harness.cloud.sync(place)
    harness.must_stay_logged_in.add(device)
    return device


async def _renew(harness: Harness, device: DeviceKey) -> None:
    def renewed() -> bool:
        record = harness.cloud.record(device)
        delivered = record.delivery is not None and record.delivery.slot is Slot.TWO
        return delivered and record.condition.state is State.READY

    if not await harness.run_until(renewed, timedelta(hours=6)):
        raise AssertionError(f"not renewed: {harness.cloud.record(device)}")
    await harness.run_until_quiet()


async def _recreate(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.register(device)
    harness.make_due(device)
    await harness.run_until_quiet()


async def _meddle(harness: Harness, device: DeviceKey) -> None:
    """Somebody changes all that can be mended, at once."""
    cloud = harness.cloud
    names = cloud.record(device).names
    if names is None:
        raise AssertionError("a ready device has names")
    for name, scope_map in cloud.scope_maps.items():
        cloud.scope_maps[name] = ScopeMap(name=scope_map.name, actions=frozenset())
    cloud.tokens[names.token].enabled = False
    cloud.connected[PLANT_ONE].clients.clear()
    entry = cloud.devices[device].desired["firstpull"]["registryCredentials"]["plantone"]
    entry |= {"address": "elsewhere:8000", "added": True}
    cloud.devices[device].twin_version += 1
    harness.make_due(device)
    await harness.run_until_quiet()


async def _ask_for_a_site_that_fills_up(harness: Harness, device: DeviceKey) -> None:
    """The last room at the first connected registry goes while the device is claimed for it."""
    clients = harness.cloud.connected[PLANT_ONE].clients

    def fill_up(_: int, operation: str) -> None:
        if operation == "records.replace" and not clients:
            for number in range(3):
                harness.cloud.tokens[f"foreign{number}"] = FakeToken("someone's")
                clients.append(TokenId(f"{REGISTRY}/tokens/foreign{number}"))

    harness.cloud.before_call = fill_up
    await harness.ask(connectedRegistry=None, site="plant")
    await harness.run_until_quiet()
    if harness.cloud.record(device).place != PLANT_TWO:
        raise AssertionError("the first connected registry was full")


ONBOARDING = Scenario(prepare=_registered, act=_ask)
RENEWAL = Scenario(prepare=_about_to_renew, act=_renew)
RE_CREATION = Scenario(prepare=_ready, act=_recreate)
OVERFLOW = Scenario(prepare=_registered, act=_ask_for_a_site_that_fills_up, capacity=3)
REPAIR = Scenario(prepare=_ready, act=_meddle)
