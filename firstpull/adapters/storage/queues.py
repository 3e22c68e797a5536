"""The queue of reconcile requests, and the poison queues."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import SERVICE, StorageServices, create_queue
from firstpull.intake.poison_queue import StoredMessage
from firstpull.model.device_key import DeviceKey
from firstpull.observability import telemetry

_WORK_QUEUE = "device-work"
_POISON = "-poison"
_PEEK = 32
_LONGEST_DELAY = 7 * 24 * 3600 - 1


class QueueWork:
    """Implements `WorkQueue`."""

    def __init__(self, services: StorageServices) -> None:
        # Plain text: host.json has messageEncoding none, so people may write plain or base64.
        self._queue = services.queues.get_queue_client(_WORK_QUEUE)

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Send a reconcile request that becomes visible after a delay of at most seven days."""
        request = {"hub": device.hub, "deviceId": device.device_id, **telemetry.headers()}
        text = json.dumps(request)
        delay = min(math.ceil(delay_seconds), _LONGEST_DELAY)
        async with azure_errors(SERVICE):
            await self._queue.send_message(text, visibility_timeout=delay)


class PoisonStorage:
    """Implements `PoisonQueues`: `<queue>-poison`, as the Functions host names them."""

    def __init__(self, services: StorageServices) -> None:
        self._services = services

    async def keep(self, queue: str, text: str) -> None:
        """Put a message into the poison queue, without expiry."""
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(SERVICE):
            try:
                await poison.send_message(text, time_to_live=-1)
            except ResourceNotFoundError:
                await create_queue(poison)
                await poison.send_message(text, time_to_live=-1)

    async def peek(self, queue: str) -> tuple[StoredMessage, ...]:
        """The oldest messages, at most 32; the queue keeps them unchanged."""
        async with azure_errors(SERVICE):
            try:
                found = await self._queue(f"{queue}{_POISON}").peek_messages(_PEEK)
            except ResourceNotFoundError:
                return ()
        return tuple(
            StoredMessage(
                id=message.id, text=str(message.content or ""), inserted_at=message.inserted_on
            )
            for message in found
        )

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        """Put `text` into the queue and remove the rejected message. False if it has gone."""
        async with self._taken(queue, (message_id,)) as messages:
            for message in messages:
                await self._queue(queue).send_message(text)
                await self._queue(f"{queue}{_POISON}").delete_message(message)
        return bool(messages)

    async def discard(self, queue: str, message_ids: Collection[str]) -> int:
        """Remove these messages, of the oldest 32, from the poison queue. Returns how many."""
        async with self._taken(queue, message_ids) as messages:
            for message in messages:
                await self._queue(f"{queue}{_POISON}").delete_message(message)
        return len(messages)

    @asynccontextmanager
    async def _taken(
        self, queue: str, message_ids: Collection[str]
    ) -> AsyncIterator[list[QueueMessage]]:
        """Messages, received; the others of their batch become visible again at once."""
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(SERVICE):
            try:
                pages = poison.receive_messages(
                    messages_per_page=_PEEK, max_messages=_PEEK, visibility_timeout=30
                )
                received = [message async for message in pages]
            except ResourceNotFoundError:
                received = []
            for other in received:
                if other.id not in message_ids:
                    await poison.update_message(other, visibility_timeout=0)
            yield [message for message in received if message.id in message_ids]

    def _queue(self, name: str) -> QueueClient:
        return self._services.queues.get_queue_client(name)
