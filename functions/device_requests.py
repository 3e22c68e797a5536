"""What HTTP endpoints do with a request about a device: propose or record it, wait, and answer."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote, urlencode, urlsplit

import azure.functions as func

from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_record import DeviceRecord, State
from functions.answers.devices import Device, Operation
from functions.answers.dry_runs import Plan
from functions.answers.messages import Problem
from functions.endpoints import ROUTE_PREFIX
from functions.http_answers import json_answer, problem_answer
from functions.http_requests import fits_in_path, is_dry_run, seconds_to_wait
from functions.runtime import runtime

_RETRY_SOON, _RETRY_LATER = "2", "60"
"""Seconds until a caller may ask again: while an operation is under way, and when it failed."""


async def answer_request(
    req: func.HttpRequest,
    request: OnboardingRequest,
    *,
    requested_by: str,
    asked_at: datetime | None = None,
    message_id: str | None = None,
) -> func.HttpResponse:
    """200 where the device has what is asked for, else 202; of a dry run, the plan."""
    onboarding = (await runtime.application()).onboarding
    if is_dry_run(req):
        return await answer_plan(
            await onboarding.propose(
                request, requested_by=requested_by, asked_at=asked_at, message_id=message_id
            )
        )
    record = await onboarding.ask(
        request, requested_by=requested_by, asked_at=asked_at, message_id=message_id
    )
    return await answer_recorded(req, record, generation=record.spec.intent_generation)


async def answer_recorded(
    req: func.HttpRequest, record: DeviceRecord, *, generation: int
) -> func.HttpResponse:
    """200 where the generation is done, else 202; after a wait, where the caller prefers one.

    A caller who waited learns by 424 that the device is blocked: 2xx would read as success.
    """
    headers = {}
    wait = seconds_to_wait(req.headers)
    if wait is not None:
        application = await runtime.application()
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        record = await application.onboarding.wait(record, generation=generation, seconds=wait)
    headers["Location"] = _address(req, record)
    if record.has_finished(generation):
        return json_answer(200, Device.of(record), headers=headers)
    operation = Operation.of(record, generation=generation)
    headers["Operation-Location"] = _address(req, record, generation=generation)
    headers["Retry-After"] = retry_after(operation) or _RETRY_LATER
    condition = record.status.condition
    if wait is not None and condition.state is State.BLOCKED:
        blocked = Problem.of(424, condition.reason, condition.message, remedy=condition.remedy)
        return problem_answer(blocked, headers=headers)
    return json_answer(202, Device.of(record), headers=headers)


async def answer_plan(record: DeviceRecord) -> func.HttpResponse:
    """200 with the plan for a record that is only proposed."""
    application = await runtime.application()
    return json_answer(200, Plan.of(record, await application.dry_run.plan_for(record)))


def retry_after(operation: Operation) -> str | None:
    """When to ask for an operation again; None for one that has ended."""
    return _RETRY_SOON if operation.is_under_way else None


def _address(req: func.HttpRequest, record: DeviceRecord, *, generation: int | None = None) -> str:
    """The address of a device or of its operation, on the host that was asked."""
    device_id, parameters = record.device.device_id, {"hub": record.device.hub}
    if fits_in_path(device_id):
        operation = "" if generation is None else f"/operations/{generation}"
        path = f"devices/{quote(device_id, safe='')}{operation}"
    else:
        path = "devices" if generation is None else "devices:operation"
        number = {} if generation is None else {"generation": str(generation)}
        parameters = {"deviceId": device_id, **number, **parameters}
    parts = urlsplit(req.url)
    query = urlencode(parameters)
    return f"{parts.scheme}://{parts.netloc}{ROUTE_PREFIX}/{path}?{query}"
