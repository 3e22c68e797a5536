"""Scenarios that are repeated with a fault, or with another request, at every call."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.world.calls import FAULTS, Fault

type Prepare = Callable[[Harness], Awaitable[DeviceKey]]
type Act = Callable[[Harness, DeviceKey], Awaitable[object]]

_KEYS = (ECKey.generate_key("P-256"), ECKey.generate_key("P-256"))

EACH_OR_SOME_CALLS = pytest.mark.parametrize(
    "calls",
    [
        pytest.param(range(1, 500), id="each call", marks=pytest.mark.slow),
        pytest.param(sorted(random.Random(3).sample(range(1, 20), 4)), id="some calls"),  # noqa: S311
    ],
)
"""The calls at which something happens: all in the slow tier, a fixed few in the fast one."""


def storm(seed: int, *, chance: float, calls: int, begun: int = 0) -> dict[int, Fault]:
    """Faults at a share of the next calls, the same for the same seed."""
    chances = random.Random(seed)  # noqa: S311 - chance, not secrets
    return {
        begun + number: chances.choice(FAULTS)
        for number in range(1, calls)
        if chances.random() < chance
    }


async def at_each_call(
    prepare: Prepare, act: Act, *, calls: Iterable[int], within: timedelta
) -> AsyncIterator[tuple[Harness, DeviceKey]]:
    """Play a world that `prepare` has made, with `act` at one of its calls; one world a call.

    Ends at the first call that a world does not make `within` this time.
    """
    worlds = 0
    for number in calls:
        harness = Harness(sync_every=timedelta(seconds=6))
        device = await prepare(harness)

        async def begin(harness: Harness = harness, device: DeviceKey = device) -> None:
            await act(harness, device)

        with harness.at_call(number, begin) as tasks:
            await harness.run_for(within)
        if not tasks:
            break
        await tasks[0]
        yield harness, device
        worlds += 1
    assert worlds >= 3


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is there before, and what happens then. Faults count from the second part."""

    prepare: Prepare
    act: Act
    capacity: int = 50


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    state: Mapping[str, Any]
    faults_met: int
    calls: int
    checked: Counter[str]
    """How often each promise was checked."""
    writes_of_one_more_pass: Counter[str]
    events: frozenset[str]
    """What the history of the device says."""


async def run(
    scenario: Scenario,
    faults: Mapping[int, Fault],
    *,
    processes: int = 1,
    slow: int | None = None,
    asks_with: Mapping[str, Any] | None = None,
) -> Outcome:
    """Play a scenario with faults at these calls, then reconcile once more.

    `slow`: the seed by which operations of Azure take 0 to 11 s.
    """
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone", "capacity": scenario.capacity},
            {"name": "planttwo"},
        ],
        adoptableTokens=["by-hand"],
    )
    harness = Harness(policy=policy, processes=processes, sync_every=timedelta(seconds=6))
    harness.asks_with = asks_with or {}
    device = await scenario.prepare(harness)
    if slow is not None:
        harness.cloud.slow_down(seed=slow)
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
        checked=harness.cloud.watch.checked,
        writes_of_one_more_pass=harness.cloud.writes() - before,
        events=frozenset(entry.event for entry in harness.cloud.record(device).history),
    )


async def smooth_end() -> Mapping[str, Any]:
    """The end state of a device that was onboarded without any fault."""
    harness = Harness()
    return end_state(harness.cloud, await harness.make_ready())


async def registered(harness: Harness) -> DeviceKey:
    """A device that the hub knows."""
    return harness.register()


async def ready(harness: Harness) -> DeviceKey:
    """A device that has logged in."""
    return await harness.make_ready()


async def ready_for_good(harness: Harness) -> DeviceKey:
    """A device that has logged in, and that must be able to from then on."""
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    return device


async def sealed_for_good(harness: Harness) -> DeviceKey:
    """Likewise, with a key to which its password is sealed, and another one that it made."""
    device = harness.register()
    harness.cloud.devices[device].keys = list(_KEYS)
    await harness.ask(sealingKey=_KEYS[0].as_dict(private=False))
    await harness.run_until_quiet()
    harness.must_stay_logged_in.add(device)
    return device


async def about_to_renew(harness: Harness) -> DeviceKey:
    """A device whose password is due for renewal."""
    device = await ready_for_good(harness)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    for ref in harness.cloud.sites:
        harness.cloud.sync(ref)
    return device


async def with_token_by_hand(harness: Harness) -> DeviceKey:
    """A device, and a token that somebody made for it."""
    make_by_hand(harness, "by-hand")
    return harness.register()


def make_by_hand(harness: Harness, token: str, *, expires_at: datetime | None = None) -> str:
    """The password of a token that is made already a client of the first connected registry."""
    harness.cloud.add_foreign_client(PLANT_ONE, token)
    made = harness.cloud.generate(REGISTRY, token, expires_at=expires_at)
    return made.value_of("password1")


async def ask(harness: Harness, _: DeviceKey) -> None:
    """Ask for the device, and leave it at that."""
    await harness.ask()


