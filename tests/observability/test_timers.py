"""A timer whose run ends early is told of, for nobody waits for its answer."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from functions.timers import timer_run
from tests.firstpull.fakes import PASSWORD_MARK

SCHEDULE = Path(__file__).parents[2] / "functions/schedule.py"


def run(error: Exception) -> None:
    with timer_run("enqueue_overdue"):
        raise error


def test_a_failure_is_told_as_a_warning_with_its_reason_and_goes_to_the_host(
    spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Transient):
        run(Transient(Reason.THROTTLED, "The tables ask for fewer calls."))
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert told.getMessage().startswith("schedule.timer.failed {")
    assert '"reason":"Throttled","timer":"enqueue_overdue"' in told.getMessage()
    (span,) = spans.get_finished_spans()
    assert (span.name, span.status.status_code) == ("enqueue_overdue", StatusCode.ERROR)


def test_a_crash_is_told_as_an_error_by_its_type_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=PASSWORD_MARK):
        run(ValueError(PASSWORD_MARK))
    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    assert told.getMessage().startswith("schedule.timer.crashed {")
    assert '"error":"ValueError","timer":"enqueue_overdue"' in told.getMessage()
    assert PASSWORD_MARK not in told.getMessage()


def test_every_timer_does_all_of_its_work_in_such_a_run() -> None:
    functions = [
        node
        for node in ast.parse(SCHEDULE.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert len(functions) == 3
    for function in functions:
        _docstring, work = function.body
        assert isinstance(work, ast.With)
        assert ast.unparse(work.items[0]) == f"timer_run({function.name!r})"
