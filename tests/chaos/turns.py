"""Workers of the fake world take turns, as a schedule says: only one of them runs at a time.

The switching points are the outside calls: after a call's effect, before its answer. What a worker
does between two calls touches nothing that others see. Time may pass at a switch, so that the
claim and the lease of the suspended worker expire; it resumes as a late writer.

Schedulers that replace asyncio's event loop (simloom, seedloop) switch at each callback, and
frontrun at each access to memory. At that grain the same two passes have too many schedules to
try all; the fake world sees each outside call anyway.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from tests.world.cloud import Cloud, Line

_SENT_ONCE = ("registries.", "hubs.", "secrets.")
"""Their requests end, one way or the other, at a deadline."""


@dataclass(frozen=True, kw_only=True)
class Switch:
    """At a point, counted from 1 over all workers, another worker goes on, after a pause."""

    at: int
    to: int
    pause: timedelta = timedelta()


type Schedule = tuple[Switch, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a switch is possible: `others` can go on. At an end somebody else has to."""

    others: tuple[int, ...]
    is_end: bool
    operation: str = ""


@dataclass
class Turns:
    """The turns of some workers, each a process with a line of its own."""

    cloud: Cloud
    lines: Sequence[Line]
    decide: Callable[[int, Point], Switch | None]
    is_point: Callable[[str], bool]
    points: list[Point] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    _holder: int = 0
    _done: set[int] = field(default_factory=set)
    _turn_given: list[asyncio.Event] = field(default_factory=list)

    async def run(self, *work: Callable[[], Awaitable[object]]) -> None:
        """Run one coroutine for each line, the first one first."""
        self._turn_given = [asyncio.Event() for _ in work]
        self._turn_given[0].set()
        self.cloud.turns = self
        try:
            async with asyncio.TaskGroup() as workers:
                for number, each in enumerate(work):
                    workers.create_task(self._work(number, each))
        finally:
            self.cloud.turns = None

    async def _work(self, number: int, work: Callable[[], Awaitable[object]]) -> None:
        await self._turn_given[number].wait()
        try:
            await work()
        finally:
            self._done.add(number)
            if others := self._others(number):
                point = Point(others=others, is_end=True)
                self._switch(self._at(point) or Switch(at=len(self.points), to=others[0]))

    async def before(self, line: Line, operation: str) -> None:
        """Return when this worker has the turn. Raises Transient after a request's deadline."""
        number, since = self.lines.index(line), self.cloud.clock.now()
        await self._turn(number)
        if operation.startswith(_SENT_ONCE) and self._is_late(since):
            raise Transient(Reason.SERVICE_UNAVAILABLE, f"{operation} did not answer in time.")

    async def after(self, line: Line, operation: str) -> None:
        """A point at which another worker may go on."""
        number = self.lines.index(line)
        others = self._others(number)
        if number == self._holder and others and self.is_point(operation):
            switch = self._at(Point(others=others, is_end=False, operation=operation))
            if switch is not None:
                self._switch(switch)
        await self._turn(number)

    async def _turn(self, number: int) -> None:
        while self._holder != number and number not in self._done:
            self._turn_given[number].clear()
            await self._turn_given[number].wait()

    def _at(self, point: Point) -> Switch | None:
        self.points.append(point)
        return self.decide(len(self.points), point)

    def _switch(self, switch: Switch) -> None:
        self.switches.append(switch)
        if switch.pause:
            self.cloud.pass_to(self.cloud.clock.now() + switch.pause)
        self._holder = switch.to
        self._turn_given[switch.to].set()

    def _others(self, number: int) -> tuple[int, ...]:
        return tuple(n for n in range(len(self.lines)) if n != number and n not in self._done)

    def _is_late(self, since: datetime) -> bool:
        return self.cloud.clock.now() - since >= timedelta(seconds=REQUEST_DEADLINE)


def by_schedule(schedule: Schedule) -> Callable[[int, Point], Switch | None]:
    """Switch as a schedule says, and at the end of a worker to the first one that is left."""
    at = {switch.at: switch for switch in schedule}
    return lambda number, _: at.get(number)


def by_chance(
    chance: random.Random, *, share: float, pauses: Sequence[timedelta]
) -> Callable[[int, Point], Switch | None]:
    """Switch at a share of the points, to anybody."""

    def decide(number: int, point: Point) -> Switch | None:
        if not point.is_end and chance.random() >= share:
            return None
        return Switch(at=number, to=chance.choice(point.others), pause=chance.choice(pauses))

    return decide


def longer(
    schedule: Schedule, points: Sequence[Point], *, most: int, pauses: Sequence[timedelta]
) -> Iterator[Schedule]:
    """The schedules with one more switch, of at most so many preemptions.

    The end of a worker is no preemption: all that may follow it are tried.
    """
    begun = schedule[-1].at if schedule else 0
    preemptions = sum(not points[switch.at - 1].is_end for switch in schedule)
    for number, point in enumerate(points[begun:], begun + 1):
        if point.is_end:
            yield from ((*schedule, Switch(at=number, to=to)) for to in point.others[1:])
        elif preemptions < most:
            yield from (
                (*schedule, Switch(at=number, to=to, pause=pause))
                for to in point.others
                for pause in pauses
            )
