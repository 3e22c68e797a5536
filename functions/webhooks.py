"""HTTP endpoint for signed webhooks: a Standard Webhooks signature stands in for the key."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.requests import read_request
from firstpull.intake.webhook_signatures import verified
from functions.device_requests import answer_request
from functions.http_endpoint import http_endpoint
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("receive_webhook")
@blueprint.route("webhooks/devices", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def receive_webhook(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/webhooks/devices: onboard the device that a signed body names."""
    application = await runtime.application()
    body = req.get_body()
    signed = verified(
        req.headers, body, keys=application.webhook_keys, now=application.ports.clock.now()
    )
    return await answer_request(
        req,
        read_request(body),
        requested_by="signed webhook",
        asked_at=signed.at,
        message_id=f"webhook {signed.id}",
    )
