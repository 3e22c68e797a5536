"""The worker process of a host: started, asked, ended, and started again when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from local_azure.functions_host.functions import AppRejected, Failed, Function, Succeeded
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.worker_messages import (
    Ended,
    Invoke,
    Load,
    Loaded,
    MoveClock,
    Rejected,
    read_message,
    write_message,
)

_LOG = logging.getLogger("functions_host.worker")
_MODULE = "local_azure.functions_host.python_worker"
_END_SECONDS = 5.0


class PythonWorker:
    """An app in a process of its own. All that runs in it ends when that process ends."""

    def __init__(self, app_folder: Path, *, clock_ahead: float) -> None:
        self.functions: tuple[Function, ...] = ()
        self._app_folder = app_folder
        self._clock_ahead = clock_ahead
        self._clock_moved: asyncio.Future[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._under_way: dict[str, asyncio.Future[Succeeded | Failed]] = {}
        self._serves = asyncio.Event()

    @classmethod
    async def spawn(cls, app_folder: Path, *, clock_ahead: float = 0.0) -> Self:
        """A process that has begun to load the app."""
        worker = cls(app_folder, clock_ahead=clock_ahead)
        await worker._spawn()
        return worker

    async def load(self) -> None:
        """Wait until the app is loaded. Raises AppRejected."""
        answer = await read_message(self._reader)
        if isinstance(answer, Rejected):
            raise AppRejected(answer.message, answer.stack_trace)
        if not isinstance(answer, Loaded):
            raise AppRejected("the worker ended while it loaded the app")
        self.functions = answer.functions
        self._serves.set()

    async def keep_running(self) -> None:
        """Take answers, and start a new process for one that ends. Raises AppRejected."""
        while True:
            await self._take_answers()
            self._serves.clear()
            for result in self._under_way.values():
                if not result.done():
                    result.set_result(Failed("the worker process ended"))
            code = await self._ended()
            _LOG.error("the worker process ended (exit code %s); a new one is started", code)
            await self._spawn()
            self._confirm_clock()  # it begins with the last value
            await self.load()

    async def invoke(
        self,
        function: Function,
        *,
        invocation_id: str,
        trace_parent: str,
        data: TypedData,
        metadata: Mapping[str, TypedData],
        timeout_seconds: float,
    ) -> Succeeded | Failed:
        """Run a function once. One that takes too long ends the process, as on Azure."""
        await self._serves.wait()
        result = asyncio.get_running_loop().create_future()
        self._under_way[invocation_id] = result
        invocation = Invoke(
            invocation_id=invocation_id,
            function_id=function.id,
            trigger_name=function.trigger.name,
            trace_parent=trace_parent,
            data=data,
            metadata=metadata,
        )
        write_message(self._writer, invocation)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(result)
        except TimeoutError:
            self.kill()
            return Failed(f"it ran longer than functionTimeout, {timeout_seconds:g} s")
        finally:
            del self._under_way[invocation_id]

    async def move_clock(self, ahead: float) -> None:
        """Be ahead of the machine's clock by these seconds; return when the process is."""
        self._clock_ahead = ahead
        self._clock_moved = asyncio.get_running_loop().create_future()
        write_message(self._writer, MoveClock(ahead))
        await self._clock_moved

    def kill(self) -> None:
        """End the process with all that runs in it."""
        self._serves.clear()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the process when nothing runs in it any more, or after a moment."""
        self._serves.clear()
        self._writer.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._ended()
        except TimeoutError:
            self.kill()
            await self._ended()

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())),
                cwd=self._app_folder,
                # It finds each module where this process does.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        load = Load(app_folder=self._app_folder, clock_ahead=self._clock_ahead)
        write_message(self._writer, load)

    async def _take_answers(self) -> None:
        while (message := await read_message(self._reader)) is not None:
            if isinstance(message, Ended):
                result = self._under_way.get(message.invocation_id)
                if result is not None and not result.done():
                    result.set_result(message.result)
            elif isinstance(message, MoveClock):
                self._confirm_clock()

    def _confirm_clock(self) -> None:
        if self._clock_moved is not None and not self._clock_moved.done():
            self._clock_moved.set_result(None)

    async def _ended(self) -> int | None:
        return None if self._process is None else await self._process.wait()
