"""Onboarding requests by the queue `device-onboarding`, one in each message."""

from __future__ import annotations

import azure.functions as func

from firstpull.intake.json_input import read_message
from firstpull.intake.requests import read_request
from firstpull.model.errors import Invalid
from firstpull.observability import telemetry
from functions.deadlines import within_deadline
from functions.messages import inserted_at, text_of
from functions.runtime import runtime

QUEUE = "device-onboarding"

blueprint = func.Blueprint()


@blueprint.function_name("onboard_from_queue")
@blueprint.queue_trigger(arg_name="message", queue_name=QUEUE, connection="AzureWebJobsStorage")
async def onboard_from_queue(message: func.QueueMessage) -> None:
    """Onboard the device that a message names; keep a message that is refused."""
    with telemetry.span("onboard_from_queue"):
        async with within_deadline("onboard_from_queue"):
            await _onboard(message)


async def _onboard(message: func.QueueMessage) -> None:
    application = await runtime.application()
    try:
        request = read_request(read_message(message.get_body()))
        await application.onboarding.ask(
            request,
            requested_by=f"queue {QUEUE}",
            asked_at=inserted_at(message),
            message_id=f"queue {message.id}",
        )
    except Invalid as refusal:
        await application.poison.keep(QUEUE, text_of(message), refusal)
