"""Requeues overdue devices: the records are the schedule, and the queue may lose requests."""

from __future__ import annotations

from datetime import timedelta

from firstpull.model.clock import Clock
from firstpull.model.ports import Records, WorkQueue
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

GRACE = timedelta(seconds=10)
"""A reconcile request that is this late may be lost; a younger one may still arrive."""
_AT_ONCE = 1000
"""Devices in one run of the timer; the next runs requeue the others."""


async def requeue_overdue(*, records: Records, queue: WorkQueue, clock: Clock) -> int:
    """Requeue overdue devices; returns how many. A surplus request costs one read of a record."""
    requeued = 0
    async for device in records.due(clock.now() - GRACE):
        await queue.put(device)
        requeued += 1
        if requeued == _AT_ONCE:
            break
    if requeued:
        emit_warning(LogEvent.SCHEDULE_OVERDUE_REQUEUED, devices=requeued)
    return requeued
