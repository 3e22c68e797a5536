"""Queue outputs: messages that a function leaves behind when it succeeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.storage import StorageAccount


class QueueOutputs:
    """Sends what functions have set. A queue that is missing is made."""

    def __init__(self, storage: StorageAccount) -> None:
        self._storage = storage

    async def send(self, queue_name: str, data: TypedData) -> None:
        """Send one output: each item of a list is a message of its own."""
        queue = self._storage.queues.get_queue_client(queue_name)
        for text in _texts(data):
            await send_making_the_queue(queue, text)


async def send_making_the_queue(queue: QueueClient, text: str) -> None:
    """Send a message; make the queue first where there is none."""
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):  # another host was faster
            await queue.create_queue()
        await queue.send_message(text)


def _texts(data: TypedData) -> Sequence[str]:
    if data.json is not None:
        found = json.loads(data.json)
        items = found if isinstance(found, list) else [found]
        return [item if isinstance(item, str) else _indented(item) for item in items]
    text = data.string if data.string is not None else (data.bytes or b"").decode()
    try:
        found = json.loads(text)
    except ValueError:
        return [text]
    return [_indented(found) if isinstance(found, dict | list) else text]


def _indented(value: object) -> str:
    """JSON as the host writes it, whatever its form was."""
    return json.dumps(value, indent=2, ensure_ascii=False)
