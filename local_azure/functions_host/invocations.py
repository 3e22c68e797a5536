"""Invocations: running a function, writing its outputs, keeping count of what is running."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from local_azure.functions_host.host_json import QueueOptions
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_messages import encode, messages
from local_azure.functions_host.storage import STORAGE_ERRORS, StorageAccounts
from local_azure.functions_host.worker import Binding, Failed, Function, PythonWorker, Succeeded

_LOG = logging.getLogger("functions_host")


class RunningTasks:
    """What has begun and should end before the host does."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins work that outlives its caller."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, seconds: float) -> bool:
        """Waits for all of it, and for what it begins. False when there was not time enough."""
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return True


class Invoker:
    """Runs functions and does with their results what their output bindings say."""

    def __init__(
        self,
        *,
        worker: PythonWorker,
        storage: StorageAccounts,
        queue_options: QueueOptions,
        new_id: Callable[[], str],
    ) -> None:
        self._worker = worker
        self._storage = storage
        self._encoding = queue_options.message_encoding
        self._new_id = new_id

    async def invoke(
        self,
        function: Function,
        data: TypedData,
        metadata: Mapping[str, TypedData] | None = None,
        *,
        trace_parent: str | None = None,
    ) -> Succeeded | Failed:
        """Runs a function once. A failure is logged and returned, never raised.

        As on Azure, an output that cannot be written fails the invocation.
        """
        result = await self._worker.invoke(
            function,
            invocation_id=self._new_id(),
            trace_parent=trace_parent or _new_trace_parent(),
            data=data,
            metadata=metadata or {},
        )
        if isinstance(result, Succeeded):
            try:
                await self._write_queues(function, result)
            except (*STORAGE_ERRORS, UnicodeDecodeError) as error:
                result = Failed(f"{type(error).__name__}: {error}", "while writing a queue output")
        if isinstance(result, Failed):
            _LOG.error("%s failed: %s\n%s", function.name, result.message, result.stack_trace)
        return result

    async def _write_queues(self, function: Function, result: Succeeded) -> None:
        for binding in function.outputs("queue"):
            if (value := result.outputs.get(binding.name)) is not None:
                await self._write_queue(binding, messages(value))

    async def _write_queue(self, binding: Binding, contents: list[bytes]) -> None:
        queue = self._storage.queue(binding)
        for content in contents:
            stored = encode(content, encoding=self._encoding)
            try:
                await queue.send_message(stored)
            except ResourceNotFoundError:
                await queue.create_queue()
                await queue.send_message(stored)


def _new_trace_parent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
