"""How a timer's run is traced and logged: it has no caller to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from firstpull.model.errors import FirstpullError
from firstpull.model.pace import for_timer
from firstpull.observability import telemetry
from firstpull.observability.log import emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from functions.deadlines import within_deadline


@asynccontextmanager
async def timer_run(timer: str) -> AsyncIterator[None]:
    """A run of the function `timer`. An error that ends it is logged and passed to the host."""
    with telemetry.span(timer), for_timer():
        try:
            async with within_deadline(timer):
                yield
        except FirstpullError as error:
            reason, message = error.reason.value, error.message
            emit_warning(
                LogEvent.SCHEDULE_TIMER_FAILED, timer=timer, reason=reason, message=message
            )
            raise
        except Exception as error:
            emit_crash(LogEvent.SCHEDULE_TIMER_CRASHED, error, timer=timer)
            raise
