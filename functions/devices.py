"""HTTP endpoints: devices from their first request to their last, and their operations."""

from __future__ import annotations

import re
from collections.abc import Mapping

import azure.functions as func

from firstpull.fleet.listing import Order
from firstpull.intake.requests import read_request, read_rotation
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import NotKnown
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from functions.answers.devices import Device, DeviceList, Operation
from functions.callers import caller_name
from functions.device_requests import answer_plan, answer_recorded, answer_request, retry_after
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import check_no_body, is_dry_run, parameters
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("create_device")
@blueprint.route("devices", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def create_device(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices: onboard the device that the body names."""
    return await _ask(req, device_id=None)


@blueprint.function_name("put_device")
@blueprint.route("devices/{deviceId}", methods=["PUT"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def put_device(req: func.HttpRequest) -> func.HttpResponse:
    """PUT /api/devices/{deviceId}: onboard a device, or change what it may pull."""
    return await _ask(req, device_id=req.route_params["deviceId"])


@blueprint.function_name("put_device_by_parameter")
@blueprint.route("devices", methods=["PUT"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def put_device_by_parameter(req: func.HttpRequest) -> func.HttpResponse:
    """PUT /api/devices?deviceId=: likewise, for an id that does not survive in a path."""
    return await _ask(req, device_id=parameters(req)["deviceId"])


@blueprint.function_name("revoke_device")
@blueprint.route("devices/{deviceId}", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def revoke_device(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/devices/{deviceId}: take a device's access away."""
    return await _revoke(req)


@blueprint.function_name("revoke_device_by_parameter")
@blueprint.route("devices", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def revoke_device_by_parameter(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/devices?deviceId=: likewise."""
    return await _revoke(req)


async def _revoke(req: func.HttpRequest) -> func.HttpResponse:
    check_no_body(req)
    application, device = await runtime.application(), await _device(req)
    requested_by = caller_name(req)
    if is_dry_run(req):
        return await answer_plan(
            await application.revoking.propose_within_limit(device, requested_by=requested_by)
        )
    record = await application.revoking.revoke_within_limit(device, requested_by=requested_by)
    return await answer_recorded(req, record, generation=record.spec.intent_generation)


@blueprint.function_name("rotate_device")
@blueprint.route("devices/{deviceId}/rotate", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def rotate_device(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices/{deviceId}/rotate: replace a device's password."""
    return await _rotate(req)


@blueprint.function_name("rotate_device_by_parameter")
@blueprint.route("devices:rotate", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def rotate_device_by_parameter(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices:rotate?deviceId=: likewise."""
    return await _rotate(req)


async def _rotate(req: func.HttpRequest) -> func.HttpResponse:
    rotating, device = (await runtime.application()).rotating, await _device(req)
    how, dry_run = read_rotation(req.get_body()), is_dry_run(req)
    ask = rotating.propose if dry_run else rotating.rotate
    record = await ask(device, immediately=how.immediately, requested_by=caller_name(req))
    if dry_run:
        return await answer_plan(record)
    rotation = record.spec.rotation
    generation = rotation.generation if rotation is not None else record.spec.generation
    return await answer_recorded(req, record, generation=generation)


@blueprint.function_name("get_device")
@blueprint.route("devices/{deviceId}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_device(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices/{deviceId}: a device's state."""
    return json_answer(200, Device.of(await _find(req)))


@blueprint.function_name("list_devices")
@blueprint.route("devices", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def list_devices(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices: the devices of some filters, in pages."""
    application, given = await runtime.application(), parameters(req)
    query = _query(given)
    if "order" in given:
        query = application.onboarding.checked_filters(query)
        page = await application.listing.page(query, Order(given["order"]))
    else:
        page = await application.onboarding.page(query)
    return json_answer(200, DeviceList.of(page))


@blueprint.function_name("get_operation")
@blueprint.route(
    "devices/{deviceId}/operations/{generation}",
    methods=["GET"],
    auth_level=func.AuthLevel.FUNCTION,
)
@http_endpoint
async def get_operation(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices/{deviceId}/operations/{generation}: one request's progress."""
    return await _operation(req, req.route_params["generation"])


@blueprint.function_name("get_operation_by_parameter")
@blueprint.route("devices:operation", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_operation_by_parameter(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/devices:operation?deviceId=&generation=: likewise."""
    return await _operation(req, parameters(req)["generation"])


async def _operation(req: func.HttpRequest, text: str) -> func.HttpResponse:
    record = await _find(req)
    generation = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= generation <= record.spec.generation:
        raise NotKnown(
            f"The device's generations are 1 to {record.spec.generation}.",
            reason=Reason.OPERATION_NOT_KNOWN,
        )
    operation = Operation.of(record, generation=generation)
    after = retry_after(operation)
    return json_answer(200, operation, headers={"Retry-After": after} if after else {})


async def _ask(req: func.HttpRequest, *, device_id: str | None) -> func.HttpResponse:
    request = read_request(req.get_body(), device_id=device_id)
    return await answer_request(req, request, requested_by=caller_name(req))


async def _device(req: func.HttpRequest) -> DeviceKey:
    application = await runtime.application()
    given = parameters(req)
    device_id = req.route_params.get("deviceId") or given["deviceId"]
    return application.onboarding.device(device_id, hub=given.get("hub"))


async def _find(req: func.HttpRequest) -> DeviceRecord:
    application = await runtime.application()
    return await application.onboarding.find(await _device(req))


def _query(parameters: Mapping[str, str]) -> Query:
    states = [State(name) for name in parameters.get("state", "").split(",") if name]
    return Query(
        hub=parameters.get("hub"),
        device_id=parameters.get("deviceId"),
        states=frozenset(states),
        reason=Reason(parameters["reason"]) if "reason" in parameters else None,
        tombstones=parameters.get("tombstones") == "true" or State.REVOKED in states,
        connected_registry=parameters.get("connectedRegistry"),
        after=parameters.get("after"),
        size=int(parameters.get("size", "100")),
    )
