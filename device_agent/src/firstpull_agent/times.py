"""The clocks, passed in so that tests can set the time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol


class Time(Protocol):
    """The clocks that the agent reads."""

    def now(self) -> datetime:
        """The current time in UTC, timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set, or after `seconds`."""
        ...


class MachineTime:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The current time in UTC, timezone-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment in the past."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
