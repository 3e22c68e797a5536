"""The fleet as an operator sees it at a glance: counts, what needs a person, what comes next.

Somebody who watches asks every few seconds, and to read a fleet costs in proportion to it. So what
was read is shown to all who ask within a time.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.config.policy import Policy
from firstpull.fleet.sites import Sites, SitesView
from firstpull.fleet.summary import FleetSummary, SummaryCount
from firstpull.intake.poison_queue import Poison
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import FirstpullError
from firstpull.model.history import HistoryEntry
from firstpull.model.pagination import every_page
from firstpull.model.ports import Query, Records, Sweeps
from firstpull.model.reasons import Reason
from firstpull.model.schedule import NEVER
from firstpull.model.sweep_report import SweepReport

LATELY = timedelta(minutes=10)
"""How far back a delivery counts to what is under way."""
_PACE = timedelta(minutes=1)
_SHOWN = 8
"""Devices, or events, that a list has."""
_UNDER_WAY = (State.PENDING, State.CONVERGING, State.REVOKING)
_IN_ORDER = frozenset(
    {
        Reason.ACCEPTED,
        Reason.CONVERGING,
        Reason.DELIVERED,
        Reason.ACKNOWLEDGED,
        Reason.ADOPTED,
        Reason.REVOKING,
    }
)
_RECORDS_SECONDS = 2.0
_AROUND_SECONDS = 15.0
_PATIENCE_SECONDS = 5.0
_SHARE = 4
"""For each second that reading takes, so many pass before it is done again."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Devices in the same state for the same reason, and the one that is so for longest."""

    state: State
    reason: Reason
    devices: int
    longest: DeviceRecord


