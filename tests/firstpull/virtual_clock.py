"""A clock whose time passes when nothing else happens: hours of waiting take no real time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

_IDLE_ROUNDS = 12
"""Rounds of the event loop without any call to the cloud before everybody is taken to wait."""


class VirtualClock:
    """Fits `firstpull.model.clock.Clock`. `stir` tells it that something happened."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
        self._sleepers: list[datetime] = []
        self._stirred = 0

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock; the earliest sleeper moves it when all wait."""
        wake_at = self._now + timedelta(seconds=seconds)
        self._sleepers.append(wake_at)
        try:
            while self._now < wake_at:
                before = self._stirred
                for _ in range(_IDLE_ROUNDS):
                    await asyncio.sleep(0)
                if before == self._stirred and wake_at == min(self._sleepers):
                    self.advance_to(wake_at)
        finally:
            self._sleepers.remove(wake_at)
            self.stir()

    def stir(self) -> None:
        """Note that somebody is at work: those who sleep wait on."""
        self._stirred += 1

    def advance(self, by: timedelta) -> None:
        """Move time forward at once."""
        self.advance_to(self._now + by)

    def advance_to(self, at: datetime) -> None:
        """Move time forward at once; never back."""
        self._now = max(self._now, at)
        self.stir()
