"""Structured log events: a name of the form `device.<what>.<outcome>`, then ids as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

_log = logging.getLogger("firstpull")

FieldValue = str | int | float | bool | None


def emit(event: str, **fields: FieldValue) -> None:
    """Log one event. The types keep secrets out: a `Secret` is none of them."""
    _write(logging.INFO, event, fields)


def emit_warning(event: str, **fields: FieldValue) -> None:
    """Log one event that a person should see."""
    _write(logging.WARNING, event, fields)


def emit_error(event: str, **fields: FieldValue) -> None:
    """Log one event that is a fault of firstpull itself."""
    _write(logging.ERROR, event, fields)


def _write(level: int, event: str, fields: Mapping[str, FieldValue]) -> None:
    _log.log(level, "%s %s", event, json.dumps(fields, separators=(",", ":"), sort_keys=True))
