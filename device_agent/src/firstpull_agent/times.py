"""The clocks, passed in so that tests can set the time."""

from __future__ import annotations

import time
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

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class MachineTime:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The current time in UTC, timezone-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment in the past."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
