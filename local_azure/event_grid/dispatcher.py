"""Delivers events to storage queues and webhooks."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueServiceClient
from yarl import URL

from local_azure.event_grid.events import EventSchema, document
from local_azure.event_grid.exceptions import EndpointNotValidated
from local_azure.event_grid.models import Delivery, EventGrid
from local_azure.event_grid.subscriptions import EventSubscription, StorageQueue, Webhook
from local_azure.kernel.background import in_background
from local_azure.kernel.clock import Clock, dotnet_time

_ORIGIN = "eventgrid.azure.net"
_TICK_SECONDS = 0.02
_PARALLEL_DELIVERIES = 16


class Dispatcher:
    """Delivers due events, a few at a time to each subscription."""

    def __init__(
        self, grid: EventGrid, *, clock: Clock, session: ClientSession, queues: QueueServiceClient
    ) -> None:
        self.grid = grid
        self._clock = clock
        self._session = session
        self._queues = queues
        self._free: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_PARALLEL_DELIVERIES)
        )  # by subscription, so that a slow one does not delay the others

    async def subscribe(self, subscription: EventSubscription) -> None:
        """Create a subscription, after creating its queue or validating its webhook.

        Raises EndpointNotValidated and SubscriptionExists.
        """
        match subscription.destination:
            case StorageQueue(name):
                with suppress(ResourceExistsError):
                    await self._queues.create_queue(name)
            case Webhook(url):
                await self._validate(URL(url, encoded=True), subscription)
        self.grid.subscribe(subscription)

    async def deliver_due(self) -> None:
        """Deliver all due events, and wait for every answer."""
        await asyncio.gather(*(self._deliver(each) for each in self.grid.take_due()))

    async def keep_delivering(self) -> None:
        """Deliver events when they are due, until cancelled."""
        async with asyncio.TaskGroup() as deliveries:
            while True:
                for each in self.grid.take_due():
                    deliveries.create_task(self._deliver(each))
                await asyncio.sleep(_TICK_SECONDS)

    async def _deliver(self, delivery: Delivery) -> None:
        async with self._free[delivery.subscription.name]:
            match delivery.subscription.destination:
                case StorageQueue(name):
                    status = await self._enqueue(name, delivery)
                case Webhook(url):
                    status = await self._post(URL(url, encoded=True), delivery)
        self.grid.settle(delivery, status=status)

    async def _enqueue(self, queue: str, delivery: Delivery) -> int | None:
        client = self._queues.get_queue_client(
            queue, message_encode_policy=TextBase64EncodePolicy()
        )
        event = document(delivery.event, delivery.subscription.schema)
        try:
            await client.send_message(json.dumps(event))
        except HttpResponseError as error:
            return error.status_code
        except AzureError:
            return None
        return 201

    async def _post(self, url: URL, delivery: Delivery) -> int | None:
        event = document(delivery.event, delivery.subscription.schema)
        is_cloud_event = delivery.subscription.schema is EventSchema.CLOUD_EVENTS
        try:
            async with self._session.post(
                url,
                json=event if is_cloud_event else [event],
                headers=_headers(delivery),
                timeout=self._timeout(),
                allow_redirects=False,
            ) as response:
                return response.status
        except (ClientError, TimeoutError):
            return None

    async def _validate(self, url: URL, subscription: EventSubscription) -> None:
        try:
            if subscription.schema is EventSchema.CLOUD_EVENTS:
                await self._validate_by_options(url)
            else:
                await self._validate_by_code(url, source=self.grid.topic_id(subscription.topic))
        except (ClientError, TimeoutError) as error:
            raise EndpointNotValidated(
                f"the handshake had no answer: {type(error).__name__}"
            ) from None

    async def _validate_by_code(self, url: URL, *, source: str) -> None:
        """The handshake of the Event Grid schema: the webhook returns a code."""
        code = self.grid.new_id()
        event = {
            "id": self.grid.new_id(),
            "topic": source,
            "subject": "",
            "data": {"validationCode": code},
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": dotnet_time(self._clock.now()),
            "metadataVersion": "1",
            "dataVersion": "1",
        }
        async with self._session.post(
            url,
            json=[event],
            headers={"aeg-event-type": "SubscriptionValidation"},
            timeout=self._timeout(),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise EndpointNotValidated(f"the handshake was answered with {response.status}")
            if _validation_response(await response.read()) != code:
                raise EndpointNotValidated("the handshake's answer does not return the code")

    async def _validate_by_options(self, url: URL) -> None:
        """The handshake of CloudEvents: the webhook allows the origin."""
        async with self._session.options(
            url,
            headers={"WebHook-Request-Origin": _ORIGIN},
            timeout=self._timeout(),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise EndpointNotValidated(f"the handshake was answered with {response.status}")
            if response.headers.get("WebHook-Allowed-Origin") not in {_ORIGIN, "*"}:
                raise EndpointNotValidated("the handshake's answer does not allow this origin")

    def _timeout(self) -> ClientTimeout:
        return ClientTimeout(total=self.grid.settings.response_wait_seconds)


@asynccontextmanager
async def run_dispatcher(
    grid: EventGrid, *, clock: Clock, trust: SSLContext, queue_connection_string: str
) -> AsyncIterator[Dispatcher]:
    """A running dispatcher. `trust` verifies the certificates of storage and webhooks."""
    async with (
        ClientSession(connector=TCPConnector(ssl=trust)) as session,
        QueueServiceClient.from_connection_string(
            queue_connection_string,
            transport=AioHttpTransport(session=session, session_owner=False),
            retry_total=0,  # the grid itself retries
        ) as queues,
    ):
        dispatcher = Dispatcher(grid, clock=clock, session=session, queues=queues)
        async with in_background(dispatcher.keep_delivering()):
            yield dispatcher


def _headers(delivery: Delivery) -> dict[str, str]:
    common = {
        "aeg-event-type": "Notification",
        "aeg-subscription-name": delivery.subscription.name.upper(),
        "aeg-delivery-count": str(delivery.attempts),
        "aeg-output-event-id": delivery.event.id,
    }
    if delivery.subscription.schema is EventSchema.CLOUD_EVENTS:
        return common | {
            "aeg-metadata-version": "1.0",
            "Content-Type": "application/cloudevents+json; charset=utf-8",
        }
    return common | {
        "aeg-data-version": "1",
        "aeg-metadata-version": "1",
        "Content-Type": "application/json; charset=utf-8",
    }


def _validation_response(body: bytes) -> object:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer.get("validationResponse") if isinstance(answer, dict) else None
