from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import ClientSession, web
from azure.storage.queue.aio import QueueServiceClient

from local_azure.event_grid import (
    Courier,
    EventGrid,
    EventSchema,
    EventSubscription,
    StorageQueue,
    Topic,
    Webhook,
)
from local_azure.event_grid.exceptions import EndpointNotValidated
from local_azure.kernel.clock import Clock
from tests.functions_host.hosts import host_running
from tests.local_azure.webhooks import Asked, WebhookServer, never

NO_STORAGE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:1/a;"


def takes_everything(asked: Asked) -> web.Response:
    if asked.method == "OPTIONS":
        origin = asked.headers["webhook-request-origin"]
        return web.Response(headers={"WebHook-Allowed-Origin": origin})
    if asked.headers["aeg-event-type"] == "SubscriptionValidation":
        code = asked.body[0]["data"]["validationCode"]
        return web.json_response({"validationResponse": code})
    return web.Response(status=202)


@pytest.fixture
async def webhook() -> AsyncIterator[WebhookServer]:
    webhook = WebhookServer(takes_everything)
    server = await webhook.start()
    yield webhook
    await server.close()


@pytest.fixture
async def courier(grid: EventGrid, clock: Clock) -> AsyncIterator[Courier]:
    """One that delivers when it is told to."""
    async with (
        ClientSession() as session,
        QueueServiceClient.from_connection_string(NO_STORAGE, retry_total=0) as queues,
    ):
        yield Courier(grid, clock=clock, session=session, queues=queues)


def to(webhook: WebhookServer, schema: EventSchema = EventSchema.EVENT_GRID) -> EventSubscription:
    return EventSubscription(
        name="hook",
        topic=Topic.HUB,
        destination=Webhook(f"{webhook.url}?code=a%2Bb=="),
        schema=schema,
    )


def publish(grid: EventGrid) -> None:
    grid.publish(Topic.HUB, "Microsoft.Devices.DeviceCreated", subject="devices/d", data={"a": 1})


async def test_a_webhook_is_asked_for_a_code_before_it_gets_an_array_of_one_event(
    courier: Courier, grid: EventGrid, webhook: WebhookServer
) -> None:
    await courier.subscribe(to(webhook))
    publish(grid)
    await courier.deliver_due()
    handshake, delivery = webhook.asked
    assert handshake.body[0]["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert handshake.body[0]["topic"] == "/SUBSCRIPTIONS/S/HUB"
    assert handshake.path == delivery.path == "/hook?code=a%2Bb=="
    assert delivery.headers["aeg-event-type"] == "Notification"
    assert [event["data"] for event in delivery.body] == [{"a": 1}]
    assert grid.subscription("hook").counts["delivered"] == 1


async def test_a_webhook_of_cloud_events_is_asked_by_options_and_gets_one_object(
    courier: Courier, grid: EventGrid, webhook: WebhookServer
) -> None:
    await courier.subscribe(to(webhook, EventSchema.CLOUD_EVENTS))
    publish(grid)
    await courier.deliver_due()
    handshake, delivery = webhook.asked
    assert handshake.method == "OPTIONS"
    assert delivery.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert delivery.body["type"] == "Microsoft.Devices.DeviceCreated"


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (EventSchema.EVENT_GRID, lambda: web.Response(status=404)),
        (EventSchema.EVENT_GRID, lambda: web.Response(status=202)),
        (EventSchema.EVENT_GRID, lambda: web.json_response({"validationResponse": "no"})),
        (EventSchema.EVENT_GRID, lambda: web.Response(text="hello")),
        (EventSchema.EVENT_GRID, lambda: web.json_response([])),
        (EventSchema.CLOUD_EVENTS, lambda: web.Response(status=405)),
        (EventSchema.CLOUD_EVENTS, web.Response),
        (
            EventSchema.CLOUD_EVENTS,
            lambda: web.Response(headers={"WebHook-Allowed-Origin": "example.org"}),
        ),
    ],
)
async def test_a_webhook_that_does_not_shake_hands_gets_no_subscription(
    courier: Courier,
    grid: EventGrid,
    webhook: WebhookServer,
    schema: EventSchema,
    answer: Callable[[], web.Response],
) -> None:
    webhook.answer = lambda _: answer()
    with pytest.raises(EndpointNotValidated) as caught:
        await courier.subscribe(to(webhook, schema))
    assert grid.subscriptions() == []
    assert "code=" not in str(caught.value)


async def test_nobody_at_the_webhook_is_no_handshake(courier: Courier) -> None:
    nobody = WebhookServer(takes_everything, url="http://127.0.0.1:1/hook")
    with pytest.raises(EndpointNotValidated, match="ClientConnectorError"):
        await courier.subscribe(to(nobody))


async def test_a_webhook_that_fails_gets_the_event_again_with_a_higher_count(
    courier: Courier, grid: EventGrid, webhook: WebhookServer, clock: Clock
) -> None:
    await courier.subscribe(to(webhook))
    publish(grid)
    webhook.answer = lambda _: web.Response(status=500)
    await courier.deliver_due()
    webhook.answer = takes_everything
    await courier.deliver_due()
    clock.advance(timedelta(seconds=11))
    await courier.deliver_due()
    _, first, second = webhook.asked
    assert first.body == second.body
    counts = [asked.headers["aeg-delivery-count"] for asked in (first, second)]
    assert counts == ["0", "1"]


async def test_a_webhook_that_says_nothing_in_time_has_failed(
    courier: Courier, grid: EventGrid, webhook: WebhookServer
) -> None:
    await courier.subscribe(to(webhook))
    publish(grid)
    webhook.answer = never
    grid.settings = replace(grid.settings, response_wait_seconds=0.05, most_attempts=1)
    await courier.deliver_due()
    assert [letter.outcome for letter in grid.dead_letters] == ["TimedOut"]


async def test_a_redirect_is_not_followed(
    courier: Courier, grid: EventGrid, webhook: WebhookServer
) -> None:
    await courier.subscribe(to(webhook))
    publish(grid)
    webhook.answer = lambda _: web.Response(status=307, headers={"Location": "/hook"})
    await courier.deliver_due()
    assert len(webhook.asked) == 2
    assert grid.subscription("hook").counts["failedAttempts"] == 1


async def test_a_queue_that_is_away_gets_its_events_later(
    courier: Courier, grid: EventGrid
) -> None:
    grid.subscribe(
        EventSubscription(name="queue", topic=Topic.HUB, destination=StorageQueue("events"))
    )
    publish(grid)
    await courier.deliver_due()
    assert grid.next_due_at() is not None


async def test_the_event_grid_triggers_of_a_function_app_take_both_schemas(
    courier: Courier, grid: EventGrid
) -> None:
    async with host_running("events", {}) as host, ClientSession() as session:
        for function, schema in (
            ("device_event", EventSchema.EVENT_GRID),
            ("cloud_event", EventSchema.CLOUD_EVENTS),
        ):
            path = f"/runtime/webhooks/EventGrid?functionName={function}&code=key-of-the-system"
            await courier.subscribe(
                EventSubscription(
                    name=function.replace("_", "-"),
                    topic=Topic.HUB,
                    destination=Webhook(host.url(path)),
                    schema=schema,
                )
            )
        publish(grid)
        await courier.deliver_due()
        async with session.get(host.url("/api/seen")) as response:
            seen = await response.json()
    assert seen == ["Microsoft.Devices.DeviceCreated devices/d"] * 2
    assert grid.next_due_at() is None
