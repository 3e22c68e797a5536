"""A writer of a list of clients that knows nothing of firstpull: it reads, changes, writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from benchmarks.apps import Bench, operator_token

_API = "2025-11-01"
_PAUSE_SECONDS = 0.5
_PERMANENT = 2


@dataclass(kw_only=True)
class ForeignWriter:
    """Puts a token of its own into a list and takes it out again, in turn, as `az` does."""

    bench: Bench
    connected_registry: str
    writes: int = 0
    reads: int = 0
    _headers: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._headers = {"Authorization": f"Bearer {operator_token(self.bench.stack)}"}

    @property
    def token(self) -> str:
        """The name of its token."""
        return f"foreign-{self.connected_registry}"

    @property
    def permanent(self) -> frozenset[str]:
        """The names of its tokens that stay in the list."""
        return frozenset(f"{self.token}-{number}" for number in range(_PERMANENT))

    async def prepare(self) -> None:
        """Make its tokens, and put all but the first one into the list for good."""
        registry = self.bench.stack.cloud.registries()[0]
        scope_map = f"{registry.registry_id}/scopeMaps/_repositories_pull"
        for name in (self.token, *self.permanent):
            registry.put_token(name, scope_map_id=scope_map)
        async with aiohttp.ClientSession(headers=self._headers) as session:
            ids = [f"{registry.registry_id}/tokens/{name}" for name in sorted(self.permanent)]
            await self._write(session, ids)

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Write without an end while the block runs; a write under way ends before it does."""
        stop = asyncio.Event()
        writing = asyncio.create_task(self._write_on(stop))
        try:
            yield
        finally:
            stop.set()
            await writing

    async def _write_on(self, stop: asyncio.Event) -> None:
        token_id = f"{self.bench.stack.registry_id}/tokens/{self.token}"
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while not stop.is_set():
                listed = await self._read(session)
                others = [each for each in listed if each != token_id]
                await self._write(session, others if token_id in listed else [*others, token_id])
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self, session: aiohttp.ClientSession) -> list[str]:
        self.reads += 1
        async with session.get(self._url) as answer:
            answer.raise_for_status()
            listed: list[str] = (await answer.json())["properties"]["clientTokenIds"]
            return listed

    async def _write(self, session: aiohttp.ClientSession, token_ids: list[str]) -> None:
        self.writes += 1
        body = {"properties": {"clientTokenIds": token_ids}}
        async with session.patch(self._url, json=body) as answer:
            answer.raise_for_status()

    @property
    def _url(self) -> str:
        stack = self.bench.stack
        path = f"{stack.registry_id}/connectedRegistries/{self.connected_registry}"
        return f"{stack.arm_endpoint}{path}?api-version={_API}"
