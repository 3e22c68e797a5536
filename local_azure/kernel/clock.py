"""The clock of a stack: real time, which can be moved forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that can be moved forward, so that expiry and schedules can be tested at once.

    `source` is real time, or a test's own variable.
    """

    def __init__(self, source: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._source = source
        self._shift = timedelta()

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._source() + self._shift

    @property
    def shift(self) -> timedelta:
        """The difference between this clock and its source."""
        return self._shift

    def advance(self, by: timedelta) -> None:
        """Move time forward. Raises ValueError for a step back."""
        if by < timedelta():
            raise ValueError("time moves forward only")
        self._shift += by


def wire_time(at: datetime) -> str:
    """ISO 8601 with microseconds and `+00:00`, as Azure Resource Manager writes times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def dotnet_time(at: datetime) -> str:
    """ISO 8601 with seven digits after the second and `Z`, as IoT Hub and Event Grid have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
