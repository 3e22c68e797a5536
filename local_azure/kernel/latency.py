"""How long calls take, by operation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, kw_only=True)
class Duration:
    """A time between two bounds, in seconds."""

    least_seconds: float = 0.0
    most_seconds: float = 0.0

    def draw(self, random: Random) -> float:
        """Seconds between the bounds, in equal likelihood."""
        if self.least_seconds == self.most_seconds:
            return self.most_seconds
        return random.uniform(self.least_seconds, self.most_seconds)


@dataclass(frozen=True, kw_only=True)
class OperationLatency(Duration):
    """How long calls of some operations take.

    `operation` is a regular expression that matches all of `service.operation`.
    """

    operation: str
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(self.operation))

    def applies_to(self, operation: str) -> bool:
        """Whether calls of this operation take this long."""
        return self._pattern.fullmatch(operation) is not None


@dataclass(frozen=True, kw_only=True)
class Latency(Duration):
    """A profile: the first of `operations` that matches counts, else the bounds of all calls."""

    operations: tuple[OperationLatency, ...] = ()

    def of(self, operation: str) -> Duration:
        """How long a call of this operation takes."""
        return next((each for each in self.operations if each.applies_to(operation)), self)

    @asynccontextmanager
    async def around(self, operation: str, random: Random) -> AsyncIterator[None]:
        """Let a call take its time: one half before its effect, and the other before its answer."""
        half = self.of(operation).draw(random) / 2
        if half > 0:
            await asyncio.sleep(half)
        yield
        if half > 0:
            await asyncio.sleep(half)