@dataclass(frozen=True, kw_only=True)
class Warned:
    """How many devices have a warning, and since when the first has."""

    reason: Reason
    message: str
    devices: int
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Happened:
    """An event of a device."""

    device: DeviceKey
    entry: HistoryEntry


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """Requests that are carried out: `left` devices, and those `done` within LATELY."""

    left: int
    done: int
    a_minute: int

    @property
    def minutes_left(self) -> int | None:
        """How long it takes at the pace of the last minute, None where that was none."""
        return -(-self.left // self.a_minute) if self.a_minute else None


@dataclass(frozen=True, kw_only=True)
class FleetNow:
    """What the records say. The lists are short, however large the fleet is."""

    summary: FleetSummary
    under_way: UnderWay
    troubles: tuple[Trouble, ...]
    warned: tuple[Warned, ...]
    waiting: tuple[DeviceRecord, ...]
    expiring: tuple[DeviceRecord, ...]
    happened: tuple[Happened, ...]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What is around the devices. What could not be read is None, and `unread` says why."""

    at: datetime
    sites: SitesView | None
    sweep: SweepReport | None
    kept_messages: int | None
    unread: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The whole fleet."""

    now: FleetNow
    around: Around


class _Recent[T]:
    """What was read lately. Callers who come together wait for one reading."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Clock, seconds: float) -> None:
        self._read = read
        self._clock = clock
        self._seconds = seconds
        self._reading = asyncio.Lock()
        self._found: tuple[T, datetime] | None = None

    async def get(self) -> T:
        """What was read, now or a little while ago. Raises what reading raises."""
        async with self._reading:
            if self._found is not None and self._clock.now() < self._found[1]:
                return self._found[0]
            begun_at = self._clock.now()
            found = await self._read()
            now = self._clock.now()
            until = now + max(timedelta(seconds=self._seconds), _SHARE * (now - begun_at))
            self._found = found, until
            return found


class Overviews:
    """Reads the fleet, for all who look at it."""

    def __init__(
        self,
        *,
        policy: Policy,
        records: Records,
        sites: Sites,
        sweeps: Sweeps,
        poison: Poison,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._records = records
        self._sites = sites
        self._sweeps = sweeps
        self._poison = poison
        self._clock = clock
        self._now = _Recent(self._read_records, clock, _RECORDS_SECONDS)
        self._around = _Recent(self._read_around, clock, _AROUND_SECONDS)

    async def overview(self) -> Overview:
        """The fleet, as it was some seconds ago at most. Raises what reading the records raises."""
        now, around = await asyncio.gather(self._now.get(), self._around.get())
        return Overview(now=now, around=around)

    async def _read_records(self) -> FleetNow:
        now = self._clock.now()
        count, looked = SummaryCount(self._policy), _Look(now)
        async for page in every_page(self._records, Query()):
            count.add(page)
            for record in page.records:
                looked.at(record)
        return looked.result(count.summary(at=now))

    async def _read_around(self) -> Around:
        unread = list[str]()

        async def read[T](what: str, reading: Awaitable[T]) -> T | None:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await reading
            except FirstpullError as error:
                unread.append(f"{what}: {error.message}")
            except TimeoutError:
                unread.append(f"{what}: there was no answer within {_PATIENCE_SECONDS:g} s.")
            return None

        sites, sweep, kept = await asyncio.gather(
            read("Sites", self._sites.view(with_retiring=False)),
            read("The last sweep", self._sweeps.get()),
            read("Rejected messages", self._poison.list(None)),
        )
        return Around(
            at=self._clock.now(),
            sites=sites,
            sweep=sweep.value if sweep is not None else None,
            kept_messages=len(kept.messages) if kept is not None else None,
            unread=tuple(unread),
        )


class _Look:
    """What stands out among the records, seen one by one. It keeps a few of them."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._troubles: dict[tuple[State, Reason], Trouble] = {}
        self._warned: dict[Reason, Warned] = {}
        self._waiting: list[DeviceRecord] = []
        self._expiring: list[DeviceRecord] = []
        self._happened: list[Happened] = []
        self._left = self._done = self._a_minute = 0

    def at(self, record: DeviceRecord) -> None:
        """Look at one more record."""
        for entry in record.history[-_SHOWN:]:
            self._happened.append(Happened(device=record.device, entry=entry))
        if len(self._happened) > 50 * _SHOWN:
            self._happened = self._latest()
        if record.is_tombstone:
            return
        self._count(record)
        self._find_trouble(record)
        for warning in record.status.warnings:
            before = self._warned.get(warning.reason)
            self._warned[warning.reason] = Warned(
                reason=warning.reason,
                message=warning.message if before is None else before.message,
                devices=1 + (before.devices if before is not None else 0),
                since=min(warning.since, before.since) if before is not None else warning.since,
            )
        if record.status.condition.state in (*_UNDER_WAY, State.WAITING, State.BLOCKED):
            _insert(self._waiting, record, _since)
        if record.delivery is not None:
            _insert(self._expiring, record, _expires_at)

    def _count(self, record: DeviceRecord) -> None:
        self._left += record.status.condition.state in _UNDER_WAY
        delivery = record.status.delivery
        if delivery is not None:
            self._done += delivery.at > self._now - LATELY
            self._a_minute += delivery.at > self._now - _PACE

    def _find_trouble(self, record: DeviceRecord) -> None:
        condition = record.status.condition
        if condition.reason in _IN_ORDER and not record.schedule.attempts:
            return
        key = (condition.state, condition.reason)
        before = self._troubles.get(key)
        others = (before.longest,) if before is not None else ()
        self._troubles[key] = Trouble(
            state=condition.state,
            reason=condition.reason,
            devices=1 + (before.devices if before is not None else 0),
            longest=min((*others, record), key=_since),
        )

    def _latest(self) -> list[Happened]:
        return heapq.nlargest(_SHOWN, self._happened, key=lambda one: one.entry.at)

    def result(self, summary: FleetSummary) -> FleetNow:
        """What was seen."""
        states = {state: number for number, state in enumerate(_BY_URGENCY)}
        return FleetNow(
            summary=summary,
            under_way=UnderWay(left=self._left, done=self._done, a_minute=self._a_minute),
            troubles=tuple(
                sorted(self._troubles.values(), key=lambda t: (states[t.state], -t.devices))
            ),
            warned=tuple(sorted(self._warned.values(), key=lambda warned: -warned.devices)),
            waiting=tuple(self._waiting),
            expiring=tuple(self._expiring),
            happened=tuple(self._latest()),
        )


_BY_URGENCY = (
    State.BLOCKED,
    State.DELIVERED,
    State.READY,
    State.CONVERGING,
    State.REVOKING,
    State.WAITING,
    State.PENDING,
    State.REVOKED,
)


def _insert(
    first: list[DeviceRecord], record: DeviceRecord, key: Callable[[DeviceRecord], datetime]
) -> None:
    """Insert a record into the first few by this key, if it is one of them."""
    if len(first) < _SHOWN or key(record) < key(first[-1]):
        bisect.insort_right(first, record, key=key)
        del first[_SHOWN:]


def _since(record: DeviceRecord) -> datetime:
    return record.status.condition.since


def _expires_at(record: DeviceRecord) -> datetime:
    return record.delivery.expires_at if record.delivery is not None else NEVER
