"""A timer's run that fails is logged: nobody waits for its answer."""

from __future__ import annotations

import json
import logging

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from functions.timers import timer_run


@pytest.mark.parametrize(
    ("error", "event", "level", "fields"),
    [
        (
            Transient(Reason.THROTTLED, "The tables ask for fewer calls."),
            LogEvent.SCHEDULE_TIMER_FAILED,
            logging.WARNING,
            {"reason": "Throttled"},
        ),
        (
            ValueError("=pw/"),
            LogEvent.SCHEDULE_TIMER_CRASHED,
            logging.ERROR,
            {"error": "ValueError"},
        ),
    ],
    ids=["failed", "crashed"],
)
async def test_a_failure_is_logged_without_secrets_and_reaches_the_host(
    spans: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    event: LogEvent,
    level: int,
    fields: dict[str, str],
) -> None:
    with pytest.raises(type(error)):
        async with timer_run("measure"):
            raise error
    (logged,) = caplog.records
    name, text = logged.getMessage().split(" ", 1)
    assert (name, logged.levelno) == (event, level)
    assert json.loads(text).items() >= {"timer": "measure", **fields}.items()
    assert "=pw/" not in text
    (span,) = spans.get_finished_spans()
    assert (span.name, span.status.status_code) == ("measure", StatusCode.ERROR)
