"""Writes structured log events: the event's name, then its fields as JSON."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping

from firstpull.observability import telemetry
from firstpull.observability.log_events import LogEvent

_log = logging.getLogger("firstpull")

_FRAMES = 8

FieldValue = str | int | float | bool | None


def emit(event: LogEvent, **fields: FieldValue) -> None:
    """Log one event. The type of a field excludes `Secret`."""
    _write(logging.INFO, event, fields)


def emit_warning(event: LogEvent, **fields: FieldValue) -> None:
    """Log one event that a person should see."""
    _write(logging.WARNING, event, fields)


def emit_crash(event: LogEvent, error: Exception, **fields: FieldValue) -> None:
    """Log a defect in firstpull: the exception's type and innermost frames.

    The exception's text may hold a secret, so it is not logged.
    """
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
    _write(logging.ERROR, event, {**fields, "error": type(error).__name__, "at": where})


def _write(level: int, event: LogEvent, fields: Mapping[str, FieldValue]) -> None:
    _log.log(level, "%s %s", event, json.dumps(fields, separators=(",", ":"), sort_keys=True))
    telemetry.note(event.value, fields)
