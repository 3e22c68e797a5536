"""What HTTP doors do with a request about a device: ask, preview, wait, answer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime

import azure.functions as func

from firstpull.intake.onboard import LONGEST_WAIT
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FieldError, Invalid
from functions.encoding import json_answer
from functions.plans import answer_plan
from functions.representations import (
    device_address,
    device_view,
    operation_address,
    operation_retry_after,
)
from functions.runtime import runtime

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:,|;|$)", re.IGNORECASE)
_KEY = "code"
"""The query parameter that the host takes a function key from."""


async def answer_request(
    req: func.HttpRequest,
    request: OnboardingRequest,
    *,
    requested_by: str,
    asked_at: datetime | None = None,
) -> func.HttpResponse:
    """200 where the device has what is asked for, else 202; with `?dryRun=true`, the plan."""
    onboarding = (await runtime.application()).onboarding
    if is_dry_run(req.params):
        return await answer_plan(
            await onboarding.propose(request, requested_by=requested_by, asked_at=asked_at)
        )
    record = await onboarding.ask(request, requested_by=requested_by, asked_at=asked_at)
    return await answer_recorded(req, record)


async def answer_recorded(req: func.HttpRequest, record: DeviceRecord) -> func.HttpResponse:
    """200 where what the record wants is true, else 202; after a wait, where one is preferred."""
    headers = {}
    wait = _seconds_to_wait(req.headers)
    if wait is not None:
        application = await runtime.application()
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        record = await application.onboarding.wait(record, seconds=wait)
    headers["Location"] = device_address(req.url, record)
    if record.is_converged:
        return json_answer(200, device_view(record), headers=headers)
    headers["Operation-Location"] = operation_address(req.url, record)
    headers["Retry-After"] = operation_retry_after(record, record.spec.generation) or "60"
    return json_answer(202, device_view(record), headers=headers)


def is_dry_run(params: Mapping[str, str]) -> bool:
    """`?dryRun=true`. Raises Invalid for anything that is neither true nor false."""
    text = params.get("dryRun", "false")
    if text not in ("true", "false"):
        raise Invalid(
            "A parameter is not valid; `errors` says which.",
            errors=(FieldError("dryRun", "is neither true nor false"),),
        )
    return text == "true"


def check_parameters(params: Mapping[str, str], *known: str) -> None:
    """Raises Invalid for a parameter that has no meaning: it may be a misspelt `dryRun`."""
    errors = unknown_parameters(params, known)
    if errors:
        raise Invalid("A parameter is not valid; `errors` says which.", errors=tuple(errors))


def unknown_parameters(params: Mapping[str, str], known: tuple[str, ...]) -> list[FieldError]:
    """What is wrong with parameters of which only `known` have a meaning."""
    unknown = sorted(params.keys() - {*known, _KEY})
    return [FieldError(name, "is not a parameter here") for name in unknown]


def check_no_body(req: func.HttpRequest) -> None:
    """Raises Invalid for a body: whoever sends one means something by it."""
    if req.get_body():
        raise Invalid("This request takes no body; parameters are in the address.")


def caller(headers: Mapping[str, str]) -> str:
    """Who asks. The platform sets the name only where it authenticates; elsewhere anyone could."""
    if os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true":
        return headers.get("x-ms-client-principal-name", "") or "unknown principal"
    return "function key"


def _seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """`Prefer: wait=N` (RFC 7240), at most the longest wait there is."""
    found = _WAIT.search(headers.get("prefer", ""))
    return min(float(found[1]), LONGEST_WAIT) if found else None
