"""HTTP endpoints: the report of the last sweep, and the approval of what it held back."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.requests import read_approval
from firstpull.model.errors import NotKnown
from firstpull.model.reasons import Reason
from functions.answers.base import DeviceName
from functions.answers.dry_runs import Intended, IntendedAction
from functions.answers.fleet import Sweep
from functions.callers import caller_name
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import is_dry_run
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("get_sweep")
@blueprint.route("sweep", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_sweep(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/sweep: the last sweep's report."""
    application = await runtime.application()
    report = await application.sweeper.latest()
    if report is None:
        raise NotKnown("No sweep has run yet.", reason=Reason.SWEEP_NOT_KNOWN)
    return json_answer(200, Sweep.read(report))


@blueprint.function_name("approve_sweep")
@blueprint.route("sweep/approve", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def approve_sweep(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/sweep/approve: let the next sweep revoke what this one held."""
    sweeper = (await runtime.application()).sweeper
    sweep = read_approval(req.get_body()).sweep
    if not is_dry_run(req):
        approved_by = caller_name(req)
        return json_answer(200, Sweep.read(await sweeper.approve(sweep, approved_by=approved_by)))
    report = await sweeper.propose_approval(sweep)
    held = tuple(DeviceName.read(device) for device in report.held)
    action = IntendedAction(action="ApproveRevokes", sweep=report.id, devices=held)
    return json_answer(200, Intended.of(action))
