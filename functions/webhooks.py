"""The signed door: the same request, with a Standard Webhooks signature in place of a key."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.requests import read_request
from firstpull.intake.webhook_signatures import signed_at
from functions.http_requests import answer_request
from functions.problems import answering_problems
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("receive_webhook")
@blueprint.route("webhooks/devices", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answering_problems
async def receive_webhook(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/webhooks/devices: onboard the device that a signed body names."""
    application = await runtime.application()
    body = req.get_body()
    at = signed_at(req.headers, body, keys=application.webhook_keys)
    # Its time counts: a webhook that is replayed cannot bring back the past.
    return await answer_request(req, read_request(body), requested_by="signed webhook", asked_at=at)
