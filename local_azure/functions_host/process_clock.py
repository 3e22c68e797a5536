"""The clock of this process, moved with the clock of the stack."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from datetime import timedelta
from typing import Any

from local_azure.kernel.clock_pipe import CONFIRMED


class ProcessClock:
    """Moves the time that all code in this process reads: the host, the app and its SDKs."""

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


class ClockFollower:
    """Moves a process's clock as standard input says: seconds, one value a line."""

    def __init__(self, clock: ProcessClock) -> None:
        self._clock = clock
        self._lines = asyncio.StreamReader()

    async def start(self) -> None:
        """Take the first value, which is there from the start."""
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines), sys.stdin
        )
        await self._follow()

    async def run(self) -> None:
        """Follow until standard input ends, as it does with the process at its other end."""
        while await self._follow():
            pass

    async def _follow(self) -> bool:
        line = (await self._lines.readline()).decode().strip()
        if line:
            self._clock.move(float(line))
            print(f"{CONFIRMED}{line}", flush=True)  # noqa: T201 - the other process waits for it
        return bool(line)
