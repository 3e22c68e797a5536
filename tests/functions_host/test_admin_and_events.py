from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from .hosts import RunningHost, host_running

MASTER = {"x-functions-key": "key-of-the-master"}
WEBHOOK = "/runtime/webhooks/EventGrid?functionName={}&code=key-of-the-system"


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[RunningHost]:
    async with host_running("events", {}, "--instance-id", "first") as running:
        yield running


@pytest.fixture(scope="module")
async def client(host: RunningHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.ready["listening"]) as session:
        yield session


def event(subject: str) -> dict[str, Any]:
    return {
        "id": "1",
        "topic": "/hub",
        "subject": subject,
        "eventType": "DeviceCreated",
        "eventTime": "2026-11-23T12:00:00Z",
        "data": {},
        "dataVersion": "1",
    }


async def until_seen(client: aiohttp.ClientSession, text: str) -> None:
    for _ in range(250):
        async with client.get("/api/seen") as response:
            if text in await response.json():
                return
        await asyncio.sleep(0.02)
    pytest.fail(f"{text} was not seen")


@pytest.mark.parametrize("path", ["/admin/host/status", "/admin/functions", "/admin/functions/x"])
@pytest.mark.parametrize("key", ["", "key-of-functions", "key-of-the-system"])
async def test_only_the_master_key_opens_the_administrators_endpoints(
    client: aiohttp.ClientSession, path: str, key: str
) -> None:
    async with client.get(path, headers={"x-functions-key": key}) as response:
        assert response.status == 401


async def test_the_status_names_the_instance(client: aiohttp.ClientSession) -> None:
    async with client.get("/admin/host/status", headers=MASTER) as response:
        status = await response.json()
    assert (status["state"], status["instanceId"]) == ("Running", "first")


async def test_the_functions_are_listed_with_their_bindings(client: aiohttp.ClientSession) -> None:
    async with client.get("/admin/functions", headers=MASTER) as response:
        functions = {function["name"]: function for function in await response.json()}
    assert set(functions) == {"device_event", "cloud_event", "show_seen"}
    assert functions["show_seen"]["invoke_url_template"].endswith("/api/seen")
    assert functions["device_event"]["config"]["bindings"][0]["type"] == "eventGridTrigger"


async def test_a_function_can_be_run_now_with_an_input(client: aiohttp.ClientSession) -> None:
    document = {"specversion": "1.0", "id": "1", "type": "Made", "source": "/s", "subject": "now"}
    async with client.post(
        "/admin/functions/cloud_event", json={"input": document}, headers=MASTER
    ) as response:
        assert response.status == 202
    await until_seen(client, "Made now")


@pytest.mark.parametrize(
    ("name", "body", "status"), [("unknown", "{}", 404), ("cloud_event", "no JSON", 400)]
)
async def test_running_what_is_not_there_or_not_json_is_refused(
    client: aiohttp.ClientSession, name: str, body: str, status: int
) -> None:
    async with client.post(f"/admin/functions/{name}", data=body, headers=MASTER) as response:
        assert response.status == status


async def test_the_webhook_answers_the_handshake(client: aiohttp.ClientSession) -> None:
    handshake = [{**event("hub"), "data": {"validationCode": "512d38b6"}}]
    async with client.post(
        WEBHOOK.format("device_event"),
        json=handshake,
        headers={"aeg-event-type": "SubscriptionValidation"},
    ) as response:
        assert response.status == 200
        assert await response.json() == {"validationResponse": "512d38b6"}


async def test_every_event_of_a_delivery_runs_the_function(client: aiohttp.ClientSession) -> None:
    async with client.post(
        WEBHOOK.format("device_event"),
        json=[event("a"), event("b")],
        headers={"aeg-event-type": "Notification"},
    ) as response:
        assert response.status == 202
    async with client.get("/api/seen") as response:
        assert {"DeviceCreated a", "DeviceCreated b"} <= set(await response.json())


async def test_a_delivery_whose_function_failed_is_500_so_that_it_is_sent_again(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post(
        WEBHOOK.format("device_event"),
        json=[event("fail")],
        headers={"aeg-event-type": "Notification"},
    ) as response:
        assert response.status == 500


async def test_cloud_events_have_a_handshake_and_a_content_type_of_their_own(
    client: aiohttp.ClientSession,
) -> None:
    url = WEBHOOK.format("cloud_event")
    async with client.options(url, headers={"WebHook-Request-Origin": "eg.local"}) as response:
        assert response.headers["WebHook-Allowed-Origin"] == "eg.local"
    document = {"specversion": "1.0", "id": "2", "type": "Made", "source": "/s", "subject": "sent"}
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    async with client.post(url, json=document, headers=headers) as response:
        assert response.status == 202
    await until_seen(client, "Made sent")


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [
        ("/runtime/webhooks/eventgrid?functionName=device_event", "[]", 401),
        (WEBHOOK.format("device_event").replace("system", "functions"), "[]", 401),
        (WEBHOOK.format("unknown"), "[]", 404),
        (WEBHOOK.format("device_event"), "no JSON", 400),
        (WEBHOOK.format("device_event"), "[1]", 400),
    ],
)
async def test_a_delivery_without_key_function_or_events_is_refused(
    client: aiohttp.ClientSession, url: str, body: str, status: int
) -> None:
    headers = {"aeg-event-type": "Notification"}
    async with client.post(url, data=body, headers=headers) as response:
        assert response.status == status
