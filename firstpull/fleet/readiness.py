"""Whether this host can reconcile devices: storage has the records, and the clock is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.model.clock import MOST_OFF, Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import FirstpullError, clock_off
from firstpull.model.ports import Records

_FRESH = timedelta(seconds=5)
"""A probe costs no call to storage this soon after another: anybody may send one."""
_NOBODY = DeviceKey(hub="readiness", device_id="readiness")


@dataclass
class Readiness:
    """Checks this host."""

    records: Records
    clock: Clock
    clock_offset: Callable[[], timedelta]
    _checked_at: datetime | None = None
    _errors: list[FirstpullError] = field(default_factory=list)

    async def errors(self) -> list[FirstpullError]:
        """What keeps this host from its work; nothing where it is ready."""
        now = self.clock.now()
        if self._checked_at is None or not timedelta() <= now - self._checked_at < _FRESH:
            self._checked_at, self._errors = now, await self._check()
        return self._errors

    async def _check(self) -> list[FirstpullError]:
        errors: list[FirstpullError] = []
        try:
            await self.records.get(_NOBODY)
        except FirstpullError as error:
            errors.append(error)
        if abs(offset := self.clock_offset()) > MOST_OFF:
            errors.append(clock_off(offset.total_seconds()))
        return errors
