"""HTTP endpoints: how many devices the API may still revoke, and the approval of more."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.requests import read_revokes_approval
from functions.answers.dry_runs import Intended, IntendedAction
from functions.answers.fleet import Revokes
from functions.callers import caller_name
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import is_dry_run
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("get_revokes")
@blueprint.route("revokes", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_revokes(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/revokes: how many more devices the API may revoke now."""
    limit = (await runtime.application()).revoking.limit
    return json_answer(200, Revokes.of(limit, await limit.count()))


@blueprint.function_name("approve_revokes")
@blueprint.route("revokes/approve", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def approve_revokes(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/revokes/approve: let the API revoke so many more devices within the hour."""
    limit = (await runtime.application()).revoking.limit
    revokes = read_revokes_approval(req.get_body()).revokes
    if is_dry_run(req):
        action = IntendedAction(action="ApproveRevokes", revokes=revokes)
        return json_answer(200, Intended.of(action))
    approved_by = caller_name(req)
    return json_answer(
        200, Revokes.of(limit, await limit.approve(revokes, approved_by=approved_by))
    )
