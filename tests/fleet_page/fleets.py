"""Fleets to look at: empty, busy, failing, and of 2,500 devices. Their records are put in as is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from firstpull.model import ledger as ledgers
from firstpull.model import record_codec, sweep_report
from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Condition,
    DeviceRecord,
    DeviceWarning,
    Grant,
    State,
)
from firstpull.model.fleet_history import StateCounts
from firstpull.model.history import HistoryEntry
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import names_for
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.sweep_report import SweepReport
from firstpull.observability.log_events import LogEvent
from local_azure.container_registry.resources import ConnectionState
from tests.firstpull.builders import NEW_RECORD, record
from tests.firstpull.harness import DEPLOYMENT, HUB, REGISTRY, Harness, make_policy
from tests.firstpull.records import changed
from tests.firstpull.virtual_clock import VirtualClock
from tests.world.cloud import Cloud

PLACES = ("hamburg", "lyon", "turin", "gdansk", "porto", "gent", "brno", "malmo", "graz", "oulu")
CLIENTS = 50
_VALIDITY = timedelta(days=90)
_FIRST_STEPS = (
    (LogEvent.DEVICE_INTENT_RECORDED, "generation 1, wants line/app"),
    (LogEvent.DEVICE_TOKEN_CREATED, ""),
    (LogEvent.DEVICE_MEMBERSHIP_JOINED, ""),
    (LogEvent.DEVICE_PASSWORD_GENERATED, "slot password1"),
    (LogEvent.DEVICE_CREDENTIAL_DELIVERED, ""),
    (LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED, ""),
    (LogEvent.DEVICE_RECONCILE_READY, "generation 1, reason Acknowledged, attempts 0"),
)


@dataclass
class Fleet:
    """A fleet in the fake cloud. Places of a site are `hamburg01`, `hamburg02` and so on."""

    sites: int
    registries_of_a_site: int
    harness: Harness = field(init=False)
    random: random.Random = field(default_factory=lambda: random.Random(20261130))  # noqa: S311 - looks
    placed: dict[ConnectedRegistryRef, list[DeviceRecord]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {
            place: [f"{place}{n + 1:02}" for n in range(self.registries_of_a_site)]
            for place in PLACES[: self.sites]
        }
        cloud = Cloud(VirtualClock())
        every = [name for of_site in names.values() for name in of_site]
        for name in every:
            ref = ConnectedRegistryRef(registry=REGISTRY, name=name)
            cloud.connect(ref, login_server=f"{name}.site.example:8000")
            self.placed[ref] = []
        for ref in self.placed:
            registry = cloud.registry(ref.registry)
            synced_at = cloud.clock.now() - timedelta(minutes=self.random.uniform(1, 14))
            found = registry.connected_registry(ref.name)
            registry._save(replace(found, last_sync_time=synced_at))
        policy = make_policy(
            connectedRegistries=[{"name": name} for name in every],
            sites=[{"name": s.title(), "connectedRegistries": n} for s, n in names.items()],
        )
        self.harness = Harness(policy=policy, cloud=cloud)

    @property
    def now(self) -> datetime:
        return self.harness.clock.now()

    @property
    def refs(self) -> list[ConnectedRegistryRef]:
        return list(self.placed)

    def ready(self, count: int) -> None:
        """Devices that have logged in, some days ago, at places of chance."""
        for number in range(count):
            ref = next(r for r in self._by_room() if len(self.placed[r]) < CLIENTS)
            made = self.now - timedelta(hours=self.random.uniform(1, 40 * 24))
            self.put(self.device(f"press-{number + 1:04}", ref, made=made), ref)

    def _by_room(self) -> list[ConnectedRegistryRef]:
        """The places in an order of chance."""
        return self.random.sample(self.refs, len(self.refs))

    def fill(self, ref: ConnectedRegistryRef) -> None:
        """Devices that have logged in, until the place has no room."""
        for number in range(CLIENTS - len(self.placed[ref])):
            made = self.now - timedelta(hours=self.random.uniform(1, 900))
            self.put(self.device(f"{ref.name}-{number + 1:02}", ref, made=made), ref)

    def device(
        self, device_id: str, ref: ConnectedRegistryRef, *, made: datetime, steps: int = 7
    ) -> DeviceRecord:
        """A device that was asked for at a time, and came so many of the first steps far."""
        key = DeviceKey(hub=HUB, device_id=device_id)
        names = names_for(key, deployment=DEPLOYMENT, registry=ref.registry)
        base = record() if steps >= 5 else NEW_RECORD
        intent = replace(base.spec.intent, target=ref.name, candidates=(ref,), at=made)
        history = tuple(
            HistoryEntry(
                at=made + timedelta(seconds=n * (1 if n < 5 else 31)),
                event=event.value,
                detail=detail,
                by="key onboarding" if n == 0 else None,
            )
            for n, (event, detail) in enumerate(_FIRST_STEPS[:steps])
        )
        found = changed(
            replace(base, device=key, history=history),
            intent=intent,
            grant=Grant(ref=ref, names=names),
            condition=condition(State.READY, Reason.ACKNOWLEDGED, since=history[-1].at),
            due_at=made + _VALIDITY / 2,
        )
        delivery = found.status.delivery
        if delivery is None:
            return found
        at = made + timedelta(seconds=4)
        delivery = replace(
            delivery, at=at, expires_at=at + _VALIDITY, address=f"{ref.name}.site.example:8000"
        )
        acknowledged = history[5].at if len(history) > 5 else None
        return changed(found, delivery=delivery, acknowledged_at=acknowledged)

    def put(self, found: DeviceRecord, ref: ConnectedRegistryRef | None) -> None:
        """Store a record; with a place it has room there."""
        store(self.harness.cloud, found)
        if ref is not None:
            self.placed[ref].append(found)

    def in_state(
        self,
        names: Iterable[str],
        state: State,
        reason: Reason,
        *,
        at: ConnectedRegistryRef,
        minutes: float,
        **more: Any,  # noqa: ANN401 - fields of a condition
    ) -> None:
        """Devices that have been in a state for about so long, with what they have in it."""
        steps = {State.PENDING: 1, State.DELIVERED: 5, State.CONVERGING: 3}.get(state, 2)
        for name in names:
            since = self.now - timedelta(minutes=minutes * self.random.uniform(0.5, 1))
            base = self.device(name, at, made=since, steps=steps)
            event = HistoryEntry(
                at=since + timedelta(seconds=5),
                event=f"device.reconcile.{state.value.lower()}",
                detail=f"reason {reason}",
            )
            history = base.history if state is State.PENDING else (*base.history, event)
            found = changed(
                replace(base, history=history),
                condition=condition(state, reason, since=since, **more),
                grant=base.status.grant if steps > 2 else None,
            )
            self.put(found, at if steps > 2 else None)

    def store(self, states: Iterable[Mapping[State, int]] = (), **report: Any) -> Harness:  # noqa: ANN401 - fields of a report
        """The harness, with the ledgers of what was put in, and the sweep's report."""
        cloud = self.harness.cloud
        for ref, placed in self.placed.items():
            entries = {
                grant.token_id: Entry(
                    token_id=grant.token_id, standing=Standing.MEMBER, since=one.spec.intent.at
                )
                for one in placed
                for grant in one.grants
            }
            cloud.ledgers[ref] = (ledgers.to_json(Ledger(entries)), cloud.next_number())
        history = tuple(self._hours(tuple(states)))
        swept = SweepReport(
            id="s-1",
            started_at=self.now - timedelta(minutes=44),
            finished_at=self.now - timedelta(minutes=43),
            devices=len(cloud.records),
            history=history,
            **report,
        )
        if history:
            cloud.documents["sweeps"] = (sweep_report.to_json(swept), cloud.next_number())
        return self.harness

    def _hours(self, states: tuple[Mapping[State, int], ...]) -> Iterator[StateCounts]:
        for number, counts in enumerate(states):
            hours = len(states) - 1 - number
            yield StateCounts(at=self.now - timedelta(minutes=43, hours=hours), states=counts)

    def syncs(self, ref: ConnectedRegistryRef, *, state: ConnectionState, minutes: float) -> None:
        """Set a place's state, and when it has synced last."""
        registry = self.harness.cloud.registry(ref.registry)
        found = registry.connected_registry(ref.name)
        synced_at = self.now - timedelta(minutes=minutes)
        registry._save(replace(found, connection_state=state, last_sync_time=synced_at))