def asking(**changes: Any) -> Act:  # noqa: ANN401 - JSON
    """Ask for the device, and play on."""

    async def act(harness: Harness, _: DeviceKey) -> None:
        await harness.ask(**changes)
        await harness.run_until_quiet()

    return act


async def renew(harness: Harness, device: DeviceKey) -> None:
    """Play until a renewed password is in use."""

    def renewed() -> bool:
        record = harness.cloud.record(device)
        delivered = record.status.delivery is not None and record.status.delivery.slot is Slot.TWO
        return delivered and record.status.condition.state is State.READY

    assert await harness.run_until(renewed, timedelta(hours=6)), harness.cloud.record(device)
    await harness.run_until_quiet()


async def recreate(harness: Harness, device: DeviceKey) -> None:
    """Delete and create the device in its hub, and ask for the new one."""
    harness.register(device.device_id)
    await harness.ask()
    await harness.run_until_quiet()


async def change_by_hand(harness: Harness, device: DeviceKey) -> None:
    """Change everything that can be repaired, at once."""
    cloud, want = harness.cloud, end_state(harness.cloud, device)
    token = grant_of(cloud.record(device)).names.token
    for name in cloud.scope_maps:
        cloud.registry().update_scope_map(name, actions=["repositories/theirs/content/read"])
    cloud.registry().update_token(token, status="disabled")
    cloud.put_clients(PLANT_ONE)
    cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere:8000", "added": True})
    harness.make_due(device)
    await harness.run_until_quiet()
    assert end_state(cloud, device) == want


async def overflow(harness: Harness, device: DeviceKey) -> None:
    """Ask for a site whose first connected registry fills up while the device is claimed."""

    def fill_up() -> None:
        for number in range(3):
            harness.cloud.add_foreign_client(PLANT_ONE, f"foreign{number}")

    harness.cloud.act(fill_up, at="records.replace")
    await harness.ask(connectedRegistry=None, site="plant")
    await harness.run_until_quiet()
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO


async def revoke(harness: Harness, device: DeviceKey) -> None:
    """Revoke the device, and play beyond the second pass over its tombstone."""
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=40))
    assert harness.state(device) is State.REVOKED


async def delete_and_revoke(harness: Harness, device: DeviceKey) -> None:
    """Revoke a device that its hub has no more."""
    harness.cloud.unregister(device)
    await revoke(harness, device)


async def begin_anew(harness: Harness, device: DeviceKey) -> None:
    """Ask for a device that is being revoked."""
    await harness.revoke(device)
    await harness.ask()
    await harness.run_until_quiet()


async def move_there_and_back(harness: Harness, _: DeviceKey) -> None:
    """Ask for another connected registry, and at once for the first one again."""
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(seconds=1))
    await harness.ask()
    await harness.run_until_quiet()


async def rotate(harness: Harness, device: DeviceKey) -> None:
    """Ask for another password."""
    await harness.rotate(device)
    await harness.run_until_quiet()


async def rotate_at_once(harness: Harness, device: DeviceKey) -> None:
    """Ask for another password; the old one ends at once."""
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()


async def adopt(harness: Harness, device: DeviceKey) -> None:
    """Take over a token, and rotate it."""
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    assert not harness.cloud.passwords_made
    assert not harness.cloud.entries(device)
    await rotate(harness, device)


async def seal_anew(harness: Harness, device: DeviceKey) -> None:
    """Ask for the device with another key; its password stays."""
    passwords = set(harness.cloud.passwords_in_use())
    await harness.ask(sealingKey=_KEYS[1].as_dict(private=False))
    await harness.run_until_quiet()
    assert harness.cloud.passwords_in_use() == passwords
    assert harness.cloud.twin_entry(device, PLANT_ONE)["sealedTo"] == _KEYS[1].thumbprint()


ONBOARDING = Scenario(prepare=registered, act=asking())
SCENARIOS = {
    "onboarding": ONBOARDING,
    "overflow": Scenario(prepare=registered, act=overflow, capacity=3),
    "renewal": Scenario(prepare=about_to_renew, act=renew),
    "re-creation": Scenario(prepare=ready, act=recreate),
    "repair": Scenario(prepare=ready, act=change_by_hand),
    "revoke": Scenario(prepare=ready, act=revoke),
    "revoke of a deleted device": Scenario(prepare=ready, act=delete_and_revoke),
    "revoke and onboarding": Scenario(prepare=ready, act=begin_anew),
    "move": Scenario(prepare=ready_for_good, act=asking(connectedRegistry="planttwo")),
    "move there and back": Scenario(prepare=ready_for_good, act=move_there_and_back),
    "other repositories": Scenario(prepare=ready_for_good, act=asking(repositories=["plant/b"])),
    "rotation": Scenario(prepare=ready_for_good, act=rotate),
    "rotation at once": Scenario(prepare=ready, act=rotate_at_once),
    "another key": Scenario(prepare=sealed_for_good, act=seal_anew),
    "adoption": Scenario(prepare=with_token_by_hand, act=adopt),
}
"""All of them, by what happens."""
