"""Answers over HTTP: a model as JSON, and an error as a problem document (RFC 9457)."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.webhook_signatures import SignatureNotValid
from firstpull.model.errors import (
    Blocked,
    Conflict,
    FirstpullError,
    Invalid,
    NotAllowed,
    NotKnown,
    NotReady,
    Refused,
    Transient,
)
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent
from functions.answers.base import Answer
from functions.answers.messages import FieldError, Problem
from functions.callers import RoleMissing
from functions.http_requests import LengthRequired

_STATUS: tuple[tuple[type[FirstpullError], int], ...] = (
    (LengthRequired, 411),
    (SignatureNotValid, 401),
    (NotAllowed, 403),
    (RoleMissing, 403),
    (NotKnown, 404),
    (Refused, 409),
    (Invalid, 400),
    (Conflict, 503),
    (Transient, 503),
    (NotReady, 503),
    (Blocked, 500),
)
"""The first that fits."""


def json_answer(
    status: int, answer: Answer, *, headers: dict[str, str] | None = None
) -> func.HttpResponse:
    """A JSON document as an answer."""
    return func.HttpResponse(
        answer.to_json(), status_code=status, headers=headers, mimetype="application/json"
    )


def problem_answer(problem: Problem, *, headers: dict[str, str] | None = None) -> func.HttpResponse:
    """A problem document as an answer, with the problem's own status."""
    return func.HttpResponse(
        problem.to_json(),
        status_code=problem.status,
        headers=headers,
        mimetype="application/problem+json",
    )


def problem_of(error: FirstpullError) -> Problem:
    """The problem document of an error."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    detail = f"{error.message} {error.remedy}" if isinstance(error, Blocked) else error.message
    fields: tuple[FieldError, ...] = ()
    if isinstance(error, Invalid):
        fields = tuple(FieldError.read(field) for field in error.errors)
    return Problem.of(status, error.reason, detail, errors=fields)


def error_answer(error: FirstpullError) -> func.HttpResponse:
    """The answer for an error. An error that a person has to mend is logged, too."""
    problem, headers = problem_of(error), dict[str, str]()
    if isinstance(error, Blocked):
        emit_warning(
            LogEvent.ENDPOINT_REQUEST_FAILED, reason=error.reason.value, message=error.message
        )
    if problem.status == 503:
        wait = error.retry_after if isinstance(error, Transient) else None
        headers["Retry-After"] = str(max(1, round(wait or 1)))
    return problem_answer(problem, headers=headers)
