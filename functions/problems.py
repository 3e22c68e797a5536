"""The one mapping from errors to problem documents (RFC 9457)."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func

from firstpull.intake.webhook_signatures import SignatureNotValid
from firstpull.model.errors import (
    Blocked,
    Conflict,
    FirstpullError,
    Invalid,
    NotAllowed,
    NotKnown,
    Refused,
    Transient,
)
from firstpull.model.reasons import MEANING, Reason
from firstpull.observability import telemetry
from firstpull.observability.log import emit_crash, emit_warning

_STATUS: tuple[tuple[type[FirstpullError], int], ...] = (
    (SignatureNotValid, 401),
    (NotAllowed, 403),
    (NotKnown, 404),
    (Refused, 409),
    (Invalid, 400),
    (Conflict, 503),
    (Transient, 503),
    (Blocked, 500),
)
"""The first that fits."""

HttpHandler = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


def answering_problems(handler: HttpHandler) -> HttpHandler:
    """Answer what a handler raises with a problem document; in the trace of who asks."""

    @functools.wraps(handler)
    async def answer(req: func.HttpRequest) -> func.HttpResponse:
        with telemetry.span(handler.__name__, after=req.headers):
            try:
                return await handler(req)
            except FirstpullError as error:
                return problem(error)
            except Exception as error:
                emit_crash("door.request.crashed", error)
                return _problem(500, Reason.INTERNAL_ERROR, _UNKNOWN)

    return answer


def problem(error: FirstpullError) -> func.HttpResponse:
    """The problem document of an error."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if isinstance(error, Blocked):  # somebody has to see to the app, or to what it may do
        emit_warning("door.request.failed", reason=error.reason.value, message=error.message)
        return _problem(500, error.reason, f"{error.message} {error.remedy}")
    more: dict[str, Any] = {}
    if isinstance(error, Invalid) and error.errors:
        more["errors"] = [{"path": e.path, "message": e.message} for e in error.errors]
    headers = {}
    if status == 503:
        wait = error.retry_after if isinstance(error, Transient) else None
        headers["Retry-After"] = str(max(1, round(wait or 1)))
    return _problem(status, error.reason, error.message, more=more, headers=headers)


_UNKNOWN = "Something went wrong here; nothing is known to be lost. Ask again later."


def _problem(
    status: int,
    reason: Reason,
    detail: str,
    *,
    more: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> func.HttpResponse:
    document = {
        "type": f"urn:firstpull:problem:{reason.value}",
        "title": MEANING[reason],
        "status": status,
        "reason": reason.value,
        "detail": detail,
        **(more or {}),
    }
    return func.HttpResponse(
        json.dumps(document),
        status_code=status,
        headers=headers,
        mimetype="application/problem+json",
    )
