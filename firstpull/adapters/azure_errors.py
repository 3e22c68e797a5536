"""Translates the errors of the Azure SDKs into firstpull's kinds of error."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from azure.core.exceptions import (
    AzureError,
    DeserializationError,
    HttpResponseError,
    ODataV4Format,
)

from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.reasons import Reason

READ_DEADLINE = 10.0
"""Seconds that a read may take."""
_LONGEST_WAIT = 86_400.0
_LONGEST_MESSAGE = 300
_PASSING: Mapping[str, tuple[Reason, float]] = {
    "TokenNotActive": (Reason.TOKEN_NOT_ACTIVE, 1.0),
    # Key Vault, for some seconds after a recover or a delete.
    "ObjectIsBeingRecovered": (Reason.SERVICE_UNAVAILABLE, 5.0),
    "ObjectIsBeingDeleted": (Reason.SERVICE_UNAVAILABLE, 5.0),
}
"""Codes of what passes by itself, and the seconds after which to try again."""
_REFUSALS: Mapping[str, tuple[Reason, str]] = {
    "RequestDisallowedByPolicy": (
        Reason.REFUSED_BY_POLICY,
        "Exempt the resource from the Azure Policy that denies it; a role does not help.",
    ),
    "ForbiddenByPolicy": (
        Reason.REFUSED_BY_POLICY,
        "Exempt the vault from the policy, or lower FIRSTPULL_PASSWORD_VALIDITY_DAYS to its limit.",
    ),
    "ForbiddenByFirewall": (
        Reason.ACCESS_DENIED,
        "Let the app's network through the vault's firewall; a role does not help.",
    ),
    "ScopeLocked": (
        Reason.RESOURCE_LOCKED,
        "Take the lock off the resource or its resource group; until then it stays as it is.",
    ),
    "ReadOnlyDisabledSubscription": (
        Reason.SUBSCRIPTION_DISABLED,
        "Enable the subscription again.",
    ),
}
"""What a person has to do, by the codes that real subscriptions were seen to answer."""


@asynccontextmanager
async def azure_errors(
    service: str, *, deadline_seconds: float = READ_DEADLINE
) -> AsyncIterator[None]:
    """Limit the calls in the block by a deadline, and translate their errors.

    The new error has no cause, because the SDK's exception may hold a password.
    """
    try:
        async with asyncio.timeout(deadline_seconds):
            yield
    except HttpResponseError as error:
        raise translate_status(
            service,
            status=error.status_code or 0,
            code=error_code(error),
            message=_message(error),
            retry_after=_retry_after(error),
        ) from None
    except (AzureError, DeserializationError) as error:  # the second is no AzureError
        raise _unavailable(service, type(error).__name__) from None
    except TimeoutError:
        raise _unavailable(service, f"no answer within {deadline_seconds:.0f} s") from None


def translate_status(
    service: str, *, status: int, code: str, message: str = "", retry_after: float | None = None
) -> FirstpullError:
    """The error for an answer; `code` comes before `status`, which SDKs map to few types."""
    answer = f"{service} answered {status} {code}".rstrip()
    refused = f"{answer}: {message}" if message else f"{answer}."
    if code in _PASSING:
        reason, seconds = _PASSING[code]
        return Transient(reason, f"{answer}.", retry_after=retry_after or seconds)
    if code in _REFUSALS:
        reason, remedy = _REFUSALS[code]
        return Blocked(reason, refused, remedy=remedy)
    if status in (409, 412):
        return Conflict(f"{answer}.")
    if status in (0, 408, 429) or status >= 500:
        reason = Reason.THROTTLED if status == 429 else Reason.SERVICE_UNAVAILABLE
        return Transient(reason, f"{answer}.", retry_after=retry_after)
    if status in (401, 403):
        return Blocked(
            Reason.ACCESS_DENIED,
            f"{answer}.",
            remedy="Give firstpull's identity its roles on this service, or open its network.",
        )
    return Blocked(
        Reason.REFUSED,
        refused,
        remedy="Correct what the service names; firstpull tries again by itself.",
    )


def error_code(error: HttpResponseError) -> str:
    """The service's error code, empty if there is none. An inner code says more."""
    if isinstance(error.error, ODataV4Format):
        inner = str((error.error.innererror or {}).get("code", ""))
        if inner in _PASSING or inner in _REFUSALS:
            return inner
        if error.error.code:
            return str(error.error.code)
    return str(getattr(error, "error_code", None) or "")


def is_passing(error: HttpResponseError) -> bool:
    """Whether the service's code says that what it refuses for passes by itself."""
    return error_code(error) in _PASSING


def retry_after_seconds(header: str | None) -> float | None:
    """The seconds from now in a Retry-After header, which has seconds or an HTTP date.

    At most a day; None for anything else.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else None


def _message(error: HttpResponseError) -> str:
    """The service's error message, which names the wrong field."""
    text = error.error.message if isinstance(error.error, ODataV4Format) else None
    return str(text or "")[:_LONGEST_MESSAGE]


def _retry_after(error: HttpResponseError) -> float | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return retry_after_seconds(headers.get("Retry-After"))


def _unavailable(service: str, what: str) -> Transient:
    return Transient(Reason.SERVICE_UNAVAILABLE, f"{service} did not answer: {what}.")
