"""The work queue's door: one hint, one look at one device."""

from __future__ import annotations

import json

import azure.functions as func

from firstpull.model.device_key import DeviceKey
from firstpull.observability import telemetry
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("look_at_device")
@blueprint.queue_trigger(
    arg_name="message", queue_name="device-work", connection="AzureWebJobsStorage"
)
async def reconcile_device(message: func.QueueMessage) -> None:
    """Look at the device that a hint names, in the trace of what caused the hint."""
    hint = json.loads(message.get_body())
    with telemetry.span("look_at_device", after=hint):
        application = await runtime.application()
        await application.worker.reconcile(DeviceKey(hub=hint["hub"], device_id=hint["deviceId"]))
