"""Timer triggers: NCRONTAB schedules in UTC, each run by one host at a time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from croniter import croniter

from local_azure.functions_host.functions import Function
from local_azure.functions_host.host_json import SingletonOptions
from local_azure.functions_host.host_storage import HostStorage, ScheduleStatus, document
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.protos import TypedData
from local_azure.kernel.clock import Clock

_FIELD = re.compile(r"(?:[\d*,/-]|[A-Za-z]{3})+")
_LEAST_MONITORED = timedelta(minutes=1)
_LONGEST_SLEEP = 1.0  # so that a clock that was moved is noticed


class InvalidSchedule(Exception):
    """Not an NCRONTAB expression."""


class Schedule:
    """An NCRONTAB expression: six fields, seconds first; five fields mean second 0."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        if len(fields) == 5:
            fields.insert(0, "0")
        self._expression = " ".join(fields)
        valid = len(fields) == 6 and all(_FIELD.fullmatch(field) for field in fields)
        if not valid or not croniter.is_valid(self._expression, second_at_beginning=True):
            raise InvalidSchedule(f"{expression!r} is not an NCRONTAB expression of six fields")

    def next_after(self, at: datetime) -> datetime:
        """The first occurrence later than `at`."""
        occurrence: datetime = croniter(
            self._expression, at, second_at_beginning=True, day_or=False
        ).get_next(datetime)
        return occurrence

    def is_frequent(self, at: datetime) -> bool:
        """Whether it recurs in less than a minute. Such schedules are not monitored."""
        first = self.next_after(at)
        return self.next_after(first) - first < _LEAST_MONITORED


class TimerListener:
    """Runs a timer's function for as long as this host holds the timer's lock."""

    def __init__(
        self,
        *,
        function: Function,
        schedule: Schedule,
        storage: HostStorage,
        options: SingletonOptions,
        invoker: Invoker,
        running: RunningTasks,
        clock: Clock,
    ) -> None:
        self._function = function
        self._name = timer_name(function)
        self._schedule = schedule
        self._storage = storage
        self._options = options
        self._invoker = invoker
        self._running = running
        self._clock = clock
        self._invocation: asyncio.Task[ScheduleStatus] | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Acquire the lock, follow the schedule while it lasts, until `stopping` is set."""
        pause = self._options.listener_lock_recovery_polling_interval.total_seconds()
        while not stopping.is_set():
            lock = await self._storage.try_lock(self._name, self._options.listener_lock_period)
            if lock is not None:
                over = [
                    asyncio.ensure_future(part)
                    for part in (self._follow_schedule(), lock.keep(), stopping.wait())
                ]
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
                for part in over:
                    part.cancel()
                if self._invocation is not None:
                    await self._invocation
                await lock.release()
                _raise_first(await asyncio.gather(*over, return_exceptions=True))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)

    async def _follow_schedule(self) -> None:
        now = self._clock.now()
        monitored = not self._schedule.is_frequent(now)
        status, past_due = await self._initial_status(now, monitored=monitored)
        if past_due:
            status = await self._run_once(status, monitored=monitored, past_due=True)
        while True:
            await self._sleep_until(status.next)
            status = await self._run_once(status, monitored=monitored, past_due=False)

    async def _initial_status(
        self, now: datetime, *, monitored: bool
    ) -> tuple[ScheduleStatus, bool]:
        """The recorded schedule, and whether an occurrence was missed while no host ran."""
        recorded = await self._storage.read_status(self._name) if monitored else None
        fresh = ScheduleStatus(last=None, next=self._schedule.next_after(now), updated=now)
        if recorded is None:
            if monitored:
                await self._storage.write_status(self._name, fresh)
            return fresh, False
        expected = self._schedule.next_after(recorded.last or recorded.updated)
        missed = now > expected
        if missed and recorded.next != expected:
            return fresh, False  # the app's schedule has changed: nothing of the new was missed
        return replace(recorded, next=expected), missed

    async def _sleep_until(self, at: datetime) -> None:
        while (left := (at - self._clock.now()).total_seconds()) > 0:  # noqa: ASYNC110 - the clock is no event
            await asyncio.sleep(min(left, _LONGEST_SLEEP))

    async def _run_once(
        self, status: ScheduleStatus, *, monitored: bool, past_due: bool
    ) -> ScheduleStatus:
        """Invoke the function; the schedule afterwards. It outlives a cancelled caller."""
        occurrence = self._invoke(status, monitored=monitored, past_due=past_due)
        self._invocation = self._running.start(occurrence)
        return await asyncio.shield(self._invocation)

    async def _invoke(
        self, status: ScheduleStatus, *, monitored: bool, past_due: bool
    ) -> ScheduleStatus:
        began = self._clock.now()
        payload = timer_payload(status if monitored else None, past_due=past_due)
        await self._invoker.invoke(self._function, payload)
        after = ScheduleStatus(began, self._schedule.next_after(began), updated=began)
        if monitored:
            await self._storage.write_status(self._name, after)
        return after


def timer_name(function: Function) -> str:
    """By what the state of a timer is kept."""
    return f"Host.Functions.{function.name}"


def timer_payload(status: ScheduleStatus | None, *, past_due: bool) -> TypedData:
    """What a timer function receives."""
    payload = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": None if status is None else document(status),
        "IsPastDue": past_due,
    }
    return TypedData(json=json.dumps(payload))


def _raise_first(results: Iterable[object]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
