"""Invocations: running a function, and keeping track of those under way."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

from local_azure.functions_host.functions import Failed, Function, Succeeded
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_outputs import QueueOutputs
from local_azure.functions_host.storage import STORAGE_ERRORS
from local_azure.functions_host.worker import PythonWorker

_LOG = logging.getLogger("functions_host")


class RunningTasks:
    """Work that was begun and should end before the host does."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that outlives its caller."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, seconds: float) -> bool:
        """Wait for all of it, and for what it begins. False when the time was too short."""
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return True


class Invoker:
    """Runs functions, logs their failures and sends their outputs."""

    def __init__(
        self, worker: PythonWorker, *, outputs: QueueOutputs, function_timeout: timedelta
    ) -> None:
        self._worker = worker
        self._outputs = outputs
        self._timeout_seconds = function_timeout.total_seconds()
        self.under_way = 0

    async def invoke(
        self,
        function: Function,
        data: TypedData,
        metadata: Mapping[str, TypedData] | None = None,
        *,
        trace_parent: str | None = None,
    ) -> Succeeded | Failed:
        """Run a function once. A failure is logged and returned, never raised."""
        self.under_way += 1
        try:
            result = await self._worker.invoke(
                function,
                invocation_id=str(uuid4()),
                trace_parent=trace_parent
                or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00",
                data=data,
                metadata=metadata or {},
                timeout_seconds=self._timeout_seconds,
            )
            if isinstance(result, Succeeded):
                result = await self._send_outputs(function, result)
        finally:
            self.under_way -= 1
        if isinstance(result, Failed):
            _LOG.error("%s failed: %s\n%s", function.name, result.message, result.stack_trace)
        return result

    async def _send_outputs(self, function: Function, result: Succeeded) -> Succeeded | Failed:
        try:
            for name, data in result.outputs.items():
                await self._outputs.send(function.binding(name).settings["queueName"], data)
        except STORAGE_ERRORS as error:
            return Failed(f"an output was not written: {type(error).__name__}")
        return result
