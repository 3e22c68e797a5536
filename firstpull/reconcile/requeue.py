"""Requeues overdue devices: the records are the schedule, and the queue may lose requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.ports import Records, WorkQueue
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

GRACE = timedelta(seconds=10)
"""A reconcile request that is this late may be lost; a younger one may still arrive."""
_AT_ONCE = 1000
"""Devices in one run of the timer; the next runs requeue the others."""
_MANY = 100
"""More overdue devices than these are a backlog: their requests wait in the queue."""
_AGAIN = timedelta(minutes=5)
"""So long a device of a backlog is not requeued again."""


@dataclass(frozen=True, kw_only=True)
class OverdueDevices:
    """Requeues the devices that nothing else does."""

    records: Records
    queue: WorkQueue
    clock: Clock
    _requeued_at: dict[DeviceKey, datetime] = field(default_factory=dict)

    async def requeue(self) -> int:
        """Requeue overdue devices; returns how many. A surplus request costs one read."""
        now, requeued, found = self.clock.now(), 0, 0
        for device in [d for d, at in self._requeued_at.items() if now - at >= _AGAIN]:
            del self._requeued_at[device]
        async for device in self.records.due(now - GRACE):
            found += 1
            if found > _MANY and device in self._requeued_at:
                continue
            self._requeued_at[device] = now
            await self.queue.put(device)
            requeued += 1
            if requeued == _AT_ONCE:
                break
        if requeued:
            emit_warning(LogEvent.SCHEDULE_OVERDUE_REQUEUED, devices=requeued)
        return requeued
