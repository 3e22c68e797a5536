"""How fast this process may send requests to a service that says how many more it takes.

Azure Resource Manager counts the requests of all instances in one bucket, and each answer says how
many are left in it. So every instance slows down by the same number, and needs to know of no other:
the fewer are left, the longer each waits between two requests. The bucket stays nearly empty, and
so gives all that it gains, but no instance is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

_PLENTY = 80.0
"""With so many requests left, nobody waits. A burst of others takes some before an answer tells."""
_AT_FIRST = 200.0
"""What a paid subscription's bucket holds at least (request-limits-and-throttling)."""
_AT_DOOR = 100.0
"""With so many left, after all that has begun, anything may begin."""
_FOR_TIMERS = 160.0
"""What a timer does waits from here on: it leaves the rest to what somebody waits for."""
_MOST_UNANSWERED = 24
"""Requests under way in this process when few are left: the last answer does not know of them."""
_IS_SENT = 3.0
"""Seconds until work that has begun has sent most of its requests."""
_MOST_WAITING = 4
"""Requests that wait in this process when no further work is to begin."""
_LONGEST_PAUSE = 10.0
_LOOK = 0.5
_TELLS = 2.0
"""Seconds that an answer counts as it is: others may take what the bucket gains."""
_is_of_timer: ContextVar[bool] = ContextVar("is_of_timer", default=False)


def is_of_timer() -> bool:
    """Whether nobody waits for what is being done."""
    return _is_of_timer.get()


@contextmanager
def for_timer() -> Iterator[None]:
    """What the block sends waits for what somebody has asked for."""
    token = _is_of_timer.set(True)
    try:
        yield
    finally:
        _is_of_timer.reset(token)


class Pace:
    """The pace of one kind of request, of which the bucket surely gains `gains` a second."""

    def __init__(self, *, gains: float) -> None:
        self._gains = gains
        self._left: float | None = None
        self._left_at = 0.0
        self._unanswered = 0
        self._last_at = float("-inf")
        self._not_before = 0.0
        self._admitted_at = float("-inf")
        self._looked_at = float("-inf")
        self._waiting = 0
        self._promised: deque[tuple[float, float]] = deque()
        self._line = asyncio.Lock()
        self._line_of_timers = asyncio.Lock()
        self._door = asyncio.Lock()
        self._answers = asyncio.Event()

    async def turn(self) -> None:
        """Return when the next request may go, in the order of the calls.

        What a timer does waits apart, so that nobody stands behind it.
        """
        self._waiting += 1
        try:
            async with self._line_of_timers if _is_of_timer.get() else self._line:
                while (wait := self._wait()) > 0:
                    await self._look_again_in(wait)
                self._last_at = self._time()
        finally:
            self._waiting -= 1

    async def admit(self, requests: float) -> None:
        """Return when work may begin that sends so many requests: what has begun goes first."""
        async with self._door:
            while (wait := self._admitted_at + self._pause_at_door() * requests - self._time()) > 0:
                await self._look_again_in(wait)
            while self._waiting >= _MOST_WAITING:
                await self._look_again_in(_LONGEST_PAUSE)
            self._admitted_at = self._time()
            self._promised.append((self._admitted_at, requests))

    @property
    def is_short(self) -> bool:
        """Whether work that begins now has to wait."""
        return self._pause_at_door() > 0

    def has_room(self, requests: float) -> bool:
        """Whether something may begin now that nobody waits for: it leaves the rest to others."""
        if self._time() < self._looked_at + self._pause(_FOR_TIMERS) * requests:
            return False
        self._looked_at = self._time()
        return True

    def sent(self) -> None:
        """Note a request whose answer is to come."""
        self._unanswered += 1

    def answered(self, left: float | None) -> None:
        """Note an answer, with the requests that are left by it; None where it does not say."""
        self._unanswered -= 1
        if left is not None:
            self._left, self._left_at = left, self._time()
        self._answers.set()

    def refused(self, retry_after: float) -> None:
        """Note a 429: nothing goes until then."""
        self._left, self._left_at = 0.0, self._time()
        self._not_before = max(self._not_before, self._time() + retry_after)

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    async def _look_again_in(self, seconds: float) -> None:
        """Wait so long, or until an answer or the time says that there is more room."""
        self._answers.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _LOOK)):
                await self._answers.wait()

    def _wait(self) -> float:
        left = _AT_FIRST if self._left is None else self._left
        if self._unanswered >= _MOST_UNANSWERED and left - self._unanswered < _AT_DOOR:
            return _LONGEST_PAUSE
        plenty = _FOR_TIMERS if _is_of_timer.get() else _PLENTY
        return max(self._last_at + self._pause(plenty), self._not_before) - self._time()

    def _pause(self, plenty: float) -> float:
        """The seconds from one request to the next."""
        if self._left is None:
            return 0.0
        return self._pause_for(self._left - self._unanswered, plenty)

    def _pause_at_door(self) -> float:
        while self._promised and self._promised[0][0] < self._time() - _IS_SENT:
            self._promised.popleft()
        left = _AT_FIRST if self._left is None else self._left
        return self._pause_for(left - sum(requests for _, requests in self._promised), _AT_DOOR)

    def _pause_for(self, left: float, plenty: float) -> float:
        gained = max(0.0, self._time() - self._left_at - _TELLS) * self._gains
        left = max(left + gained, 1.0)
        return min(max(plenty / left - 1, 0.0) / self._gains, _LONGEST_PAUSE)
