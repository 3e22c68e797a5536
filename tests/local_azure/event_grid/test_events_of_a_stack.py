from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientSession, web
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient
from pydantic import SecretStr

from local_azure.iot_hub.identities import DeviceSettings
from local_azure.key_vault.models import Properties
from local_azure.stack import Stack
from tests.local_azure.webhooks import Received, WebhookServer


@dataclass
class Queue:
    """A queue of the stack and all of its events so far."""

    client: QueueClient
    events: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                found = next((event for event in self.events if wanted(event)), None)
                if found is not None:
                    return found
                async for message in self.client.receive_messages():
                    self.events.append(json.loads(message.content))
                    await self.client.delete_message(message)
                await asyncio.sleep(0.02)


@pytest.fixture
async def queue(stack: Stack) -> AsyncIterator[Queue]:
    """A queue with a subscription of its own, so that a test sees all of its events."""
    name = f"events-{uuid.uuid4().hex}"
    for topic in ("hub", "vault"):
        status, _ = await call(
            stack, "POST", "/subscriptions",
            {"name": f"{topic}-{name}", "topic": topic, "queueName": name},
        )  # fmt: skip
        assert status == 201
    client = QueueClient.from_connection_string(
        stack.storage.connection_string, name, message_decode_policy=TextBase64DecodePolicy()
    )
    async with client:
        yield Queue(client)
    for topic in ("hub", "vault"):
        assert (await call(stack, "DELETE", f"/subscriptions/{topic}-{name}"))[0] == 204


async def call(stack: Stack, method: str, path: str, body: object = None) -> tuple[int, Any]:
    url = f"{stack.management_url}/eventGrid{path}"
    async with ClientSession() as session, session.request(method, url, json=body) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def test_the_queue_gets_the_events_of_a_new_device_and_a_new_secret(
    stack: Stack, queue: Queue
) -> None:
    name = f"new-{uuid.uuid4().hex}"
    stack.hub.create_device(DeviceSettings(name))
    event = await queue.until(lambda event: event["subject"] == f"devices/{name}")
    assert event["topic"].endswith("/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/LOCAL-HUB")
    assert event["topic"] == event["topic"].upper()
    assert event["data"]["hubName"] == stack.hub.name

    version = stack.vault.set(name, SecretStr("hunter2"), Properties())
    event = await queue.until(lambda event: event["subject"] == name)
    assert event["data"]["Id"] == f"{stack.key_vault_url}/secrets/{name}/{version.version}"


async def test_the_stack_publishes_expiries_by_itself(stack: Stack, queue: Queue) -> None:
    status, _ = await call(stack, "PATCH", "/delivery", {"expiryNoticedSeconds": [0, 0]})
    assert status == 200
    name = f"secret-{uuid.uuid4().hex}"
    tomorrow = int(stack.kernel.clock.now().timestamp()) + 86400
    stack.vault.set(name, SecretStr("hunter2"), Properties(expires=tomorrow))
    near = "Microsoft.KeyVault.SecretNearExpiry"
    await queue.until(lambda event: (event["subject"], event["eventType"]) == (name, near))
    await call(stack, "PATCH", "/delivery", {"expiryNoticedSeconds": [0, 900]})


async def test_a_subscription_can_be_paused_continued_and_resent(
    stack: Stack, queue: Queue
) -> None:
    name = f"hub-{queue.client.queue_name}"
    _, paused = await call(stack, "POST", f"/subscriptions/{name}/pause")
    device_id = f"camera-{uuid.uuid4().hex}"
    stack.hub.create_device(DeviceSettings(device_id))
    _, shown = await call(stack, "GET", f"/subscriptions/{name}/events")
    (event_id,) = [e["id"] for e in shown["events"] if e["subject"] == f"devices/{device_id}"]
    assert paused["paused"]
    _, going = await call(stack, "POST", f"/subscriptions/{name}/continue")
    assert not going["paused"]
    await queue.until(lambda event: event["id"] == event_id)
    before = stack.events.grid.subscription(name).counts["events"]
    status, answer = await call(
        stack, "POST", f"/subscriptions/{name}/resend", {"eventIds": [event_id]}
    )
    assert (status, answer) == (200, {"events": 1})
    assert stack.events.grid.subscription(name).counts["events"] == before + 1
    queue.events.clear()
    await queue.until(lambda event: event["id"] == event_id)


async def test_the_key_of_a_webhook_is_not_shown(stack: Stack) -> None:
    def respond(received: Received) -> web.Response:
        code = received.body[0]["data"].get("validationCode")
        return web.json_response({"validationResponse": code})

    webhook = WebhookServer(respond)
    server = await webhook.start()
    body = {"name": "a-webhook", "topic": "hub", "webhookUrl": f"{webhook.url}?code=secret"}
    status, created = await call(stack, "POST", "/subscriptions", body)
    assert (status, created["webhookUrl"]) == (201, f"{webhook.url}?****")
    status, conflict = await call(stack, "POST", "/subscriptions", body)
    assert (status, "secret" in str(conflict)) == (409, False)
    assert (await call(stack, "DELETE", "/subscriptions/a-webhook"))[0] == 204
    await server.close()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "abc", "topic": "hub"},
        {"name": "abc", "topic": "hub", "queueName": "queue", "webhookUrl": "http://127.0.0.1:1/"},
        {"name": "abc", "topic": "moon", "queueName": "queue"},
        {"name": "abc", "topic": "hub", "queueName": "Queue"},
        {"name": "abc", "topic": "hub", "queueName": "queue", "schema": "CloudEventSchema"},
        {"name": "abc", "topic": "hub", "queueName": "queue", "eventTypes": ["Made.Up"]},
        {"name": "abc", "topic": "hub", "webhookUrl": "http://127.0.0.1:1/?code=secret"},
    ],
)
async def test_an_invalid_subscription_is_refused(stack: Stack, body: object) -> None:
    status, answer = await call(stack, "POST", "/subscriptions", body)
    assert (status, "secret" in str(answer)) == (400, False)


async def test_unknown_subscriptions_and_events_are_not_found(stack: Stack) -> None:
    for method, path in (
        ("DELETE", "/subscriptions/nothing"),
        ("POST", "/subscriptions/nothing/pause"),
        ("GET", "/subscriptions/nothing/events"),
    ):
        assert (await call(stack, method, path))[0] == 404
    path = "/subscriptions/hub-to-queue/resend"
    assert (await call(stack, "POST", path, {"eventIds": ["nothing"]}))[0] == 404


async def test_delivery_settings_can_be_changed_one_by_one(stack: Stack) -> None:
    _, before = await call(stack, "GET", "/delivery")
    status, after = await call(stack, "PATCH", "/delivery", {"duplicateProbability": 1})
    assert (status, after) == (200, {**before, "duplicateProbability": 1})
    for wrong in ({"duplicateProbability": 2}, {"delaySeconds": [2, 1]}, {"retryScale": 0}):
        assert (await call(stack, "PATCH", "/delivery", wrong))[0] == 400
    _, restored = await call(stack, "PATCH", "/delivery", before)
    assert restored == before
