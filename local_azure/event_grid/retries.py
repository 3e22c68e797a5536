"""The retries of Event Grid, and its names of failures.

The waits and statuses are those of its page on delivery and retry; the names of outcomes for
statuses that the page does not name are an assumption.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

_WAITS_SECONDS = (10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
_MIN_WAIT_SECONDS = {401: 300, 403: 300, 404: 300, 408: 120, 503: 30}
_OUTCOMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "TimedOut",
    413: "PayloadTooLarge",
    429: "Busy",
    503: "Busy",
}


class DeadLetterReason(StrEnum):
    """The reason why an event is not retried."""

    ATTEMPTS = "MaxDeliveryAttemptsExceeded"
    TIME_TO_LIVE = "TimeToLiveExceeded"


def is_success(status: int | None) -> bool:
    """Whether the status means that the event arrived: 200 to 204."""
    return status is not None and 200 <= status <= 204


def retry_seconds(attempts: int, status: int | None) -> float:
    """The wait after so many failed attempts, the last one with this status."""
    usual = _WAITS_SECONDS[min(attempts, len(_WAITS_SECONDS)) - 1]
    return max(usual, _MIN_WAIT_SECONDS.get(status or 0, 0))


def undeliverable(status: int) -> str:
    """The reason of a dead letter after a final status."""
    return f"UndeliverableDueToHttp{outcome_name(status)}"


def outcome_name(status: int | None) -> str:
    """`lastDeliveryOutcome` for a status, None without an answer."""
    if status is None:
        return "TimedOut"
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    try:
        return HTTPStatus(status).name.title().replace("_", "")
    except ValueError:
        return f"Http{status}"
