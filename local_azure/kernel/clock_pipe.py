"""Moves the clock of a child process with the clock of the stack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from local_azure.kernel.clock import Clock

CONFIRMED = "clock ahead by "
"""How the process confirms a value: a line of its output, with the value behind it."""


class ClockPipe:
    """Writes to a process's standard input, in seconds, how far its clock is to be ahead."""

    def __init__(self) -> None:
        self._stdin: asyncio.StreamWriter | None = None
        self._sent = ""
        self._has_moved = asyncio.Event()

    @contextmanager
    def following(self, clock: Clock, process: asyncio.subprocess.Process) -> Iterator[None]:
        """Have the process follow `clock` while it runs."""
        self._stdin = process.stdin
        try:
            with clock.followed_by(self):
                yield
        finally:
            self._has_moved.set()

    def move(self, shift: timedelta) -> None:
        """Send a value."""
        self._sent = str(shift.total_seconds())
        self._has_moved.clear()
        if self._stdin is not None:
            self._stdin.write(f"{self._sent}\n".encode())

    async def has_moved(self) -> None:
        """Return when the process has confirmed the last value, or is followed no longer."""
        await self._has_moved.wait()

    def takes(self, line: str) -> bool:
        """Whether a line of the process's output confirms a value."""
        if not line.startswith(CONFIRMED):
            return False
        if line.removeprefix(CONFIRMED) == self._sent:
            self._has_moved.set()
        return True
