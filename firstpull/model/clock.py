"""The clock, passed in so that tests can set the time.

All hosts order requests by one clock, the storage service's: their own differ.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from pydantic import AwareDatetime, Field

_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


StoredTime = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST)]
"""A time in a stored document. An impossible one would fail every comparison with other times."""


def whole_second(at: datetime) -> datetime:
    """A time as queues, webhooks and headers have it: those within one second have no order."""
    return at.replace(microsecond=0)


def is_possible(at: datetime) -> bool:
    """Whether a time has an offset, and can be compared and converted whatever that is."""
    return at.tzinfo is not None and _EARLIEST <= at <= _LATEST


class Clock(Protocol):
    """Tells the time and sleeps."""

    def now(self) -> datetime:
        """The current time in UTC, timezone-aware."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC, timezone-aware."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


MOST_OFF = timedelta(seconds=5)
"""A host whose clock is further off does not reconcile. A service's `Date` has whole seconds."""
_RESOLUTION = timedelta(seconds=1)


class ServiceClock:
    """The time of a service, by this host's clock and the `Date` of the service's answers.

    After each answer, the time is not before its `Date`. So a message that the service stamped
    before the answer is never later than what a host does after it.
    """

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._offset = timedelta()

    def now(self) -> datetime:
        """The service's time in UTC."""
        return self._host.now() + self._offset

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await self._host.sleep(seconds)

    def host_time(self) -> datetime:
        """The time of this host's own clock."""
        return self._host.now()

    def offset(self) -> timedelta:
        """How far the service's clock is ahead of the host's, as far as answers have shown."""
        return self._offset

    def answered(self, date: datetime, *, sent_at: datetime) -> None:
        """Correct the offset by an answer; `sent_at` is the host's time before the request."""
        earliest, latest = date - self._host.now(), date + _RESOLUTION - sent_at
        self._offset = min(max(self._offset, earliest), latest)
