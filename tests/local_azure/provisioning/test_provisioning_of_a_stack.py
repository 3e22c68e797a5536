from __future__ import annotations

import json
import uuid
from typing import Any

from aiohttp import ClientSession, web
from azure.iot.device.aio import IoTHubDeviceClient

from local_azure.stack import Stack
from tests.local_azure.webhooks import WebhookServer


async def call(stack: Stack, method: str, path: str, body: object = None) -> tuple[int, Any]:
    url = f"{stack.management_url}/provisioning{path}"
    async with ClientSession() as session, session.request(method, url, json=body) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def test_a_registered_device_connects_to_the_hub(
    stack: Stack,
) -> None:
    answer = {"iotHubHostName": stack.iot_hub_host_name, "payload": {"welcome": True}}
    webhook = WebhookServer(lambda _: web.json_response(answer))
    server = await webhook.start()
    group, device_id = f"group-{uuid.uuid4().hex}", f"camera-{uuid.uuid4().hex}"
    status, enrolled = await call(
        stack, "POST", "/enrollments",
        {"enrollmentGroupId": group, "webhookUrl": f"{webhook.url}?code=secret"},
    )  # fmt: skip
    assert (status, enrolled["webhookUrl"]) == (201, f"{webhook.url}?****")
    status, registered = await call(
        stack, "POST", "/registrations", {"registrationId": device_id, "enrollmentGroupId": group}
    )
    state = registered["registrationState"]
    assert (status, registered["status"]) == (200, "assigned")
    assert (state["assignedHub"], state["payload"]) == (stack.iot_hub_host_name, {"welcome": True})

    host = f"HostName={stack.iot_hub_host_name};"
    assert registered["connectionString"].startswith(host)
    reachable = registered["connectionString"].replace(host, f"HostName={stack.address};")
    client = IoTHubDeviceClient.create_from_connection_string(
        reachable, server_verification_cert=stack.ca_pem
    )
    await client.connect()
    assert (await client.get_twin())["desired"] == {"$version": 1}
    await client.shutdown()

    _, shown = await call(stack, "GET", "/registrations")
    assert device_id in str(shown)
    assert "SharedAccessKey" not in str(shown)
    path = f"/enrollments/enrollmentGroup/{group}"
    assert [(await call(stack, "DELETE", path))[0] for _ in range(2)] == [204, 404]
    await server.close()


async def test_an_invalid_enrollment_or_registration_is_refused(stack: Stack) -> None:
    url = "http://127.0.0.1:1/hook?code=secret"
    for body in (
        {"webhookUrl": url},
        {"enrollmentGroupId": "a", "registrationId": "b", "webhookUrl": url},
        {"enrollmentGroupId": "a b", "webhookUrl": url},
        {"enrollmentGroupId": "a", "deviceId": "b", "webhookUrl": url},
        {"enrollmentGroupId": "a", "webhookUrl": "secret"},
        {"enrollmentGroupId": "a", "webhookUrl": url, "reprovisionPolicy": "sometimes"},
    ):
        status, answer = await call(stack, "POST", "/enrollments", body)
        assert (status, "secret" in str(answer)) == (400, False)
    unknown = {"registrationId": "dev-007", "enrollmentGroupId": "nothing"}
    assert (await call(stack, "POST", "/registrations", unknown))[0] == 404
    for wrong in ("", "-a", "a.", "a b", "a/b", "x" * 129):
        body = {"registrationId": wrong}
        assert (await call(stack, "POST", "/registrations", body))[0] == 400
    assert (await call(stack, "DELETE", "/enrollments/moon/nothing"))[0] == 404


async def test_the_timeout_of_the_webhook_can_be_set(stack: Stack) -> None:
    before = stack.provisioning.timeout_seconds
    assert (await call(stack, "PUT", "/webhookTimeout", {"timeoutSeconds": 2.5}))[0] == 200
    assert stack.provisioning.timeout_seconds == 2.5
    assert (await call(stack, "PUT", "/webhookTimeout", {"timeoutSeconds": 0}))[0] == 400
    stack.provisioning.timeout_seconds = before
