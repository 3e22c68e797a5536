"""The same request by every endpoint and trigger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .documents import (
    ROLES,
    Document,
    allocation,
    as_cloud_event,
    device_event,
    in_base64,
    request,
)
from .endpoints import EVENTS, ONBOARDING, Endpoints

TARGET: Document = {"connectedRegistry": "doorone", **ROLES}
"""What every way asks for; the enrollment `line` of the policy says the same."""

Way = Callable[[Endpoints, str], Awaitable[None]]


async def _post(endpoints: Endpoints, device_id: str) -> None:
    answer = await endpoints.call("POST", "devices", request(device_id))
    assert answer.status in (200, 202), answer.text


async def _put(endpoints: Endpoints, device_id: str) -> None:
    answer = await endpoints.call("PUT", f"devices/{device_id}", TARGET)
    assert answer.status in (200, 202), answer.text


async def _signed(endpoints: Endpoints, device_id: str) -> None:
    answer = await endpoints.signed_webhook(request(device_id))
    assert answer.status in (200, 202), answer.text


async def _message(endpoints: Endpoints, device_id: str) -> None:
    await endpoints.put_message(ONBOARDING, request(device_id))


async def _message_in_base64(endpoints: Endpoints, device_id: str) -> None:
    await endpoints.put_message(ONBOARDING, in_base64(request(device_id)))


async def _event(endpoints: Endpoints, device_id: str) -> None:
    await endpoints.put_message(EVENTS, in_base64(device_event(device_id)))


async def _events(endpoints: Endpoints, device_id: str) -> None:
    other = device_event("nobody", kind="Microsoft.Devices.DeviceConnected")
    await endpoints.put_message(EVENTS, [other, device_event(device_id)])


async def _cloud_event(endpoints: Endpoints, device_id: str) -> None:
    await endpoints.put_message(EVENTS, as_cloud_event(device_event(device_id)))


async def _pushed_event(endpoints: Endpoints, device_id: str) -> None:
    assert (await endpoints.push_event([device_event(device_id)])).status == 202


async def _pushed_cloud_event(endpoints: Endpoints, device_id: str) -> None:
    event = as_cloud_event(device_event(device_id))
    assert (await endpoints.push_event(event, cloud_event=True)).status == 202


async def _allocation(endpoints: Endpoints, device_id: str) -> None:
    body = allocation(device_id, hubs=[endpoints.stack.iot_hub_host_name])
    answer = await endpoints.call("POST", "provisioning", body)
    assert answer.status == 200, answer.text


WAYS: dict[str, Way] = {
    "post": _post,
    "put": _put,
    "signed": _signed,
    "message": _message,
    "message64": _message_in_base64,
    "event": _event,
    "events": _events,
    "cloudevent": _cloud_event,
    "pushed": _pushed_event,
    "pushedcloud": _pushed_cloud_event,
    "allocation": _allocation,
}
EVENT_WAYS = ("event", "events", "cloudevent", "pushed", "pushedcloud")
"""Those in which the device's twin tag says what is wanted."""


def device_of(way: str) -> str:
    """The device that comes by this way."""
    return f"by-{way}"


async def onboard_by_each(endpoints: Endpoints) -> None:
    """Registers a device for each way and has it onboarded; the provisioned one comes later."""
    for way, come_in in WAYS.items():
        device_id = device_of(way)
        if way != "allocation":
            endpoints.register(device_id, tag=TARGET if way in EVENT_WAYS else None)
        await come_in(endpoints, device_id)
    provisioned = device_of("allocation")
    await endpoints.until_state(provisioned, "Waiting")
    endpoints.register(provisioned)
    await endpoints.put_message(EVENTS, device_event(provisioned))
    for way in WAYS:
        await endpoints.until_state(device_of(way), "Delivered")
    await endpoints.until_taken(ONBOARDING, EVENTS)
