"""Reads that a pass begins before it is known whether it needs them.

A new device needs nearly everything that is read of it, and each read waits for an answer. So they
run side by side with those that decide what is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any


class Ahead:
    """The reads of one observation, by key. `end` drops those that nobody came for."""

    def __init__(self) -> None:
        self._reads: dict[Hashable, asyncio.Task[Any]] = {}

    def begin[V](self, key: Hashable, read: Callable[[], Coroutine[Any, Any, V]]) -> None:
        """Begin a read."""
        self._reads[key] = asyncio.create_task(read())

    async def get[V](self, key: Hashable, read: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What the read of this key has found, else what `read` finds now."""
        begun = self.begun(key)
        found: V = await (read() if begun is None else begun)
        return found

    def begun(self, key: Hashable) -> Awaitable[Any] | None:
        """The read of this key, if it was begun."""
        begun = self._reads.get(key)
        return asyncio.shield(begun) if begun is not None else None

    async def end(self) -> None:
        """Give up the reads that have not ended. Nobody waits for their errors any more."""
        reads, self._reads = self._reads.values(), {}
        for read in reads:
            read.cancel()
        for read in reads:
            with suppress(BaseException):
                await read
