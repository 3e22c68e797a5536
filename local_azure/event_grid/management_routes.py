"""The management port's routes for Event Grid."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Self

from aiohttp import web
from pydantic import AfterValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from local_azure.event_grid.dispatcher import Dispatcher
from local_azure.event_grid.events import EventSchema, Json, Topic
from local_azure.event_grid.exceptions import (
    EndpointNotValidated,
    EventNotFound,
    SubscriptionExists,
    SubscriptionNotFound,
)
from local_azure.event_grid.models import DeliverySettings, SubscriptionState
from local_azure.event_grid.subscriptions import EventSubscription, StorageQueue, Webhook
from local_azure.management import Body, read_body

_DEFAULTS = DeliverySettings()


def _in_order(span: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= span[0] <= span[1]:
        raise ValueError(
            "the first number is the minimum, the second the maximum; neither is negative"
        )
    return span


Span = Annotated[tuple[float, float], AfterValidator(_in_order)]
Positive = Annotated[float, Field(gt=0)]


class DeliveryBody(Body):
    """The delivery settings to change; see DeliverySettings."""

    delay_seconds: Span = _DEFAULTS.delay_seconds
    duplicate_probability: Annotated[float, Field(ge=0, le=1)] = _DEFAULTS.duplicate_probability
    expiry_noticed_seconds: Span = _DEFAULTS.expiry_noticed_seconds
    retry_scale: Positive = _DEFAULTS.retry_scale
    most_attempts: Annotated[int, Field(ge=1)] = _DEFAULTS.most_attempts
    time_to_live_seconds: Positive = _DEFAULTS.time_to_live_seconds
    response_wait_seconds: Positive = _DEFAULTS.response_wait_seconds


class SubscriptionBody(Body):
    """An event subscription to create, with one of the two destinations."""

    name: str
    topic: Topic
    event_types: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    event_schema: Annotated[EventSchema, Field(alias="schema")] = EventSchema.EVENT_GRID
    queue_name: str | None = None
    webhook_url: Annotated[str | None, Field(repr=False)] = None

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        self.to_subscription()
        return self

    def to_subscription(self) -> EventSubscription:
        """The subscription. Raises ValueError for an invalid one."""
        match self.queue_name, self.webhook_url:
            case str(queue), None:
                destination: StorageQueue | Webhook = StorageQueue(queue)
            case None, str(url):
                destination = Webhook(url)
            case _:
                raise ValueError("needs either queueName or webhookUrl")
        return EventSubscription(
            name=self.name,
            topic=self.topic,
            destination=destination,
            event_types=self.event_types,
            schema=self.event_schema,
        )


class ResendBody(Body):
    """The events to send again; null means all remembered events."""

    event_ids: tuple[str, ...] | None = None


class EventGridRoutes:
    """Subscriptions, resending, delivery settings and dead letters."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._grid = dispatcher.grid

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        subscriptions = "/eventGrid/subscriptions"
        one = f"{subscriptions}/{{name}}"
        return [
            web.route("GET", subscriptions, self.list),
            web.route("POST", subscriptions, self.create),
            web.route("DELETE", one, self.delete),
            web.route("POST", f"{one}/pause", self.pause),
            web.route("POST", f"{one}/continue", self.go_on),
            web.route("POST", f"{one}/resend", self.resend),
            web.route("GET", f"{one}/events", self.events),
            web.route("GET", "/eventGrid/delivery", self.delivery),
            web.route("PATCH", "/eventGrid/delivery", self.change_delivery),
            web.route("GET", "/eventGrid/deadLetters", self.dead_letters),
        ]

    async def list(self, _: web.Request) -> web.Response:
        """The event subscriptions with their counts, and how many events there were."""
        return web.json_response(
            {
                "published": self._grid.published,
                "subscriptions": [_view(state) for state in self._grid.subscriptions()],
            }
        )

    async def create(self, request: web.Request) -> web.Response:
        """Creates one: {"name", "topic": "hub" or "vault", "queueName" or "webhookUrl"}."""
        subscription = (await read_body(request, SubscriptionBody)).to_subscription()
        try:
            await self._dispatcher.subscribe(subscription)
        except SubscriptionExists as error:
            raise web.HTTPConflict(reason="there is one of this name") from error
        except EndpointNotValidated as error:
            raise web.HTTPBadRequest(reason=str(error)) from error
        return web.json_response(_view(self._grid.subscription(subscription.name)), status=201)

    async def delete(self, request: web.Request) -> web.Response:
        """Deletes one with its waiting events."""
        self._grid.unsubscribe(self._state(request).subscription.name)
        return web.Response(status=204)

    async def pause(self, request: web.Request) -> web.Response:
        """Holds its events back until it continues."""
        state = self._state(request)
        state.paused = True
        return web.json_response(_view(state))

    async def go_on(self, request: web.Request) -> web.Response:
        """Delivers the events that were held back, and new ones."""
        state = self._state(request)
        state.paused = False
        return web.json_response(_view(state))

    async def resend(self, request: web.Request) -> web.Response:
        """Sends events again: {"eventIds": ["…"]}, or {} for all that it got."""
        state = self._state(request)
        body = await read_body(request, ResendBody)
        try:
            count = self._grid.resend(state.subscription.name, body.event_ids)
        except EventNotFound as error:
            raise web.HTTPNotFound(reason="it was not given one of these events") from error
        return web.json_response({"events": count})

    async def events(self, request: web.Request) -> web.Response:
        """The latest events that it got, the oldest first."""
        given = self._state(request).sent
        shown = [{"id": e.id, "eventType": e.type, "subject": e.subject} for e in given]
        return web.json_response({"events": shown})

    async def delivery(self, _: web.Request) -> web.Response:
        """The delivery settings: delay, duplicates, retries."""
        settings = asdict(self._grid.settings)
        return web.json_response({to_camel(name): value for name, value in settings.items()})

    async def change_delivery(self, request: web.Request) -> web.Response:
        """Changes the named settings: {"delaySeconds": [0, 5], "duplicateProbability": 0.5}."""
        body = await read_body(request, DeliveryBody)
        changes = body.model_dump(exclude_unset=True)
        self._grid.settings = replace(self._grid.settings, **changes)
        return await self.delivery(request)

    async def dead_letters(self, _: web.Request) -> web.Response:
        """The latest events that were given up, with the reason."""
        return web.json_response(
            {"deadLetters": [letter.document() for letter in self._grid.dead_letters]}
        )

    def _state(self, request: web.Request) -> SubscriptionState:
        try:
            return self._grid.subscription(request.match_info["name"])
        except SubscriptionNotFound as error:
            raise web.HTTPNotFound(reason="there is no such subscription") from error


def _view(state: SubscriptionState) -> Json:
    subscription = state.subscription
    match subscription.destination:
        case StorageQueue(name):
            destination = {"queueName": name}
        case Webhook() as webhook:
            destination = {"webhookUrl": webhook.shown_url}
    return {
        "name": subscription.name,
        "topic": subscription.topic,
        "eventTypes": subscription.event_types,
        "schema": subscription.schema,
        **destination,
        "paused": state.paused,
        "waiting": len(state.waiting),
        "counts": state.counts,
    }
