"""Reconciles a device right where its request was recorded.

A request in the queue waits until it is seen: up to two seconds, or until an instance has started.
The process that has recorded it is awake. The queue has the request all the same, for later: this
process may die.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import FirstpullError
from firstpull.model.ports import WorkQueue
from firstpull.observability.log import emit_crash
from firstpull.observability.log_events import LogEvent

AT_ONCE = 64
"""Devices that a process reconciles so, beside those from the queue; the queue takes more."""
_UNLESS_BY_THEN = 15.0
"""Seconds until the request in the queue counts. A pass has claimed its device by then."""

type Reconcile = Callable[[DeviceKey], Awaitable[None]]


class PromptWork:
    """Implements `WorkQueue`: a request without a delay begins in this process."""

    def __init__(self, queue: WorkQueue, reconcile: Reconcile) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._running: dict[DeviceKey, asyncio.Task[None]] = {}

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Begin a pass, and send a reconcile request for later; or send one alone."""
        is_busy = device in self._running or len(self._running) >= AT_ONCE
        if delay_seconds > 0 or is_busy:
            await self._queue.put(device, delay_seconds=delay_seconds)
            return
        self._running[device] = asyncio.create_task(self._run(device))
        await self._queue.put(device, delay_seconds=_UNLESS_BY_THEN)

    async def _run(self, device: DeviceKey) -> None:
        try:
            await self._reconcile(device)
        except FirstpullError:
            return  # of the record itself: the request in the queue tries again
        except Exception as error:
            emit_crash(
                LogEvent.DEVICE_RECONCILE_CRASHED,
                error,
                hub=device.hub,
                device_id=device.device_id,
            )
        finally:
            del self._running[device]
