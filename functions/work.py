"""Reconcile requests by the queue `device-work`, one device in each message."""

from __future__ import annotations

import json

import azure.functions as func

from firstpull.model.device_key import DeviceKey
from firstpull.observability import telemetry
from functions.deadlines import within_deadline
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("reconcile_device")
@blueprint.queue_trigger(
    arg_name="message", queue_name="device-work", connection="AzureWebJobsStorage"
)
async def reconcile_device(message: func.QueueMessage) -> None:
    """Reconcile the device that a request names, in the trace of whatever enqueued the request."""
    request = json.loads(message.get_body())
    with telemetry.span("reconcile_device", after=request):
        async with within_deadline("reconcile_device"):
            await _reconcile(DeviceKey(hub=request["hub"], device_id=request["deviceId"]))


async def _reconcile(device: DeviceKey) -> None:
    application = await runtime.application()
    await application.worker.reconcile(device)