def store(cloud: Cloud, found: DeviceRecord) -> None:
    """Store a record as it is."""
    cloud.records[found.device] = record_codec.to_json(found), cloud.next_number()


def condition(state: State, reason: Reason, *, since: datetime, **more: Any) -> Condition:  # noqa: ANN401 - fields of it
    return Condition(
        state=state, reason=reason, since=since, **{"message": MEANING[reason], **more}
    )


def empty() -> Harness:
    """Nobody has asked for anything yet."""
    return Fleet(sites=2, registries_of_a_site=2).store()


def busy() -> Harness:
    """A bulk of 200 is half done; those before it are ready."""
    fleet = Fleet(sites=3, registries_of_a_site=4)
    at, other, later = fleet.refs[7], fleet.refs[8], fleet.refs[9]
    fleet.fill(fleet.refs[0])
    fleet.ready(210)
    for number in range(84):
        seconds = fleet.random.uniform(1, 110)
        made = fleet.now - timedelta(seconds=seconds + 8)
        name = f"gateway-{number + 1:03}"
        one = fleet.device(name, at, made=made, steps=5)
        delivered = condition(State.DELIVERED, Reason.DELIVERED, since=one.history[-1].at)
        fleet.put(changed(one, condition=delivered), at if number < 30 else other)
    names = [f"gateway-{n + 1:03}" for n in range(84, 200)]
    fleet.in_state(names[:60], State.CONVERGING, Reason.CONVERGING, at=later, minutes=1.5)
    fleet.in_state(names[60:], State.PENDING, Reason.ACCEPTED, at=later, minutes=2)
    fleet.in_state(
        [f"scanner-{n}" for n in range(6)],
        State.WAITING,
        Reason.DEVICE_NOT_REGISTERED,
        at=fleet.refs[2],
        minutes=600,
        remedy="Register the device in the hub; firstpull checks again by itself.",
    )
    hours = [
        {State.READY: 140 + min(120, 9 * max(0, n - 20)), State.WAITING: 6 if n > 30 else 0}
        for n in range(40)
    ]
    return fleet.store(hours)


