"""Event Grid events, by the queue `device-events` or by the Event Grid trigger.

Prefer the queue: it needs no public endpoint and no key, and has retries of its own.
"""

from __future__ import annotations

import json
from datetime import datetime

import azure.functions as func
from azure.functions.eventgrid import EventGridEventInConverter

from firstpull.bootstrap import Application
from firstpull.intake.event_grid import read_event
from firstpull.intake.json_input import MAX_BODY, read_json, read_message
from firstpull.model.errors import Invalid
from firstpull.observability import telemetry
from functions.deadlines import within_deadline
from functions.messages import inserted_at, text_of
from functions.runtime import runtime

QUEUE = "device-events"

# azure-functions 2.3 raises on a time with an offset, before any code here runs. So the time comes
# as it was sent, and an event whose time cannot be read is kept like any other.
EventGridEventInConverter._parse_datetime = staticmethod(lambda text: text)  # type: ignore[assignment,method-assign]  # noqa: SLF001

blueprint = func.Blueprint()


@blueprint.function_name("handle_events")
@blueprint.queue_trigger(arg_name="message", queue_name=QUEUE, connection="AzureWebJobsStorage")
async def handle_events(message: func.QueueMessage) -> None:
    """Handle the event, or the array of events, in a message."""
    with telemetry.span("handle_events"):
        async with within_deadline("handle_events"):
            await _handle(text_of(message), received_at=inserted_at(message))


@blueprint.function_name("handle_event_grid")
@blueprint.event_grid_trigger(arg_name="event")
async def handle_event_grid(event: func.EventGridEvent) -> None:
    """Handle one event that Event Grid pushes, in either schema."""
    # Despite the annotation, the worker passes a CloudEvent when one was sent.
    received: object = event
    if isinstance(received, func.CloudEvent):
        kind, at, data = received.type, received.time, received.get_json()
    else:
        kind, at, data = event.event_type, event.event_time, event.get_json()
    document = {"eventType": kind, "eventTime": at, "data": data}
    with telemetry.span("handle_event_grid"):
        async with within_deadline("handle_event_grid"):
            await _handle(json.dumps(document))


async def _handle(text: str, *, received_at: datetime | None = None) -> None:
    """Handle each event by itself: an invalid one is kept, and the others are handled.

    After another error the whole message is retried: events may be handled twice.
    """
    application = await runtime.application()
    try:
        document = read_json(read_message(text.encode()))
    except Invalid as refusal:
        await application.poison.keep(QUEUE, text, refusal)
        return
    failures: list[Exception] = []
    for event in document if isinstance(document, list) else [document]:
        try:
            alone = text if event is document else _text(event, text)
            await _handle_one(application, event, alone, received_at=received_at)
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


async def _handle_one(
    application: Application, event: object, text: str, *, received_at: datetime | None
) -> None:
    try:
        await application.event_handler.handle(read_event(event, received_at=received_at))
    except Invalid as refusal:
        await application.poison.keep(QUEUE, text, refusal)


def _text(event: object, message: str) -> str:
    """The text of one event of a message; the whole message where the event alone is longer."""
    alone = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return alone if len(alone.encode()) <= MAX_BODY else message
