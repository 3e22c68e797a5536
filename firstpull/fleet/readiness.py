"""Whether this host can reconcile devices: storage has the records, and the clock is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.model.clock import MOST_OFF, Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import FirstpullError, Transient, clock_off
from firstpull.model.ports import Records
from firstpull.model.reasons import Reason

_FRESH = timedelta(seconds=5)
"""A probe costs no call to storage this soon after another: anybody may send one."""
_PATIENCE_SECONDS = 3.0
"""Less than the adapters have: who probes decides soon, and storage that is late is no use."""
_NOBODY = DeviceKey(hub="readiness", device_id="readiness")


@dataclass
class Readiness:
    """Checks this host."""

    records: Records
    clock: Clock
    clock_offset: Callable[[], timedelta]
    _checked_at: datetime | None = None
    _errors: list[FirstpullError] = field(default_factory=list)
    _checking: asyncio.Task[list[FirstpullError]] | None = None

    async def errors(self) -> list[FirstpullError]:
        """What keeps this host from its work; nothing where it is ready.

        Probes at the same time share one check, however many they are.
        """
        now = self.clock.now()
        if self._checked_at is not None and timedelta() <= now - self._checked_at < _FRESH:
            return self._errors
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        self._errors = await asyncio.shield(self._checking)
        return self._errors

    async def _check(self) -> list[FirstpullError]:
        errors: list[FirstpullError] = []
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.records.get(_NOBODY)
        except TimeoutError:
            errors.append(Transient(Reason.SERVICE_UNAVAILABLE, "Storage does not answer."))
        except FirstpullError as error:
            errors.append(error)
        if abs(offset := self.clock_offset()) > MOST_OFF:
            errors.append(clock_off(offset.total_seconds()))
        self._checked_at = self.clock.now()
        return errors
