"""HTTP endpoint of the Device Provisioning Service: its webhook of custom allocation."""

from __future__ import annotations

import asyncio

import azure.functions as func

from firstpull.intake import dps_allocation
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from functions import deadlines
from functions.answers.allocation import Allocation
from functions.device_requests import answer_plan
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import is_dry_run
from functions.runtime import runtime

blueprint = func.Blueprint()

_CALLER = "provisioning service"


@blueprint.function_name("allocate_device")
@blueprint.route("provisioning", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def allocate_device(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/provisioning: the hub for a device that registers; its onboarding begins."""
    allocation = dps_allocation.allocate(req.get_body(), await runtime.policy())
    request, problem = allocation.request, None
    if request is not None and is_dry_run(req):
        onboarding = (await runtime.application()).onboarding
        return await answer_plan(
            await onboarding.propose_introduction(request, requested_by=_CALLER)
        )
    if request is not None:
        problem = await _record(request, may_reset_twin=allocation.may_reset_twin)
    elif allocation.refused:
        problem = Reason.INVALID_REQUEST
    if problem is None:
        is_recorded = request is not None
        emit(LogEvent.DEVICE_ALLOCATION_ANSWERED, hub=allocation.hub, onboarding=is_recorded)
    else:
        emit_warning(
            LogEvent.DEVICE_ALLOCATION_NOT_RECORDED, hub=allocation.hub, reason=problem.value
        )
    return json_answer(200, Allocation.of(allocation))


async def _record(request: OnboardingRequest, *, may_reset_twin: bool) -> Reason | None:
    """Record the device and begin its onboarding; why it could not be recorded.

    No failure may cost the device its hub: by its tag, the event or the sweep onboards it later.
    """
    try:
        async with asyncio.timeout(deadlines.RECORDING_SECONDS):
            onboarding = (await runtime.application()).onboarding
            await onboarding.introduce(request, requested_by=_CALLER, may_reset_twin=may_reset_twin)
    except FirstpullError as error:
        return error.reason
    except TimeoutError:
        return Reason.DEADLINE_EXCEEDED
    except Exception as error:
        emit_crash(LogEvent.ENDPOINT_REQUEST_CRASHED, error)
        return Reason.INTERNAL_ERROR
    return None
