"""The HTTP door: devices from their first request to their last, and their operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import azure.functions as func

from firstpull.intake.requests import read_request, read_rotation
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import FieldError, Invalid, NotKnown
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from functions.encoding import json_answer
from functions.http_requests import (
    answer_recorded,
    answer_request,
    caller,
    check_no_body,
    check_parameters,
    is_dry_run,
    unknown_parameters,
)
from functions.plans import answer_plan
from functions.problems import answering_problems
from functions.representations import (
    device_summary,
    device_view,
    operation_retry_after,
    operation_view,
)
from functions.runtime import runtime

blueprint = func.Blueprint()

_LARGEST_PAGE = 1000
_FILTERS = ("hub", "deviceId", "state", "connectedRegistry", "after", "size")


@blueprint.function_name("create_device")
@blueprint.route("devices", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def create_device(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices: onboard the device that the body names."""
    return await _ask(req, device_id=None)


@blueprint.function_name("put_device")
@blueprint.route("devices/{deviceId}", methods=["PUT"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def put_device(req: func.HttpRequest) -> func.HttpResponse:
    """PUT /api/devices/{deviceId}: onboard a device, or change what it may pull."""
    return await _ask(req, device_id=req.route_params["deviceId"])


@blueprint.function_name("revoke_device")
@blueprint.route("devices/{deviceId}", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def revoke_device(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/devices/{deviceId}: take a device's access away."""
    check_parameters(req.params, "hub", "dryRun")
    check_no_body(req)
    application, device = await runtime.application(), await _device(req)
    requested_by = caller(req.headers)
    if is_dry_run(req.params):
        return await answer_plan(
            await application.revoking.propose(device, requested_by=requested_by)
        )
    record = await application.revoking.revoke(device, requested_by=requested_by)
    return await answer_recorded(req, record)


@blueprint.function_name("rotate_device")
@blueprint.route("devices/{deviceId}/rotate", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def rotate_device(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices/{deviceId}/rotate: replace a device's password."""
    check_parameters(req.params, "hub", "dryRun")
    rotating, device = (await runtime.application()).rotating, await _device(req)
    how = read_rotation(req.get_body())
    ask = rotating.propose if is_dry_run(req.params) else rotating.rotate
    record = await ask(device, immediately=how.immediately, requested_by=caller(req.headers))
    return await (answer_plan(record) if is_dry_run(req.params) else answer_recorded(req, record))


@blueprint.function_name("get_device")
@blueprint.route("devices/{deviceId}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def get_device(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices/{deviceId}: how far a device is."""
    check_parameters(req.params, "hub")
    return json_answer(200, device_view(await _find(req)))


@blueprint.function_name("list_devices")
@blueprint.route("devices", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def list_devices(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices: all devices, by hub, id, state and connected registry."""
    application = await runtime.application()
    page = await application.onboarding.page(_query(req.params))
    view: dict[str, Any] = {"devices": [device_summary(record) for record in page.records]}
    if page.next_page is not None:
        view["next"] = page.next_page
    return json_answer(200, view)


@blueprint.function_name("get_operation")
@blueprint.route(
    "devices/{deviceId}/operations/{generation}",
    methods=["GET"],
    auth_level=func.AuthLevel.FUNCTION,
)
@answering_problems
async def get_operation(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices/{deviceId}/operations/{generation}: one request's progress."""
    check_parameters(req.params, "hub")
    record = await _find(req)
    text = req.route_params["generation"]
    generation = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= generation <= record.spec.generation:
        raise NotKnown(
            f"The device's generations are 1 to {record.spec.generation}.",
            reason=Reason.OPERATION_NOT_KNOWN,
        )
    retry_after = operation_retry_after(record, generation)
    headers = {"Retry-After": retry_after} if retry_after else {}
    return json_answer(200, operation_view(record, generation), headers=headers)


async def _ask(req: func.HttpRequest, *, device_id: str | None) -> func.HttpResponse:
    check_parameters(req.params, "dryRun")
    request = read_request(req.get_body(), device_id=device_id)
    return await answer_request(req, request, requested_by=caller(req.headers))


async def _device(req: func.HttpRequest) -> DeviceKey:
    application = await runtime.application()
    return application.onboarding.device(req.route_params["deviceId"], hub=req.params.get("hub"))


async def _find(req: func.HttpRequest) -> DeviceRecord:
    application = await runtime.application()
    return await application.onboarding.find(await _device(req))


def _query(params: Mapping[str, str]) -> Query:
    errors = unknown_parameters(params, _FILTERS)
    state, size = params.get("state"), params.get("size", "100")
    if state is not None and state not in set(State):
        errors.append(FieldError("state", f"is none of {', '.join(State)}"))
    if not re.fullmatch(r"[0-9]{1,4}", size) or not 1 <= int(size) <= _LARGEST_PAGE:
        errors.append(FieldError("size", f"is not a number from 1 to {_LARGEST_PAGE}"))
    if errors:
        raise Invalid("The listing cannot be made; `errors` says why.", errors=tuple(errors))
    return Query(
        hub=params.get("hub"),
        device_id=params.get("deviceId"),
        state=State(state) if state else None,
        connected_registry=params.get("connectedRegistry"),
        after=params.get("after"),
        size=int(size),
    )
