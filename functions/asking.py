"""What every HTTP door does with an onboarding request: ask, preview, wait, answer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime

import azure.functions as func

from firstpull.errors import FieldError, Invalid
from firstpull.onboarding import LONGEST_WAIT
from firstpull.requests import OnboardingRequest
from functions.representations import (
    device_address,
    device_view,
    json_answer,
    operation_address,
    operation_retry_after,
    plan_view,
)
from functions.runtime import runtime

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:,|;|$)", re.IGNORECASE)


async def answer_request(
    req: func.HttpRequest,
    request: OnboardingRequest,
    *,
    requested_by: str,
    asked_at: datetime | None = None,
) -> func.HttpResponse:
    """200 where the device has what is asked for, else 202; with `?dryRun=true`, the plan."""
    application = await runtime.application()
    if is_dry_run(req.params):
        proposed = await application.onboarding.propose(
            request, requested_by=requested_by, asked_at=asked_at
        )
        plan = await application.preview.plan_for(proposed)
        return json_answer(200, plan_view(proposed, plan))
    record = await application.onboarding.ask(request, requested_by=requested_by, asked_at=asked_at)
    headers = {}
    wait = _seconds_to_wait(req.headers)
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        record = await application.onboarding.wait(record, seconds=wait)
    headers["Location"] = device_address(req.url, record)
    if record.is_converged:
        return json_answer(200, device_view(record), headers=headers)
    headers["Operation-Location"] = operation_address(req.url, record)
    headers["Retry-After"] = operation_retry_after(record, record.generation) or "60"
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


def caller(headers: Mapping[str, str]) -> str:
    """Who asks. The platform sets the name only where it authenticates; elsewhere anyone could."""
    if os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true":
        return headers.get("x-ms-client-principal-name", "") or "unknown principal"
    return "function key"


def _seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """`Prefer: wait=N` (RFC 7240), at most the longest wait there is."""
    found = _WAIT.search(headers.get("prefer", ""))
    return min(float(found[1]), LONGEST_WAIT) if found else None
