"""The queue of reconcile requests, and the poison queues."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import SERVICE, StorageServices, create_queue
from firstpull.intake.poison_queue import Front, StoredMessage
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

    async def peek(self, queue: str) -> Front:
        """The oldest messages, at most 32; the queue keeps them unchanged.

        A message that storage fails to deliver fails the whole answer. Those before it are asked
        for alone; one that is the oldest is set behind the others.
        """
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(SERVICE):
            try:
                found = await poison.peek_messages(_PEEK, retry_total=0)
            except ResourceNotFoundError:
                return Front(messages=())
            except HttpResponseError as error:
                if 400 <= (error.status_code or 0) < 500:
                    raise
                await poison.get_queue_properties()  # raises if storage answers nothing at all
                found, failing = await _before_failure(poison)
                if failing == 1:
                    await _set_back(poison)
                    found, _ = await _before_failure(poison)
                return Front(messages=_stored(found), is_whole=failing > _PEEK)
        return Front(messages=_stored(found))

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

    async def clear(self, queue: str) -> int:
        """Remove all messages from the poison queue. Returns about how many."""
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(SERVICE):
            try:
                properties = await poison.get_queue_properties()
                await poison.clear_messages()
            except ResourceNotFoundError:
                return 0
        return properties.approximate_message_count or 0

    @asynccontextmanager
    async def _taken(
        self, queue: str, message_ids: Collection[str]
    ) -> AsyncIterator[list[QueueMessage]]:
        """Messages, received; the others of their batch become visible again at once.

        No more than `peek` shows are received: a failing answer would hide them all for a while.
        """
        poison = self._queue(f"{queue}{_POISON}")
        shown = len((await self.peek(queue)).messages)
        if not shown:
            yield []
            return
        async with azure_errors(SERVICE):
            pages = poison.receive_messages(
                messages_per_page=shown, max_messages=shown, visibility_timeout=30
            )
            received = [message async for message in pages]
            for other in received:
                if other.id not in message_ids:
                    await poison.update_message(other, visibility_timeout=0)
            yield [message for message in received if message.id in message_ids]

    def _queue(self, name: str) -> QueueClient:
        return self._services.queues.get_queue_client(name)


async def _before_failure(poison: QueueClient) -> tuple[list[QueueMessage], int]:
    """As many of the oldest messages as storage delivers, and the place of the first failing."""
    found: list[QueueMessage] = []
    least, failing = 0, _PEEK + 1
    while failing - least > 1:
        size = (least + failing) // 2
        try:
            found, least = await poison.peek_messages(size, retry_total=0), size
        except HttpResponseError:
            failing = size
    return found, failing


async def _set_back(poison: QueueClient) -> None:
    """Set the oldest message behind the others: receiving it hides it for a second."""
    with suppress(HttpResponseError):
        pages = poison.receive_messages(max_messages=1, visibility_timeout=1, retry_total=0)
        async for _ in pages:
            return


def _stored(found: Iterable[QueueMessage]) -> tuple[StoredMessage, ...]:
    return tuple(
        StoredMessage(
            id=message.id, text=str(message.content or ""), inserted_at=message.inserted_on
        )
        for message in found
    )
