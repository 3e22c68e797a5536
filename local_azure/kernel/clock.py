"""The clock of a stack: real time, which can be moved forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Follower(Protocol):
    """A clock elsewhere that moves with a stack's clock."""

    def move(self, shift: timedelta) -> None:
        """Be ahead of real time by `shift`, soon."""
        ...

    async def has_moved(self) -> None:
        """Return when the last move has taken effect, or never will."""
        ...


class Clock:
    """A clock that can be moved forward, so that expiry and schedules can be tested at once.

    `source` is real time, or a test's own variable.
    """

    def __init__(self, source: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._source = source
        self._shift = timedelta()
        self._followers: list[Follower] = []

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._source() + self._shift

    @property
    def shift(self) -> timedelta:
        """The difference between this clock and its source."""
        return self._shift

    def machine_time(self) -> datetime:
        """Real time, which clients outside of the stack keep."""
        return self._source()

    def advance(self, by: timedelta) -> None:
        """Move time forward. Raises ValueError for a step back."""
        if by < timedelta():
            raise ValueError("time moves forward only")
        self._shift += by
        for follower in self._followers:
            follower.move(self._shift)

    @contextmanager
    def followed_by(self, follower: Follower) -> Iterator[None]:
        """Move `follower` to this clock now, and at every advance."""
        follower.move(self._shift)
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    async def all_have_moved(self) -> None:
        """Return when every follower has this clock's time."""
        for follower in list(self._followers):
            await follower.has_moved()


def wire_time(at: datetime) -> str:
    """ISO 8601 with `+00:00` as Azure Resource Manager writes times.

    Seven digits of a second, without the zeros at their end (azure-powershell's recordings).
    """
    at = at.astimezone(UTC)
    # The seventh digit, which Python's times do not have, follows from the others.
    digits = f"{at.microsecond:06}{at.microsecond % 10}".rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{digits}+00:00"


def dotnet_time(at: datetime) -> str:
    """ISO 8601 with seven digits after the second and `Z`, as IoT Hub and Event Grid have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
