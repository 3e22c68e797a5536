"""Messages that could not be taken: listed, sent again, discarded."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from firstpull.intake.poison_queue import PoisonMessage
from functions.encoding import json_answer, time_text, without_none
from functions.http_requests import check_parameters, is_dry_run
from functions.problems import answering_problems
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("list_poison")
@blueprint.route("poison", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@answering_problems
async def list_poison(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/poison: the oldest 32 messages of each poison queue, with their reasons."""
    check_parameters(req.params, "queue")
    application = await runtime.application()
    found = await application.poison.list(req.params.get("queue"))
    return json_answer(200, {"messages": [_view(message) for message in found]})


@blueprint.function_name("resend_poison")
@blueprint.route(
    "poison/{queue}/{messageId}/resend", methods=["POST"], auth_level=func.AuthLevel.FUNCTION
)
@answering_problems
async def resend_poison(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/poison/{queue}/{messageId}/resend: back into its queue, as it came."""
    check_parameters(req.params, "dryRun")
    application = await runtime.application()
    queue, message_id = req.route_params["queue"], req.route_params["messageId"]
    if is_dry_run(req.params):
        return _planned("Resend", await application.poison.find(queue, message_id))
    return json_answer(200, _view(await application.poison.resend(queue, message_id)))


@blueprint.function_name("discard_poison")
@blueprint.route(
    "poison/{queue}/{messageId}", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION
)
@answering_problems
async def discard_poison(req: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/poison/{queue}/{messageId}: thrown away for good."""
    check_parameters(req.params, "dryRun")
    application = await runtime.application()
    queue, message_id = req.route_params["queue"], req.route_params["messageId"]
    if is_dry_run(req.params):
        return _planned("Discard", await application.poison.find(queue, message_id))
    await application.poison.discard(queue, message_id)
    return func.HttpResponse(status_code=204)


def _planned(action: str, message: PoisonMessage) -> func.HttpResponse:
    planned: dict[str, Any] = {"action": action, "message": _view(message)}
    return json_answer(200, {"dryRun": True, "actions": [planned]})


def _view(message: PoisonMessage) -> dict[str, Any]:
    """A kept message, with why it was not taken."""
    return without_none(
        {
            "queue": message.queue,
            "id": message.id,
            "reason": message.reason.value,
            "detail": message.detail,
            "errors": [{"path": path, "message": text} for path, text in message.errors],
            "keptAt": time_text(message.kept_at),
            "message": message.message,
        }
    )
