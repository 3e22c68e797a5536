from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from .hosts import RunningHost, host_running, until

MASTER = {"x-functions-key": "key-of-the-master"}
WEBHOOK = "/runtime/webhooks/EventGrid?functionName={}&code=key-of-the-system"
NOTIFICATION = {"aeg-event-type": "Notification"}


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[RunningHost]:
    async with host_running("events", {}) as running:
        yield running


@pytest.fixture(scope="module")
async def client(host: RunningHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.address) as session:
        yield session


def event(subject: str, **changes: object) -> dict[str, Any]:
    return {
        "id": "1",
        "topic": "/hub",
        "subject": subject,
        "eventType": "DeviceCreated",
        "eventTime": "2026-11-23T12:00:00Z",
        "data": {},
        "dataVersion": "1",
        **changes,
    }


def cloud_event(subject: str) -> dict[str, str]:
    return {"specversion": "1.0", "id": "1", "type": "Made", "source": "/s", "subject": subject}


async def until_seen(host: RunningHost, text: str) -> None:
    async def seen() -> bool:
        return text in await host.get("/api/seen")

    await until(seen)


async def test_a_function_can_be_run_now_with_an_input(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    async with client.post(
        "/admin/functions/cloud_event",
        json={"input": json.dumps(cloud_event("now"))},
        headers=MASTER,
    ) as response:
        assert response.status == 202
    await until_seen(host, "Made now")


@pytest.mark.parametrize(
    ("method", "path", "key", "body", "status"),
    [
        ("POST", "/admin/functions/cloud_event", "", "{}", 401),
        ("POST", "/admin/functions/cloud_event", "wrong", "{}", 401),
        ("POST", "/admin/functions/cloud_event", "key-of-functions", "{}", 403),
        ("POST", "/admin/functions/cloud_event", "key-of-the-system", "{}", 403),
        ("POST", "/admin/functions/cloud_event", "key-of-the-master", "no JSON", 400),
        ("POST", "/admin/functions/cloud_event", "key-of-the-master", '{"input": {"a": 1}}', 400),
        ("POST", "/admin/functions/unknown", "key-of-the-master", "{}", 404),
        ("PUT", "/admin/functions/cloud_event", "key-of-the-master", "", 404),
        ("GET", "/admin/functions/unknown", "key-of-the-master", "", 404),
    ],
)
async def test_a_run_without_the_master_key_a_function_or_json_is_refused(
    client: aiohttp.ClientSession, method: str, path: str, key: str, body: str, status: int
) -> None:
    headers = {"x-functions-key": key, "Content-Type": "application/json"}
    async with client.request(method, path, data=body, headers=headers) as response:
        assert response.status == status
        assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


async def test_the_webhook_answers_the_handshake(client: aiohttp.ClientSession) -> None:
    async with client.post(
        WEBHOOK.format("device_event"),
        json=[event("hub", data={"validationCode": "512d38b6"})],
        headers={"aeg-event-type": "SubscriptionValidation"},
    ) as response:
        assert response.status == 200
        assert await response.text() == '{"validationResponse":"512d38b6"}'


async def test_every_event_runs_the_function_and_a_failure_is_500_so_that_it_is_sent_again(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    failed = "Exception while executing function: Functions.device_event"
    for events, status, text in (
        ([event("a"), event("b")], 202, ""),
        ([event("fail")], 500, failed),
        ([event("c"), event("fail")], 500, failed),
    ):
        async with client.post(
            WEBHOOK.format("device_event"), json=events, headers=NOTIFICATION
        ) as response:
            assert (response.status, await response.text()) == (status, text)
    seen = set(await host.get("/api/seen"))
    assert {"DeviceCreated a", "DeviceCreated b", "DeviceCreated c"} <= seen


async def test_an_event_in_chunks_is_taken_unlike_a_functions_body(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        text = json.dumps([event("chunked")]).encode()
        yield text[:10]
        yield text[10:]

    async with client.post(
        WEBHOOK.format("device_event"), data=chunks(), headers=NOTIFICATION
    ) as response:
        assert response.status == 202
    await until_seen(host, "DeviceCreated chunked")


async def test_cloud_events_have_a_handshake_of_their_own_for_event_grid_alone(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    url = WEBHOOK.format("cloud_event")
    async with client.options(url, headers={"WebHook-Request-Origin": "else.where"}) as response:
        assert response.status == 200
        assert response.headers["Webhook-Allowed-Origin"] == "eventgrid.azure.net"
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    for more, status in ((NOTIFICATION, 202), ({}, 400)):
        async with client.post(url, json=cloud_event("sent"), headers=headers | more) as response:
            assert response.status == status
    await until_seen(host, "Made sent")


@pytest.mark.parametrize(
    ("url", "kind", "body", "status"),
    [
        ("/runtime/webhooks/eventgrid?functionName=device_event", "Notification", "[]", 401),
        (WEBHOOK.format("device_event&CODE=key-of-the-system"), "Notification", "[]", 401),
        (
            WEBHOOK.format("device_event").replace("of-the-system", "of-functions"),
            "Notification",
            "[]",
            403,
        ),
        (WEBHOOK.format("unknown"), "Notification", "[]", 404),
        (WEBHOOK.format("Device_Event"), "Notification", "[]", 404),
        (WEBHOOK.format("device_event"), "Notification", "no JSON", 500),
        (WEBHOOK.format("device_event"), "Notification", "", 500),
        (WEBHOOK.format("device_event"), "Notification", "[1]", 500),
        (WEBHOOK.format("device_event"), "Notification", "[]", 202),
        (WEBHOOK.format("device_event"), "SubscriptionValidation", "[{}]", 500),
        (WEBHOOK.format("device_event"), "Unsubscribe", "", 202),
        (WEBHOOK.format("device_event"), "Another", "[]", 400),
    ],
)
async def test_a_delivery_without_key_function_kind_or_events_is_refused(
    client: aiohttp.ClientSession, url: str, kind: str, body: str, status: int
) -> None:
    async with client.post(url, data=body, headers={"aeg-event-type": kind}) as response:
        assert response.status == status
