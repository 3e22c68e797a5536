"""Bringing back devices whose hint was lost: the records are the schedule, the queue is not."""

from __future__ import annotations

from datetime import timedelta

from firstpull.model.clock import Clock
from firstpull.model.ports import Records, WorkQueue
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

GRACE = timedelta(seconds=30)
"""A hint that is this late may be lost; a younger one is on its way."""
_AT_ONCE = 1000
"""Devices per round: a fleet that came due together is brought back in several."""


async def requeue_overdue(*, records: Records, queue: WorkQueue, clock: Clock) -> int:
    """Hint every device that is overdue. A hint too many costs one read of a record."""
    hinted = 0
    async for device in records.due(clock.now() - GRACE):
        await queue.put(device)
        hinted += 1
        if hinted == _AT_ONCE:
            break
    if hinted:
        emit_warning(LogEvent.SCHEDULE_OVERDUE_REQUEUED, devices=hinted)
    return hinted
