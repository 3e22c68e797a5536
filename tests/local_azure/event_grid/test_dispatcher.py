from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import ClientSession, web
from azure.storage.queue.aio import QueueServiceClient

from local_azure.event_grid import (
    Dispatcher,
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
from tests.local_azure.webhooks import Received, WebhookServer, no_answer

NO_STORAGE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:1/a;"


def accept(received: Received) -> web.Response:
    if received.method == "OPTIONS":
        origin = received.headers["webhook-request-origin"]
        return web.Response(headers={"WebHook-Allowed-Origin": origin})
    if received.headers["aeg-event-type"] == "SubscriptionValidation":
        code = received.body[0]["data"]["validationCode"]
        return web.json_response({"validationResponse": code})
    return web.Response(status=202)


@pytest.fixture
async def webhook() -> AsyncIterator[WebhookServer]:
    webhook = WebhookServer(accept)
    server = await webhook.start()
    yield webhook
    await server.close()


@pytest.fixture
async def dispatcher(grid: EventGrid, clock: Clock) -> AsyncIterator[Dispatcher]:
    """A dispatcher that delivers only when a test calls it."""
    async with (
        ClientSession() as session,
        QueueServiceClient.from_connection_string(NO_STORAGE, retry_total=0) as queues,
    ):
        yield Dispatcher(grid, clock=clock, session=session, queues=queues)


def to(webhook: WebhookServer, schema: EventSchema = EventSchema.EVENT_GRID) -> EventSubscription:
    return EventSubscription(
        name="hook",
        topic=Topic.HUB,
        destination=Webhook(f"{webhook.url}?code=a%2Bb=="),
        schema=schema,
    )


def publish(grid: EventGrid) -> None:
    grid.publish(Topic.HUB, "Microsoft.Devices.DeviceCreated", subject="devices/d", data={"a": 1})


async def test_a_webhook_returns_a_code_before_it_gets_an_array_of_one_event(
    dispatcher: Dispatcher, grid: EventGrid, webhook: WebhookServer
) -> None:
    await dispatcher.subscribe(to(webhook))
    publish(grid)
    await dispatcher.deliver_due()
    handshake, delivery = webhook.received
    assert handshake.body[0]["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert handshake.body[0]["topic"] == "/SUBSCRIPTIONS/S/HUB"
    assert handshake.path == delivery.path == "/hook?code=a%2Bb=="
    assert delivery.headers["aeg-event-type"] == "Notification"
    assert [event["data"] for event in delivery.body] == [{"a": 1}]
    assert grid.subscription("hook").counts["delivered"] == 1


async def test_a_webhook_of_cloud_events_answers_options_before_it_gets_one_object(
    dispatcher: Dispatcher, grid: EventGrid, webhook: WebhookServer
) -> None:
    await dispatcher.subscribe(to(webhook, EventSchema.CLOUD_EVENTS))
    publish(grid)
    await dispatcher.deliver_due()
    handshake, delivery = webhook.received
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
        (EventSchema.EVENT_GRID, None),
    ],
)
async def test_a_webhook_that_fails_the_handshake_gets_no_subscription(
    dispatcher: Dispatcher,
    grid: EventGrid,
    webhook: WebhookServer,
    schema: EventSchema,
    answer: Callable[[], web.Response] | None,
) -> None:
    if answer is None:
        webhook.url = "http://127.0.0.1:1/hook"
    else:
        webhook.answer = lambda _: answer()
    with pytest.raises(EndpointNotValidated) as caught:
        await dispatcher.subscribe(to(webhook, schema))
    assert grid.subscriptions() == []
    assert "code=" not in str(caught.value)


async def test_a_webhook_that_fails_gets_the_event_again_with_a_higher_count(
    dispatcher: Dispatcher, grid: EventGrid, webhook: WebhookServer, clock: Clock
) -> None:
    await dispatcher.subscribe(to(webhook))
    publish(grid)
    webhook.answer = lambda _: web.Response(status=500)
    await dispatcher.deliver_due()
    webhook.answer = accept
    await dispatcher.deliver_due()
    clock.advance(timedelta(seconds=11))
    await dispatcher.deliver_due()
    _, first, second = webhook.received
    assert first.body == second.body
    counts = [received.headers["aeg-delivery-count"] for received in (first, second)]
    assert counts == ["0", "1"]


async def test_a_redirect_or_no_answer_is_a_failure(
    dispatcher: Dispatcher, grid: EventGrid, webhook: WebhookServer, clock: Clock
) -> None:
    await dispatcher.subscribe(to(webhook))
    publish(grid)
    webhook.answer = lambda _: web.Response(status=307, headers={"Location": "/hook"})
    await dispatcher.deliver_due()
    assert len(webhook.received) == 2
    assert grid.subscription("hook").counts["failedAttempts"] == 1

    webhook.answer = no_answer
    grid.settings = replace(grid.settings, response_wait_seconds=0.05, most_attempts=2)
    clock.advance(timedelta(minutes=1))
    await dispatcher.deliver_due()
    assert [letter.outcome for letter in grid.dead_letters] == ["TimedOut"]


async def test_a_delivery_to_an_unreachable_queue_is_retried(
    dispatcher: Dispatcher, grid: EventGrid, clock: Clock
) -> None:
    subscription = EventSubscription(
        name="queue", topic=Topic.HUB, destination=StorageQueue("events")
    )
    state = grid.subscribe(subscription)
    publish(grid)
    await dispatcher.deliver_due()
    assert [delivery.due_at > clock.now() for delivery in state.waiting] == [True]


async def test_the_event_grid_triggers_of_a_function_app_get_both_schemas(
    dispatcher: Dispatcher, grid: EventGrid
) -> None:
    async with host_running("events", {}) as host, ClientSession() as session:
        for function, schema in (
            ("device_event", EventSchema.EVENT_GRID),
            ("cloud_event", EventSchema.CLOUD_EVENTS),
        ):
            path = f"/runtime/webhooks/EventGrid?functionName={function}&code=key-of-the-system"
            await dispatcher.subscribe(
                EventSubscription(
                    name=function.replace("_", "-"),
                    topic=Topic.HUB,
                    destination=Webhook(host.url(path)),
                    schema=schema,
                )
            )
        publish(grid)
        await dispatcher.deliver_due()
        async with session.get(host.url("/api/seen")) as response:
            seen = await response.json()
    assert seen == ["Microsoft.Devices.DeviceCreated devices/d"] * 2
    assert [state.waiting for state in grid.subscriptions()] == [[], []]
