"""The stack's time: the machine's, moved forward on request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def machine_time() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)


class Clock:
    """A clock that can be moved forward, so that expiry and schedules can be tried at once.

    `source` is where time comes from: the machine, or a test's own variable.
    """

    def __init__(self, source: Callable[[], datetime] = machine_time) -> None:
        self._source = source
        self._shift = timedelta()

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._source() + self._shift

    @property
    def shift(self) -> timedelta:
        """How far this clock is ahead of its source."""
        return self._shift

    def advance(self, by: timedelta) -> None:
        """Move time forward. Raises ValueError for a step back, which would revive tokens."""
        if by < timedelta():
            raise ValueError("time moves forward only")
        self._shift += by


def wire_time(at: datetime) -> str:
    """ISO 8601 with microseconds and `+00:00`, as Azure Resource Manager writes times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def dotnet_time(at: datetime) -> str:
    """ISO 8601 with seven digits after the second and `Z`, as IoT Hub and Event Grid have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