def failing() -> Harness:
    """A site is full, another is offline, devices cannot log in, and a sweep holds revokes."""
    fleet = Fleet(sites=4, registries_of_a_site=2)
    full, silent, gone = fleet.refs[0], fleet.refs[4], fleet.refs[7]
    fleet.fill(full)
    fleet.fill(fleet.refs[1])
    fleet.ready(180)
    fleet.in_state(
        [f"gateway-{n + 1:03}" for n in range(12)],
        State.BLOCKED,
        Reason.SITE_FULL,
        at=full,
        minutes=190,
        remedy="Add a connected registry to the site Hamburg, or revoke devices: GET /api/sites.",
    )
    fleet.in_state(
        ["furnace-7"],
        State.BLOCKED,
        Reason.ACCESS_DENIED,
        at=gone,
        minutes=2900,
        remedy="Give firstpull's identity its role on the container registry acrtest.",
    )
    fleet.in_state(
        [f"welder-{n}" for n in range(3)],
        State.DELIVERED,
        Reason.DEVICE_REPORTS_FAILURE,
        at=fleet.refs[5],
        minutes=75,
    )
    fleet.in_state(
        [f"scale-{n}" for n in range(9)],
        State.CONVERGING,
        Reason.THROTTLED,
        at=fleet.refs[6],
        minutes=6,
    )
    fleet.in_state(
        [f"robot-{n}" for n in range(21)],
        State.WAITING,
        Reason.AWAITING_SYNC,
        at=silent,
        minutes=480,
    )
    fleet.syncs(silent, state="Offline", minutes=60 * 9)
    for one in fleet.placed[silent]:
        warning = DeviceWarning(
            reason=Reason.CONNECTED_REGISTRY_OFFLINE,
            message=MEANING[Reason.CONNECTED_REGISTRY_OFFLINE],
            since=fleet.now - timedelta(hours=8),
        )
        fleet.put(changed(one, warnings=(warning,)), None)
    hours = [
        {
            State.READY: 280 - (40 if 30 < n < 36 else 0),
            State.CONVERGING: 9 + (40 if 30 < n < 36 else 0),
            State.WAITING: 21 if n > 100 else 3,
            State.BLOCKED: 13 if n > 130 else 1 if n > 90 else 0,
        }
        for n in range(140)
    ]
    held = tuple(DeviceKey(hub=HUB, device_id=f"old-{n}") for n in range(41))
    return fleet.store(hours, held=held)


def large() -> Harness:
    """2,500 devices at 50 connected registries, most of them in order."""
    fleet = Fleet(sites=10, registries_of_a_site=5)
    fleet.in_state(
        [f"gateway-{n + 1:03}" for n in range(20)],
        State.DELIVERED,
        Reason.DELIVERED,
        at=fleet.refs[-1],
        minutes=300,
    )
    fleet.ready(2_440)
    fleet.in_state(
        [f"tester-{n}" for n in range(37)],
        State.WAITING,
        Reason.DEVICE_NOT_REGISTERED,
        at=fleet.refs[-1],
        minutes=4000,
        remedy="Register the device in the hub; firstpull checks again by itself.",
    )
    fleet.in_state(
        [f"oven-{n}" for n in range(3)],
        State.BLOCKED,
        Reason.REPOSITORIES_NOT_SYNCED,
        at=fleet.refs[-1],
        minutes=800,
        remedy="Let oulu05 sync line/vision: az acr connected-registry repo --add line/vision.",
    )
    hours = [
        {
            State.READY: min(2_440, 400 + 18 * n),
            State.WAITING: 37 if n > 60 else 5,
            State.DELIVERED: 20,
            State.BLOCKED: 3 if n > 110 else 0,
        }
        for n in range(150)
    ]
    return fleet.store(hours)
