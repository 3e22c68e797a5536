"""HTTP endpoints: many devices at once, and the whole fleet in figures."""

from __future__ import annotations

import azure.functions as func

from firstpull.fleet.batch import Row
from firstpull.intake.requests import read_batch, read_revoke_batch, read_rotation_batch
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent
from functions.answers.batches import Batch, BatchDryRun, BatchPlan, RowAnswer
from functions.answers.fleet import Fleet, Rebuild, Sites
from functions.callers import caller_name
from functions.http_answers import json_answer, problem_of
from functions.http_endpoint import http_endpoint
from functions.http_requests import check_no_body, is_dry_run, parameters
from functions.runtime import runtime

blueprint = func.Blueprint()

_REBUILT_AT_ONCE = 200
"""Devices of a page of a rebuild, unless a caller asks for more or fewer."""


@blueprint.function_name("create_devices")
@blueprint.route("devices:batch", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def create_devices(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices:batch: onboard up to 1,000 devices, each row by itself."""
    batches = (await runtime.application()).batches
    documents = read_batch(req.get_body()).devices
    requested_by = caller_name(req)
    if is_dry_run(req):
        planned, room = await batches.propose(documents, requested_by=requested_by)
        rows = _answers(planned, dry_run=True)
        return json_answer(200, BatchPlan.counted(rows, dry_run=True, room=Sites.read(room)))
    return _recorded(await batches.ask(documents, requested_by=requested_by))


@blueprint.function_name("revoke_devices")
@blueprint.route("devices:batchRevoke", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def revoke_devices(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices:batchRevoke: take the access of up to 1,000 devices away."""
    batches, dry_run = (await runtime.application()).batches, is_dry_run(req)
    documents = read_revoke_batch(req.get_body()).devices
    rows = await batches.revoke(documents, requested_by=caller_name(req), dry_run=dry_run)
    return _planned(rows) if dry_run else _recorded(rows)


@blueprint.function_name("rotate_devices")
@blueprint.route("devices:batchRotate", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def rotate_devices(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices:batchRotate: replace the passwords of up to 1,000 devices."""
    batches, dry_run = (await runtime.application()).batches, is_dry_run(req)
    asked = read_rotation_batch(req.get_body())
    rows = await batches.rotate(
        asked.devices,
        immediately=asked.immediately,
        requested_by=caller_name(req),
        dry_run=dry_run,
    )
    return _planned(rows) if dry_run else _recorded(rows)


@blueprint.function_name("get_fleet")
@blueprint.route("fleet.json", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_fleet(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/fleet.json: the devices by state, reason and site."""
    return json_answer(200, Fleet.of(await (await runtime.application()).summaries.summary()))


@blueprint.function_name("rebuild_devices")
@blueprint.route("devices:rebuild", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def rebuild_devices(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/devices:rebuild: make lost or outdated records again from what exists."""
    check_no_body(req)
    application, given, dry_run = await runtime.application(), parameters(req), is_dry_run(req)
    rebuilding = application.rebuilding
    if "deviceId" in given:
        device = application.onboarding.device(given["deviceId"], hub=given.get("hub"))
        found = await rebuilding.one(device, dry_run=dry_run)
    else:
        size = int(given.get("size", _REBUILT_AT_ONCE))
        found = await rebuilding.page(after=given.get("after"), size=size, dry_run=dry_run)
    if found.rebuilt and not dry_run:
        emit(LogEvent.RECORDS_REBUILT, records=len(found.rebuilt), requested_by=caller_name(req))
    return json_answer(200, Rebuild.of(found, dry_run=dry_run))


def _recorded(rows: tuple[Row, ...]) -> func.HttpResponse:
    answer = Batch.counted(_answers(rows, dry_run=False))
    return json_answer(207 if answer.refused else 200, answer)


def _planned(rows: tuple[Row, ...]) -> func.HttpResponse:
    return json_answer(200, BatchDryRun.counted(_answers(rows, dry_run=True), dry_run=True))


def _answers(rows: tuple[Row, ...], *, dry_run: bool) -> tuple[RowAnswer, ...]:
    return tuple(
        RowAnswer.of(
            number, row, problem=problem_of(row.error) if row.error else None, dry_run=dry_run
        )
        for number, row in enumerate(rows)
    )
