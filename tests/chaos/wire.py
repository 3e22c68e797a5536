"""Every HTTP request of one process, counted; the process dies at one of them.

The requests are those of the real adapters' SDKs. A process is a context: its tasks, and the
threads that they call, belong to it. Once dead, none of its requests is sent.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
import requests
from azure.core.pipeline.transport import AioHttpTransport

from tests.end_to_end.faults import Crashed

_PROCESS: contextvars.ContextVar[tuple[Process, int] | None] = contextvars.ContextVar(
    "process", default=None
)
"""The process that the code belongs to, and which of its lives."""


class When(StrEnum):
    """When a process dies at a request."""

    BEFORE = "crash before"
    AFTER = "crash after"


@dataclass
class Process:
    """One process, which dies at the requests with these numbers, counted from 1."""

    crashes: Mapping[int, When] = field(default_factory=dict)
    requests: int = 0
    life: int = 0
    """Which of its lives it is in: each death ends one, and what is left of that stays dead."""
    died: Counter[str] = field(default_factory=Counter)
    after_request: Callable[[], None] | None = None

    async def run[T](self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work as this process, or the one started after it. Raises Crashed where it dies."""
        life = self.life

        async def as_this() -> T:
            _PROCESS.set((self, life))
            return await work()

        try:
            return await asyncio.create_task(as_this())
        except Exception:
            if life != self.life:  # an SDK has made another error of it
                raise Crashed from None
            raise

    def begin(self, life: int) -> int:
        """Note a request; returns its number. Raises Crashed instead of sending it."""
        self._check(life)
        self.requests += 1
        self._die(self.requests, When.BEFORE)
        return self.requests

    def end(self, number: int, life: int) -> None:
        """Note an answer. Raises Crashed instead of passing it on."""
        if self.after_request is not None:
            self.after_request()
        self._check(life)
        self._die(number, When.AFTER)

    def _check(self, life: int) -> None:
        if life != self.life:
            raise Crashed

    def _die(self, number: int, when: When) -> None:
        if self.crashes.get(number) is when:
            self.life += 1
            self.died[when.value] += 1
            raise Crashed


@contextmanager
def counted_requests(*, but: str) -> Iterator[None]:
    """Count the requests of each process, but those to addresses that begin with `but`.

    Bearer tokens are kept for hours, so that requests for them come at no certain place.
    """
    send, send_in_thread = AioHttpTransport.send, requests.Session.send

    async def counted(self: AioHttpTransport, request: Any, **more: Any) -> Any:  # noqa: ANN401
        found = _PROCESS.get()
        if found is None or str(request.url).startswith(but):
            return await send(self, request, **more)
        process, life = found
        number = process.begin(life)
        answer = await send(self, request, **more)
        process.end(number, life)
        return answer

    def counted_in_thread(self: requests.Session, request: Any, **more: Any) -> Any:  # noqa: ANN401
        found = _PROCESS.get()
        if found is None or str(request.url).startswith(but):
            return send_in_thread(self, request, **more)
        process, life = found
        number = process.begin(life)
        answer = send_in_thread(self, request, **more)
        process.end(number, life)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AioHttpTransport, "send", counted)
        patch.setattr(requests.Session, "send", counted_in_thread)
        yield
