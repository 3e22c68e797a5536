"""Two workers on one device, three on one connected registry, switched at outside calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from tests.chaos.tally import Chaos
from tests.chaos.turns import Point, Schedule, Switch, Turns, by_chance, by_schedule, longer
from tests.firstpull.end_state import end_state, remains
from tests.firstpull.harness import PLANT_ONE, Harness, make_policy
from tests.firstpull.scenarios import make_by_hand

SECOND = timedelta(seconds=1)
MOST_PREEMPTIONS = 2
NO_PAUSE = (0 * SECOND,)
PAUSES = (0 * SECOND, 45 * SECOND)
"""The second one is longer than a claim, a lease, and the deadline of the last request."""
SEEDED = 1500
_SHARED = ("ledgers.", "locks.", "lease.", "registries.get_connected_registry")
_WRITES = ("registries.replace_client_tokens", "registries.put_scope_map")
_LONG = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Race:
    """Workers, each with a device; several may have the same. `end` is compared with no race."""

    workers: int
    prepare: Callable[[Harness], Awaitable[list[DeviceKey]]]
    end: Callable[[Harness, DeviceKey], Mapping[str, Any]]
    settle: timedelta = timedelta(minutes=40)
    pauses: tuple[timedelta, ...] = PAUSES
    is_point: Callable[[str], bool] = lambda _: True
    capacity: int = 50
    ready: int | None = None
    """How many devices are ready in the end: the others find no room."""

    async def expect(self) -> None:
        """Learn how it ends without a race."""
        if id(self) not in _EXPECTED:
            await self.run(by_schedule(()))

    async def run(self, decide: Callable[[int, Point], Switch | None]) -> Turns:
        """Play once. Raises AssertionError where a promise is broken."""
        harness = Harness(
            processes=self.workers,
            sync_every=6 * SECOND,
            policy=make_policy(
                connectedRegistries=[
                    {"name": "plantone", "capacity": self.capacity},
                    {"name": "planttwo"},
                ],
                adoptableTokens=["by-hand"],
            ),
        )
        devices = await self.prepare(harness)
        harness.cloud.queue.clear()
        turns = Turns(
            harness.cloud, [each.line for each in harness.processes], decide, self.is_point
        )
        await turns.run(
            *(
                partial(process.worker.reconcile, devices[number % len(devices)])
                for number, process in enumerate(harness.processes)
            )
        )
        await harness.run_for(self.settle)
        await self._check(harness, devices)
        _CHECKED.update(harness.cloud.watch.checked)
        return turns

    async def _check(self, harness: Harness, devices: list[DeviceKey]) -> None:
        for device in dict.fromkeys(devices):
            assert harness.cloud.record(device).claim is None, "P3: a claim is left"
        if self.ready is None:
            ends = [self.end(harness, device) for device in dict.fromkeys(devices)]
            expected = _EXPECTED.setdefault(id(self), ends)
            assert ends == expected, f"P3: it ends otherwise: {_differences(ends, expected)}"
        else:
            states = Counter(harness.state(device) for device in devices)
            assert states[State.READY] == self.ready, f"P5: {states}"
        before = harness.cloud.writes()
        for device in dict.fromkeys(devices):
            await harness.reconcile(device)
        harness.check_promises()
        wrote = harness.cloud.writes() - before
        assert not wrote, f"P3: one more pass wrote {dict(wrote)}"


async def forget_ends() -> None:
    """Learn again how the races end without a race, with the code that is there now."""
    _EXPECTED.clear()
    for race in (*ON_ONE_DEVICE.values(), *AT_ONE_PLACE.values()):
        await race.expect()


_EXPECTED: dict[int, list[Mapping[str, Any]]] = {}
_CHECKED: Counter[str] = Counter()


def _differences(ends: list[Mapping[str, Any]], expected: list[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{name} is {end.get(name)} and not {other.get(name)}"
        for end, other in zip(ends, expected, strict=True)
        for name in {**end, **other}
        if end.get(name) != other.get(name)
    )


def _has(harness: Harness, device: DeviceKey) -> Mapping[str, Any]:
    """What a device has, but which slot: a late writer may use up one more."""
    end = dict(end_state(harness.cloud, device))
    end.pop("slot", None)
    return end


def _is_gone(harness: Harness, device: DeviceKey) -> Mapping[str, Any]:
    return {"state": harness.state(device), "remains": remains(harness.cloud, device)}


async def _asked(harness: Harness) -> list[DeviceKey]:
    device = harness.register()
    await harness.ask()
    return [device]


async def _rotating(harness: Harness) -> list[DeviceKey]:
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    await harness.rotate(device)
    return [device]


async def _rotated(harness: Harness) -> list[DeviceKey]:
    """The new password is in use, and the old one about to be removed."""
    (device,) = await _rotating(harness)

    def has_logged_in() -> bool:
        entry = harness.cloud.twin_entry(device, PLANT_ONE)
        held = harness.cloud.devices[device].held.get("plantone")
        passwords = harness.cloud.accepted(_token(harness, device))
        return held == entry["password"] and len(passwords) > 1

    assert await harness.run_until(has_logged_in, timedelta(hours=1))
    harness.make_due(device)
    return [device]


async def _moving(harness: Harness) -> list[DeviceKey]:
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    await harness.ask(connectedRegistry="planttwo")
    return [device]


async def _revoking(harness: Harness) -> list[DeviceKey]:
    device = await harness.make_ready()
    await harness.revoke(device)
    return [device]


async def _adopting(harness: Harness) -> list[DeviceKey]:
    make_by_hand(harness, "by-hand")
    device = harness.register()
    await harness.ask(adopt="by-hand")
    return [device]


async def _fleet(harness: Harness) -> list[DeviceKey]:
    harness.cloud.add_foreign_client(PLANT_ONE, "somebody-elses")
    devices = [harness.register(f"press-{number}") for number in range(3)]
    for device in devices:
        await harness.ask(device.device_id)
    return devices


async def _leaving_and_coming(harness: Harness) -> list[DeviceKey]:
    """One device leaves, one comes, one is new at the other place: one list is written for all."""
    harness.cloud.add_foreign_client(PLANT_ONE, "somebody-elses")
    leaving = await harness.make_ready("press-0")
    await harness.revoke(leaving)
    coming = [harness.register(f"press-{number}") for number in (1, 2)]
    for device in coming:
        await harness.ask(device.device_id)
    return [leaving, *coming]


def _token(harness: Harness, device: DeviceKey) -> str:
    grant = harness.cloud.record(device).status.grant
    assert grant is not None
    return grant.names.token


def _touches_the_list(operation: str) -> bool:
    """Whether others at the connected registry can tell that the call was made."""
    return operation.startswith((*_SHARED, *_WRITES))


def _ends_well(harness: Harness, device: DeviceKey) -> Mapping[str, Any]:
    record = harness.cloud.record(device)
    listed = harness.cloud.clients(PLANT_ONE).count(_token(harness, device))
    return {"state": record.status.condition.state, "times listed": listed}


ON_ONE_DEVICE = {
    "onboarding": Race(workers=2, prepare=_asked, end=_has),
    "rotation": Race(workers=2, prepare=_rotating, end=_has),
    "rotation's end": Race(workers=2, prepare=_rotated, end=_has),
    "move": Race(workers=2, prepare=_moving, end=_has),
    "revoke": Race(workers=2, prepare=_revoking, end=_is_gone),
    "adoption": Race(workers=2, prepare=_adopting, end=_has),
}
AT_ONE_PLACE = {
    "three come": Race(
        workers=3, prepare=_fleet, end=_ends_well, is_point=_touches_the_list, pauses=NO_PAUSE
    ),
    "room for two of three": Race(
        workers=3,
        prepare=_fleet,
        end=_ends_well,
        is_point=_touches_the_list,
        pauses=NO_PAUSE,
        capacity=3,
        ready=2,
    ),
    "one leaves, two come": Race(
        workers=3,
        prepare=_leaving_and_coming,
        end=_ends_well,
        is_point=_touches_the_list,
        pauses=NO_PAUSE,
    ),
}


async def on_one_device(chaos: Chaos) -> None:
    """All schedules of two workers with up to two preemptions, with and without an expiry."""
    for name, race in ON_ONE_DEVICE.items():
        await explore(chaos, name, race)


async def at_one_place(chaos: Chaos) -> None:
    """All schedules of three workers with up to two preemptions at calls that others notice."""
    for name, race in AT_ONE_PLACE.items():
        await explore(chaos, name, race)


async def beyond(chaos: Chaos) -> None:
    """Schedules by chance, with any number of preemptions and expiries."""
    races = [*ON_ONE_DEVICE.items(), *AT_ONE_PLACE.items()]
    for number in chaos.some(range(SEEDED), name="beyond", least=len(races)):
        name, race = races[number % len(races)]
        chance = chaos.chance(f"beyond {number}")
        await race.expect()
        pauses = (0 * SECOND,) * chance.choice((1, 9)) + (45 * SECOND,)
        with chaos.case(f"{name}, schedule {number}"):
            turns = await race.run(
                by_chance(chance, share=chance.choice((0.05, 0.2, 0.5)), pauses=pauses)
            )
            _count(chaos, turns)
    _count_checks(chaos)


async def explore(chaos: Chaos, name: str, race: Race) -> None:
    """Every schedule, or the run's share of them."""
    waiting: list[Schedule] = [()]
    tried = 0
    chance = chaos.chance(name)
    while waiting:
        schedule = waiting.pop()
        tried += 1
        points: list[Point] = []
        with chaos.case(f"{name}, {_said(schedule)}"):
            turns = await race.run(by_schedule(schedule))
            points = turns.points
            _count(chaos, turns)
        found = list(longer(schedule, points, most=MOST_PREEMPTIONS, pauses=race.pauses))
        if chaos.share < 1:
            # A walk through the tree: each schedule is as likely, whatever the share.
            size = max(1, round(len(found) * chaos.share)) if found else 0
            found = chance.sample(found, size)
        waiting += found
    chaos.note(f"{name}: {tried} schedules{', all' if chaos.share >= 1 else ''}")
    _count_checks(chaos)


def _count(chaos: Chaos, turns: Turns) -> None:
    kinds = Counter("expired claim or lease" if s.pause else "switch" for s in turns.switches)
    chaos.count(kinds, {"P3": 2})


def _count_checks(chaos: Chaos) -> None:
    chaos.count({}, _CHECKED)
    _CHECKED.clear()


def _said(schedule: Schedule) -> str:
    return (
        "; ".join(
            f"at {s.at} to worker {s.to}" + (f" after {s.pause.seconds} s" if s.pause else "")
            for s in schedule
        )
        or "no switch"
    )
