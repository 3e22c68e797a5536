"""Queue triggers, with the semantics of Azure's storage extension.

A message is invisible for ten minutes while its function runs, and the time is renewed. It is
deleted on success; on failure it becomes visible again after `visibilityTimeout`, and after
`maxDequeueCount` attempts it moves to `<queue>-poison`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto
from random import Random

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_azure.functions_host.functions import Function, Succeeded
from local_azure.functions_host.host_json import QueueOptions
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_outputs import send_making_the_queue
from local_azure.functions_host.storage import STORAGE_ERRORS

_LOG = logging.getLogger("functions_host.queues")
_INVISIBLE = timedelta(minutes=10)
_LEAST_POLLING = timedelta(milliseconds=100)
_POISON = "-poison"
_LONGEST_NAME = 63


class _Outcome(Enum):
    SUCCEEDED = auto()
    RETRY = auto()
    POISON = auto()  # it has failed maxDequeueCount times


class PollingInterval:
    """How long to wait before asking an empty queue again: doubled each time, with jitter."""

    def __init__(self, *, most: timedelta, random: Random) -> None:
        self._most = most
        self._random = random
        self._next = _LEAST_POLLING

    def reset(self) -> None:
        """A message was there: poll quickly again."""
        self._next = _LEAST_POLLING

    def next_seconds(self) -> float:
        """The pause before the next poll."""
        interval = min(self._next, self._most)
        self._next = interval * 2
        jittered = interval * self._random.uniform(0.8, 1.2)
        return min(jittered, self._most).total_seconds()


class QueueListener:
    """Runs a function for every message of its queue."""

    def __init__(
        self,
        *,
        function: Function,
        queue_name: str,
        service: QueueServiceClient,
        options: QueueOptions,
        invoker: Invoker,
        running: RunningTasks,
        random: Random,
    ) -> None:
        self._function = function
        self._options = options
        self._invoker = invoker
        self._running = running
        self._queue = service.get_queue_client(queue_name)
        self._poison_queue = _poison_queue(service, queue_name)
        self._polling = PollingInterval(most=options.max_polling_interval, random=random)
        self._processing: set[asyncio.Task[None]] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Poll until `stopping` is set, also while storage does not answer."""
        while not stopping.is_set():
            batch = await self._receive()
            for message in batch:
                task = self._running.start(self._process(message))
                self._processing.add(task)
                task.add_done_callback(self._processing.discard)
            if batch:
                self._polling.reset()
                await self._wait_for_room(stopping)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._polling.next_seconds())

    async def _receive(self) -> list[QueueMessage]:
        try:
            pages = self._queue.receive_messages(
                messages_per_page=self._options.batch_size,
                max_messages=self._options.batch_size,
                visibility_timeout=int(_INVISIBLE.total_seconds()),
            ).by_page()
            async for page in pages:
                return [message async for message in page]
        except ResourceNotFoundError:
            pass  # the host makes no queue of a trigger: it waits until there is one
        except STORAGE_ERRORS as error:
            _LOG.warning(
                "%s: %s cannot be read now: %s",
                self._function.name,
                self._queue.queue_name,
                type(error).__name__,
            )
        return []

    async def _wait_for_room(self, stopping: asyncio.Event) -> None:
        """Wait until no more messages are under way than the threshold."""
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            while len(self._processing) > self._options.threshold and not stopping.is_set():
                await asyncio.wait(
                    {stopped, *self._processing}, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            stopped.cancel()

    async def _process(self, message: QueueMessage) -> None:
        renewal = asyncio.create_task(self._keep_invisible(message))
        try:
            outcome = await self._try(message)
        finally:
            renewal.cancel()
        try:
            await self._settle(message, outcome)
        except STORAGE_ERRORS as error:
            if _is_someone_elses(error):
                return
            _LOG.warning(
                "%s: message %s stays until its invisibility ends: %s",
                self._function.name,
                message.id,
                type(error).__name__,
            )

    async def _try(self, message: QueueMessage) -> _Outcome:
        if _attempts(message) > self._options.max_dequeue_count:
            return _Outcome.POISON
        text = _text(message)
        result = await self._invoker.invoke(
            self._function, TypedData(string=text), _metadata(message, text)
        )
        if isinstance(result, Succeeded):
            return _Outcome.SUCCEEDED
        last = _attempts(message) >= self._options.max_dequeue_count
        return _Outcome.POISON if last else _Outcome.RETRY

    async def _settle(self, message: QueueMessage, outcome: _Outcome) -> None:
        if outcome is _Outcome.SUCCEEDED:
            await self._queue.delete_message(message)
        elif self._poison_queue is None:
            pass  # a failed poison message stays invisible for its ten minutes
        elif outcome is _Outcome.RETRY:
            again = int(self._options.visibility_timeout.total_seconds())
            await self._queue.update_message(message, visibility_timeout=again)
        else:
            await self._move_to_poison(message, self._poison_queue)

    async def _move_to_poison(self, message: QueueMessage, poison_queue: QueueClient) -> None:
        _LOG.warning(
            "%s: message %s moves to %s after %d attempts",
            self._function.name,
            message.id,
            poison_queue.queue_name,
            _attempts(message),
        )
        await send_making_the_queue(poison_queue, _text(message))
        await self._queue.delete_message(message)

    async def _keep_invisible(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(_INVISIBLE.total_seconds() / 2)
            try:
                renewed = await self._queue.update_message(
                    message, visibility_timeout=int(_INVISIBLE.total_seconds())
                )
            except STORAGE_ERRORS as error:
                _LOG.warning("message %s was not renewed: %s", message.id, type(error).__name__)
            else:
                message.pop_receipt = renewed.pop_receipt


def _poison_queue(service: QueueServiceClient, queue_name: str) -> QueueClient | None:
    """None for a queue that is a poison queue itself, or whose name is too long to have one."""
    if queue_name.endswith(_POISON) or len(queue_name + _POISON) > _LONGEST_NAME:
        return None
    return service.get_queue_client(queue_name + _POISON)


def _text(message: QueueMessage) -> str:
    return message.content or ""  # the SDK has None for a message without text


def _attempts(message: QueueMessage) -> int:
    return message.dequeue_count or 0


def _is_someone_elses(error: Exception) -> bool:
    """Whether the message was received by another host, or deleted alone or with its queue."""
    if not isinstance(error, HttpResponseError):
        return False
    code = getattr(error, "error_code", None)
    return error.status_code == 404 or code == "PopReceiptMismatch"


def _metadata(message: QueueMessage, text: str) -> dict[str, TypedData]:
    return {
        "QueueTrigger": TypedData(string=text),
        "Id": TypedData(string=message.id),
        "PopReceipt": TypedData(string=message.pop_receipt),
        "DequeueCount": TypedData(json=json.dumps(_attempts(message))),
        "InsertionTime": _time(message.inserted_on),
        "ExpirationTime": _time(message.expires_on),
        "NextVisibleTime": _time(message.next_visible_on),
    }


def _time(at: datetime | None) -> TypedData:
    return TypedData(json=json.dumps(None if at is None else at.isoformat()))
