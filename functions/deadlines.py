"""How long each function may take.

The Functions host ends the whole worker, with every call and message in it, when one function
exceeds host.json's `functionTimeout`. So each function ends by itself long before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason

DEADLINES: dict[str, float] = {
    # HTTP. Azure's front end gives up after 230 s (functions-scale, "Timeout").
    "create_device": 60,
    "put_device": 60,
    "put_device_by_parameter": 60,
    "revoke_device": 60,
    "revoke_device_by_parameter": 60,
    "rotate_device": 60,
    "rotate_device_by_parameter": 60,
    "receive_webhook": 60,
    "allocate_device": 30,
    "get_device": 30,
    "get_operation": 30,
    "get_operation_by_parameter": 30,
    "list_devices": 120,
    "create_devices": 200,
    "revoke_devices": 200,
    "rotate_devices": 200,
    "rebuild_devices": 200,
    "get_fleet": 120,
    "fleet_page": 120,
    "fleet_sign_in": 30,
    "fleet_style": 15,
    "fleet_script": 15,
    "list_sites": 120,
    "get_sweep": 30,
    "approve_sweep": 30,
    "get_revokes": 30,
    "approve_revokes": 30,
    "get_audit": 120,
    "get_doctor": 120,
    "list_poison": 60,
    "resend_poison": 60,
    "discard_poison": 60,
    "discard_all_poison": 120,
    "healthz": 15,
    "readyz": 8,  # who asks does not wait long
    "openapi": 15,
    # Queues and events. A message that failed comes back after `visibilityTimeout`.
    "onboard_from_queue": 60,
    "handle_events": 240,
    "handle_event_grid": 60,
    "reconcile_device": 240,  # a pass ends itself earlier, and reschedules its device
    # Timers. What is left is done at the next run.
    "requeue_overdue": 60,
    "measure": 240,
    "sweep": 600,  # the sweep ends itself earlier, and the next one continues
}
"""Seconds by name of the function."""
RECORDING_SECONDS = 4.0
"""For recording a device that registers. No document says how long the service waits."""
_ASK_AGAIN_SECONDS = 10.0


@asynccontextmanager
async def within_deadline(function: str) -> AsyncIterator[None]:
    """Run the block as the function of this name. Raises Transient when its deadline passes."""
    seconds = DEADLINES[function]
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise Transient(
            Reason.DEADLINE_EXCEEDED,
            f"There was no result within {seconds:g} s: a service that firstpull needs is slow or "
            "silent. What was recorded stays recorded; send the same request again.",
            retry_after=_ASK_AGAIN_SECONDS,
        ) from None
