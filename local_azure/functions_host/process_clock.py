"""The clock of this process, moved with the clock of the stack."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any


class ProcessClock:
    """Moves the time that all code in this process reads, that of SDKs included."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._traveller: Any = None

    def move(self, ahead: float) -> None:
        """Be ahead of the machine's clock by these seconds."""
        by, self._ahead = ahead - self._ahead, ahead
        if self._traveller is not None:
            self._traveller.shift(timedelta(seconds=by))
        elif by != 0:
            # Imported late: it takes most of a second where pytest is installed.
            time_machine = importlib.import_module("time_machine")
            self._traveller = time_machine.travel(time.time() + by).start()
            time.time()  # it stands still until somebody reads it, which may be seconds later


class ClockFollower:
    """Moves a process's clock as standard input says: seconds, one value a line."""

    def __init__(self, clock: ProcessClock) -> None:
        self._clock = clock
        self._lines = asyncio.StreamReader()
        self._first = ""

    async def start(self) -> float:
        """Take the first value, which is there from the start; how far the clock is ahead."""
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines), sys.stdin
        )
        self._first = await self._next()
        ahead = float(self._first or "0")
        self._clock.move(ahead)
        return ahead

    async def run(self, move_worker: Callable[[float], Awaitable[None]]) -> None:
        """Follow until standard input ends, as it does with the process at its other end."""
        line = self._first
        while line:
            _confirm(line)
            if line := await self._next():
                self._clock.move(float(line))
                await move_worker(float(line))

    async def _next(self) -> str:
        return (await self._lines.readline()).decode().strip()


def _confirm(line: str) -> None:
    # Imported late: the kernel's own imports are not needed to start a worker.
    from local_azure.kernel.clock_pipe import CONFIRMED  # noqa: PLC0415 - see above

    print(f"{CONFIRMED}{line}", flush=True)  # noqa: T201 - the other process waits for it
