"""Ninety days of a fleet in virtual time: devices log in, passwords are renewed, Azure fails.

Connected registries sync each minute, once a day, or each minute but for a week's gap. Devices are
of all delivery kinds; they are there, away for up to three weeks again and again, or away beyond
the expiry of their password. A refusal is a device that is there, was let in before, and that its
connected registry does not let in with the password of its last login, or with what edgeAgent took.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from joserfc.jwk import ECKey

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.delivery_kinds import kind_named
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from local_azure.iot_hub.models import EDGE_AGENT
from tests.firstpull.harness import HUB, REGISTRY, Harness, Process, make_policy
from tests.firstpull.virtual_clock import VirtualClock
from tests.world.calls import Fault
from tests.world.cloud import Cloud
from tests.world.device import Device, EdgeDevice
from tests.world.edge import Edge

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
VALIDITY = timedelta(days=60)
"""The last renewal comes at 0.6 of it: 24 days are left, more than the longest absence."""
LONGEST_AWAY = timedelta(days=21)
BEYOND_EXPIRY = VALIDITY + timedelta(days=5)
_SEALING_KEY = ECKey.generate_key("P-256")
_SITES = ("byminute", "byday", "withgap")
_SETTLING = timedelta(days=2)


@dataclass(frozen=True)
class Kind:
    """A delivery kind with what its requests say besides."""

    says: str
    delivery: str
    options: tuple[str, ...] = ()
    is_sealed: bool = False

    @property
    def keeps_old(self) -> bool:
        """Whether an old password stays to its expiry."""
        return not kind_named(self.delivery).frees_old_slot(self.options)


KINDS = (
    Kind("twin", "twin"),
    Kind("sealed", "twin", is_sealed=True),
    Kind("kubernetes", "kubernetes"),
    Kind("edgeAgent", "edgeAgent", options=("agentImageElsewhere",)),
    Kind("edgeAgent, its image private", "edgeAgent"),
)
"""In turn, so that each is at each connected registry."""


class Presence(Enum):
    """How a device is there."""

    ALWAYS = "always there"
    NOW_AND_THEN = "away for up to three weeks, again and again"
    BEYOND_EXPIRY = "away beyond the expiry of its password"


@dataclass
class Syncs:
    """When a connected registry syncs."""

    every: timedelta
    next_at: datetime
    gap: tuple[datetime, datetime] | None = None

    def after(self, now: datetime) -> datetime:
        """The first sync that comes after a time."""
        at = self.next_at
        if at <= now:
            at += ((now - at) // self.every + 1) * self.every
        if self.gap is not None and self.gap[0] <= at < self.gap[1]:
            return self.gap[1]
        return at


@dataclass
class Absences:
    """When a device goes away and comes back, the earliest first."""

    periods: list[tuple[datetime, datetime]]

    def is_away(self, now: datetime) -> bool:
        """Whether the device is away."""
        return any(start <= now < end for start, end in self.periods)

    def next_change(self, now: datetime) -> datetime | None:
        """When the device goes away or comes back next."""
        times = (at for period in self.periods for at in period if at > now)
        return min(times, default=None)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a soak has shown."""

    devices: int
    days: int
    rotations: int
    passes: int
    faults: int
    logins: int
    refusals: tuple[str, ...]
    locked_out: tuple[str, ...]
    """Devices that cannot log in when all faults have ended and everybody is back."""
    came_back: int
    """Devices that were away beyond the expiry of their password and got in again."""
    passwords: tuple[int, ...]
    """How many passwords each token has in the end, where an old one is not kept on purpose."""

    @property
    def is_good(self) -> bool:
        """Whether nobody was refused, everybody logs in, and each token has one password."""
        return not self.refusals and not self.locked_out and set(self.passwords) == {1}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to simulate. The same seed gives the same days."""

    devices: int = 50
    days: int = 90
    seed: int = 1
    share_of_faults: float = 0.05


class Fleet(Harness):
    """The app over three connected registries, each with its own syncs, and devices that go."""

    def __init__(self, plan: Plan) -> None:
        cloud = Cloud(VirtualClock())
        refs = [ConnectedRegistryRef(registry=REGISTRY, name=name) for name in _SITES]
        for ref in refs:
            cloud.connect(ref, login_server=f"{ref.name}.site.example:8000")
        policy = make_policy(connectedRegistries=[{"name": name} for name in _SITES], sites=[])
        super().__init__(cloud=cloud, policy=policy, processes=2, sync_every=None)
        self.cloud.after_write = None  # the promises have their own tests; this counts refusals
        self.refusals: dict[str, None] = {}
        self._were_let_in: set[DeviceKey] = set()
        self._seen: dict[DeviceKey, tuple[object, ...]] = {}
        self.logins = 0
        self.faults = 0
        self._plan = plan
        self._chance = random.Random(plan.seed)  # noqa: S311 - chance, not secrets
        self._begins = self.clock.now()
        gap = self._begins + DAY * plan.days / 3
        self._syncs = {
            refs[0]: Syncs(MINUTE, self._begins),
            refs[1]: Syncs(DAY, self._begins),
            refs[2]: Syncs(MINUTE, self._begins, gap=(gap, gap + 7 * DAY)),
        }
        self._presence: dict[DeviceKey, Presence] = {}
        self._kinds: dict[DeviceKey, Kind] = {}
        self._absences: dict[DeviceKey, Absences] = {}

    # What is different from the harness

    def _start(self) -> Process:
        process = super()._start()
        worker, preparation = process.worker, process.worker.preparation
        worker = replace(worker, preparation=replace(preparation, validity=VALIDITY))
        return replace(process, application=replace(process.application, worker=worker))

    def next_event(self) -> datetime:
        """Also the next sync that would change something, and the next coming or going."""
        now = self.clock.now()
        times = [super().next_event()]
        for ref, syncs in self._syncs.items():
            if self.cloud.would_sync(ref):
                times.append(max(syncs.next_at, now))
        changes = [absences.next_change(now) for absences in self._absences.values()]
        return min(*times, *(at for at in changes if at is not None), now + DAY)

    def _catch_up(self) -> None:
        now, has_synced = self.clock.now(), False
        for ref, syncs in self._syncs.items():
            if syncs.next_at <= now:
                self.cloud.sync(ref)
                syncs.next_at, has_synced = syncs.after(now), True
        for key, absences in self._absences.items():
            self.cloud.devices[key].is_away = absences.is_away(now)
        if has_synced:
            self._let_devices_act()

    def _let_devices_act(self) -> None:
        """Each device for which something has changed since the last time, and hourly."""
        for key, device in self.cloud.devices.items():
            if (seen := self._what_it_sees(key, device)) == self._seen.get(key):
                continue
            self._seen[key] = seen
            if not device.is_away:
                self._look_for_refusals(key, device)
            device.act(self.cloud)

    def _what_it_sees(self, key: DeviceKey, device: Device) -> tuple[object, ...]:
        """Its twins, and what each connected registry knows of its token."""
        twins = [self.cloud.hub.twin(key.device_id)]
        if isinstance(device, EdgeDevice):
            twins.append(self.cloud.hub.module_twin(key.device_id, EDGE_AGENT))
        grant = self.cloud.record(key).status.grant if key in self.cloud.records else None
        token = grant.names.token if grant is not None else ""
        known = [site.snapshot.tokens.get(token) for site in self.cloud.sites.values()]
        hour = self.clock.now().replace(minute=0, second=0, microsecond=0)
        return device.is_away, hour, *(twin.desired.version for twin in twins), *known

    def _look_for_refusals(self, key: DeviceKey, device: Device) -> None:
        """A device that is there logs in with what it uses, before it reads its twin."""
        for ref, login in device.logins.items():
            self.logins += 1
            if self.cloud.site_accepts(ref, login.token, login.password):
                self._were_let_in.add(key)
            elif key in self._were_let_in:
                self._refused(key, login.password)

    def _refused(self, key: DeviceKey, password: str) -> None:
        """Note a refusal, once for a password; what expired while its device was away is none."""
        if self._presence[key] is not Presence.BEYOND_EXPIRY:
            number = self.cloud.passwords_made.index(password) + 1
            kind = self._kinds[key].says
            self.refusals[f"{key.device_id} ({kind}) with password {number}"] = None

    # The days

    async def soak(self) -> Report:
        """Onboard the fleet, let the days pass, then let everything settle."""
        plan = self._plan
        keys = [await self._onboard(number) for number in range(plan.devices)]
        await self.run_until(lambda: self._are_ready(keys), 2 * DAY)
        if not self._are_ready(keys):
            raise AssertionError([r.status.condition for r in self.cloud.all_records()])
        for key in keys:
            self._absences[key] = self._absences_of(self._presence[key])
        self.cloud.before_call = self._maybe_fail
        for day in range(plan.days):
            if day % 7 == 0:
                await self._rotate_some(keys)
            await self.run_until(lambda: False, DAY)
        self.cloud.before_call = None
        self.cloud.end_faults()
        away = [key for key in keys if self._presence[key] is Presence.BEYOND_EXPIRY]
        self._absences.clear()
        for device in self.cloud.devices.values():
            device.is_away = False
        await self.run_until(lambda: False, _SETTLING)
        locked_out = tuple(key.device_id for key in keys if not self._logs_in(key))
        return Report(
            devices=plan.devices,
            days=plan.days,
            rotations=len(self.cloud.passwords_made) - plan.devices,
            passes=self.cloud.calls.count("hubs.twin"),
            faults=self.faults,
            logins=self.logins,
            refusals=tuple(self.refusals),
            locked_out=locked_out,
            came_back=sum(key.device_id not in locked_out for key in away),
            passwords=self._passwords_of_each(keys),
        )

    async def _onboard(self, number: int) -> DeviceKey:
        """Register a device of the next kind, and ask for it."""
        key, kind = DeviceKey(hub=HUB, device_id=f"press-{number}"), KINDS[number % len(KINDS)]
        self._kinds[key], self._presence[key] = kind, _presence_of(number, self._plan)
        asks: dict[str, Any] = {"delivery": kind.delivery}
        if kind.options:
            asks["deliveryOptions"] = kind.options
        if kind.delivery == "edgeAgent":
            Edge(self.cloud, key)
        else:
            self.cloud.register(key)
        if kind.is_sealed:
            self.cloud.devices[key].keys = [_SEALING_KEY]
            asks["sealingKey"] = _SEALING_KEY.as_dict(private=False)
        await self.ask(key.device_id, connectedRegistry=_SITES[number % len(_SITES)], **asks)
        return key

    async def _rotate_some(self, keys: list[DeviceKey]) -> None:
        """Somebody asks for the rotation of a tenth of the devices, whatever state they are in."""
        for key in self._chance.sample(keys, max(len(keys) // 10, 1)):
            await self.attempt(
                lambda app, key=key: app.rotating.rotate(  # type: ignore[misc]
                    key, immediately=False, requested_by="a person"
                )
            )

    def _absences_of(self, presence: Presence) -> Absences:
        begin, periods = self._begins, list[tuple[datetime, datetime]]()
        if presence is Presence.BEYOND_EXPIRY:
            start = begin + 5 * DAY
            periods.append((start, start + BEYOND_EXPIRY))
        while presence is Presence.NOW_AND_THEN and begin < self._begins + self._plan.days * DAY:
            start = begin + DAY * self._chance.uniform(1, 12)
            begin = start + self._chance.uniform(0.1, 1) * LONGEST_AWAY
            periods.append((start, begin))
        return Absences(periods)

    def _maybe_fail(self, number: int, operation: str) -> None:  # noqa: ARG002 - the hook's
        if self._chance.random() < self._plan.share_of_faults:
            self.cloud.faults[number] = self._chance.choice(tuple(Fault))
            self.faults += 1

    def _are_ready(self, keys: list[DeviceKey]) -> bool:
        return all(key in self.cloud.records and self.state(key) is State.READY for key in keys)

    def _logs_in(self, key: DeviceKey) -> bool:
        logins = self.cloud.devices[key].logins.items()
        return any(self.cloud.site_accepts(ref, x.token, x.password) for ref, x in logins)

    def _passwords_of_each(self, keys: list[DeviceKey]) -> tuple[int, ...]:
        """How many passwords each token has whose device keeps no old one."""
        found = []
        for key in (key for key in keys if not self._kinds[key].keeps_old):
            grant = self.cloud.record(key).status.grant
            token = self.cloud.token(REGISTRY, grant.names.token) if grant is not None else None
            found.append(len(token.passwords) if token is not None else 0)
        return tuple(found)


def _presence_of(number: int, plan: Plan) -> Presence:
    """The last device is away beyond the expiry, a third of the rest at each site now and then."""
    if number == plan.devices - 1 and plan.days * DAY > BEYOND_EXPIRY + 10 * DAY:
        return Presence.BEYOND_EXPIRY
    return Presence.NOW_AND_THEN if number // len(_SITES) % 3 == 1 else Presence.ALWAYS
