"""HTTP endpoint of the Device Provisioning Service: its webhook of custom allocation."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.dps_allocation import allocate
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent
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
    application = await runtime.application()
    allocation = allocate(req.get_body(), application.policy)
    if allocation.request is None:
        emit(LogEvent.DEVICE_ALLOCATION_ANSWERED, hub=allocation.hub.host, onboarding=False)
        return json_answer(200, Allocation.of(allocation))
    if is_dry_run(req):
        record = await application.onboarding.propose_introduction(
            allocation.request, requested_by=_CALLER
        )
        return await answer_plan(record)
    await application.onboarding.introduce(allocation.request, requested_by=_CALLER)
    emit(LogEvent.DEVICE_ALLOCATION_ANSWERED, hub=allocation.hub.host, onboarding=True)
    return json_answer(200, Allocation.of(allocation))
