"""Courses of events that are repeated with a fault at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from firstpull.model.azure_resources import NewPassword, ScopeMap, ScopeMapId, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.secret import Secret
from tests.firstpull.end_state import end_state
from tests.firstpull.fakes import FakeToken, Fault
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of


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
        ],
        adoptableTokens=["by-hand"],
    )
    harness = Harness(policy=policy, processes=processes, sync_every=timedelta(seconds=6))
    device = await scenario.prepare(harness)
    begun = len(harness.cloud.calls)
    harness.cloud.faults = {begun + number: fault for number, fault in faults.items()}
    await scenario.act(harness, device)
    calls = len(harness.cloud.calls) - begun
    harness.cloud.faults = {}
    state, before = end_state(harness.cloud, device), harness.cloud.writes()
    await harness.reconcile(device)
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
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    for ref in harness.cloud.connected:
        harness.cloud.sync(ref)
    harness.must_stay_logged_in.add(device)
    return device


async def _renew(harness: Harness, device: DeviceKey) -> None:
    def renewed() -> bool:
        record = harness.cloud.record(device)
        delivered = record.status.delivery is not None and record.status.delivery.slot is Slot.TWO
        return delivered and record.status.condition.state is State.READY

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
    names = grant_of(cloud.record(device)).names
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
                harness.cloud.tokens[f"foreign{number}"] = FakeToken(ScopeMapId("someone's"))
                clients.append(REGISTRY.token(f"foreign{number}"))

    harness.cloud.before_call = fill_up
    await harness.ask(connectedRegistry=None, site="plant")
    await harness.run_until_quiet()
    if grant_of(harness.cloud.record(device)).ref != PLANT_TWO:
        raise AssertionError("the first connected registry was full")


ONBOARDING = Scenario(prepare=_registered, act=_ask)
RENEWAL = Scenario(prepare=_about_to_renew, act=_renew)
RE_CREATION = Scenario(prepare=_ready, act=_recreate)
OVERFLOW = Scenario(prepare=_registered, act=_ask_for_a_site_that_fills_up, capacity=3)
REPAIR = Scenario(prepare=_ready, act=_meddle)


async def _revoke(harness: Harness, device: DeviceKey) -> None:
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=25))
    if harness.state(device) is not State.REVOKED:
        raise AssertionError(harness.cloud.record(device).status.condition)


async def _revoke_a_device_that_is_gone(harness: Harness, device: DeviceKey) -> None:
    del harness.cloud.devices[device]
    await _revoke(harness, device)


async def _begin_anew(harness: Harness, device: DeviceKey) -> None:
    await harness.revoke(device)
    await harness.ask()
    await harness.run_until_quiet()


async def _move(harness: Harness, device: DeviceKey) -> None:
    harness.must_stay_logged_in.add(device)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()


async def _move_there_and_back(harness: Harness, device: DeviceKey) -> None:
    harness.must_stay_logged_in.add(device)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(seconds=1))
    await harness.ask()
    await harness.run_until_quiet()


async def _ask_for_others(harness: Harness, device: DeviceKey) -> None:
    harness.must_stay_logged_in.add(device)
    await harness.ask(repositories=["plant/other"])
    await harness.run_until_quiet()


async def _rotate(harness: Harness, device: DeviceKey) -> None:
    harness.must_stay_logged_in.add(device)
    await harness.rotate(device)
    await harness.run_until_quiet()


async def _rotate_at_once(harness: Harness, device: DeviceKey) -> None:
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()


async def _made_by_hand(harness: Harness) -> DeviceKey:
    make_by_hand(harness, "by-hand", HAND_MADE)
    return harness.register()


async def _adopt(harness: Harness, device: DeviceKey) -> None:
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    accepted = harness.cloud.accepted("by-hand")
    if not accepted or harness.cloud.twin_entry(device, PLANT_ONE):
        raise AssertionError("the password of before was to be left alone")
    await harness.rotate(device)
    await harness.run_until_quiet()


HAND_MADE = "made-by-hand"


def make_by_hand(harness: Harness, token: str, password: str) -> None:
    """A token with one password that never ends, already a client of the first place."""
    cloud = harness.cloud
    cloud.scope_maps["by-hand"] = ScopeMap(
        name="by-hand", actions=frozenset({"repositories/plant/app/content/read"})
    )
    made = NewPassword(
        slot=Slot.ONE, created_at=cloud.clock.now(), expires_at=None, value=Secret(password)
    )
    cloud.tokens[token] = FakeToken(REGISTRY.scope_map("by-hand"), passwords={Slot.ONE: made})
    cloud.connected[PLANT_ONE].clients.append(REGISTRY.token(token))


REVOKE = Scenario(prepare=_ready, act=_revoke)
REVOKE_GONE = Scenario(prepare=_ready, act=_revoke_a_device_that_is_gone)
BEGIN_ANEW = Scenario(prepare=_ready, act=_begin_anew)
MOVE = Scenario(prepare=_ready, act=_move)
THERE_AND_BACK = Scenario(prepare=_ready, act=_move_there_and_back)
OTHER_REPOSITORIES = Scenario(prepare=_ready, act=_ask_for_others)
ROTATION = Scenario(prepare=_ready, act=_rotate)
ROTATION_AT_ONCE = Scenario(prepare=_ready, act=_rotate_at_once)
ADOPTION = Scenario(prepare=_made_by_hand, act=_adopt)

SCENARIOS = {
    "onboarding": ONBOARDING,
    "overflow": OVERFLOW,
    "renewal": RENEWAL,
    "re-creation": RE_CREATION,
    "repair": REPAIR,
    "revoke": REVOKE,
    "revoke of a device that is gone": REVOKE_GONE,
    "revoke and again": BEGIN_ANEW,
    "move": MOVE,
    "there and back": THERE_AND_BACK,
    "other repositories": OTHER_REPOSITORIES,
    "rotation": ROTATION,
    "rotation at once": ROTATION_AT_ONCE,
    "adoption": ADOPTION,
}
"""All of them, by what happens."""
