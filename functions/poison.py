"""HTTP endpoints: kept messages are listed, sent again, discarded."""

from __future__ import annotations

import azure.functions as func

from firstpull.model.reasons import Reason
from functions.answers.dry_runs import Intended, IntendedAction
from functions.answers.messages import Discarded, PoisonList, PoisonMessage
from functions.callers import caller_name
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import check_no_body, is_dry_run, parameters
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("list_poison")
@blueprint.route("poison", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def list_poison(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/poison: the oldest 32 messages of each poison queue, with their reasons."""
    application = await runtime.application()
    found = await application.poison.list(parameters(req).get("queue"))
    return json_answer(
        200,
        PoisonList(
            messages=tuple(PoisonMessage.read(kept) for kept in found.messages),
            unreadable=found.unreadable or None,
        ),
    )


@blueprint.function_name("resend_poison")
@blueprint.route(
    "poison/{queue}/{messageId}/resend", methods=["POST"], auth_level=func.AuthLevel.FUNCTION
)
@http_endpoint
async def resend_poison(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/poison/{queue}/{messageId}/resend: back into its queue, as it came or corrected."""
    application = await runtime.application()
    queue, message_id = req.route_params["queue"], req.route_params["messageId"]
    if is_dry_run(req):
        kept = PoisonMessage.read(await application.poison.find(queue, message_id))
        return json_answer(200, Intended.of(IntendedAction(action="Resend", message=kept)))
    corrected = req.get_body() or None
    sent = await application.poison.resend(
        queue, message_id, corrected=corrected, requested_by=caller_name(req)
    )
    return json_answer(200, PoisonMessage.read(sent))


@blueprint.function_name("discard_poison")
@blueprint.route(
    "poison/{queue}/{messageId}", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION
)
@http_endpoint
async def discard_poison(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/poison/{queue}/{messageId}: thrown away for good."""
    application = await runtime.application()
    queue, message_id = req.route_params["queue"], req.route_params["messageId"]
    if is_dry_run(req):
        kept = PoisonMessage.read(await application.poison.find(queue, message_id))
        return json_answer(200, Intended.of(IntendedAction(action="Discard", message=kept)))
    await application.poison.discard(queue, message_id, requested_by=caller_name(req))
    return func.HttpResponse(status_code=204)


@blueprint.function_name("discard_all_poison")
@blueprint.route("poison/{queue}", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def discard_all_poison(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/poison/{queue}: all messages of a queue, or all with a reason."""
    check_no_body(req)
    poison, queue = (await runtime.application()).poison, req.route_params["queue"]
    given = parameters(req).get("reason")
    reason = Reason(given) if given else None
    if is_dry_run(req):
        found = await poison.matching(queue, reason=reason)
        actions = (
            IntendedAction(action="Discard", message=PoisonMessage.read(kept)) for kept in found
        )
        return json_answer(200, Intended(dry_run=True, actions=tuple(actions)))
    discarded = await poison.discard_all(queue, reason=reason, requested_by=caller_name(req))
    return json_answer(200, Discarded(discarded=discarded))
