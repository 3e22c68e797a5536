"""Reads of a container registry that the devices in flight in this process share.

A burst of devices asks Azure Resource Manager once for what is the same for all of them. A read is
shared for a few seconds. What does not exist is never kept: somebody may be creating it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    RegistryId,
    ScopeMap,
    TokenId,
)
from firstpull.model.clock import Clock
from firstpull.model.ledger import Ledger
from firstpull.model.ports import ContainerRegistries, Ledgers, Stored, read_ledger

FRESH = timedelta(seconds=5)
"""How long a read is shared, from its beginning."""
_LEDGER_FRESH = timedelta(seconds=1)
"""A ledger changes with each device of a burst, also by other processes."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A connected registry (None if there is none), and its ledger just before."""

    connected_registry: ConnectedRegistry | None
    ledger: Ledger

    def with_ledger(self, ledger: Ledger) -> ConnectedRegistry | None:
        """The connected registry without the tokens that have left its ledger since the look.

        They have left the list, too; else their room would count as a foreign client's.
        """
        found = self.connected_registry
        if found is None:
            return None
        kept = tuple(
            token_id
            for token_id in found.client_token_ids
            if token_id in ledger.entries or token_id not in self.ledger.entries
        )
        return replace(found, client_token_ids=kept)


class SharedReads:
    """Single flight: concurrent callers wait for the same read. A process has one."""

    def __init__(self, *, registries: ContainerRegistries, ledgers: Ledgers, clock: Clock) -> None:
        self._registries = registries
        self._ledgers = ledgers
        self._clock = clock
        self._looks = _Shared[Look](clock)
        self._known_ledgers = _Shared[Stored[Ledger] | None](clock, fresh=_LEDGER_FRESH)
        self._listings = _Shared[None](clock)
        self._scope_maps = _Shared[ScopeMap | None](clock)
        self._writing: dict[Hashable, asyncio.Task[None]] = {}
        self._written: dict[Hashable, datetime] = {}
        self._synced = _Shared[frozenset[str]](clock)
        self._last_ledgers: dict[ConnectedRegistryRef, tuple[datetime, Stored[Ledger] | None]] = {}
        self._sync_tokens: dict[ConnectedRegistryRef, TokenId] = {}

    async def look_at(self, ref: ConnectedRegistryRef, *, since: datetime | None = None) -> Look:
        """A look at a connected registry, which began at `since` or later."""
        look = await self._looks.get(ref, partial(self._look_at, ref), since=since)
        if look.connected_registry is None:
            self.forget(ref)
        elif (sync_token_id := look.connected_registry.sync_token_id) is not None:
            self._sync_tokens[ref] = sync_token_id
        return look

    def sync_token_of(self, ref: ConnectedRegistryRef) -> TokenId:
        """The sync token of a connected registry as last seen, else the name that az gives it.

        A guess, by which a read may begin before the connected registry has answered.
        """
        return self._sync_tokens.get(ref) or ref.registry.token(ref.name)

    async def look_at_all(self, refs: Collection[ConnectedRegistryRef]) -> None:
        """Look at several connected registries by one listing of each container registry."""
        for registry in dict.fromkeys(ref.registry for ref in refs):
            here = tuple(ref for ref in refs if ref.registry == registry)
            await self._listings.get(here, partial(self._list, registry, here))

    async def ledger(self, ref: ConnectedRegistryRef) -> Ledger:
        """A ledger as this process wrote it last, else as it was at most a second ago."""
        stored = await self._known_ledgers.get(ref, partial(self._ledgers.get, ref))
        return stored.value if stored is not None else Ledger()

    def known_ledger(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        """A ledger as this process read or wrote it in the last seconds, to write on."""
        at, stored = self._last_ledgers.get(ref, (None, None))
        return stored if at is not None and at <= self._clock.now() <= at + FRESH else None

    def note_ledger(self, ref: ConnectedRegistryRef, stored: Stored[Ledger] | None) -> None:
        """Share a ledger that was just read or written."""
        now = self._clock.now()
        self._last_ledgers[ref] = now, stored
        self._known_ledgers.put(ref, stored, begun_at=now)

    def note(self, ref: ConnectedRegistryRef, look: Look) -> None:
        """Share what a write of the list, or the read before it, has shown."""
        self._looks.put(ref, look, begun_at=self._clock.now())

    def forget(self, ref: ConnectedRegistryRef) -> None:
        """Share no earlier look at a connected registry any more: its list changes."""
        self._looks.drop(ref)

    async def scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        """The scope map, None where there is none."""
        key = (registry, name)
        found = await self._scope_maps.get(
            key, lambda: self._registries.get_scope_map(registry, name)
        )
        if found is None:
            self._scope_maps.drop(key)
        return found

    async def write_scope_map(
        self,
        registry: RegistryId,
        wanted: ScopeMap,
        write: Callable[[], Coroutine[Any, Any, None]],
        *,
        since: datetime,
    ) -> None:
        """Write a scope map, unless another device does, or has since this one's pass began."""
        key = (registry, wanted.name, wanted.actions)
        if self._written.get(key, since) > since:
            return
        writing = self._writing.get(key)
        if writing is None or writing.done():
            writing = self._writing[key] = asyncio.create_task(self._write(key, write))
        await asyncio.shield(writing)
        self._scope_maps.put((registry, wanted.name), wanted, begun_at=self._written[key])

    async def _write(self, key: Hashable, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await write()
            self._written[key] = self._clock.now()
        finally:
            del self._writing[key]

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        """The scope actions of a sync token."""
        return await self._synced.get(
            sync_token_id, lambda: self._registries.synced_actions(registry, sync_token_id)
        )

    async def _look_at(self, ref: ConnectedRegistryRef) -> Look:
        stored = await self._ledgers.get(ref)
        self.note_ledger(ref, stored)
        found = await self._registries.get_connected_registry(ref)
        ledger = stored.value if stored is not None else Ledger()
        return Look(connected_registry=found, ledger=ledger)

    async def _list(self, registry: RegistryId, refs: tuple[ConnectedRegistryRef, ...]) -> None:
        begun_at = self._clock.now()
        ledgers = await asyncio.gather(*(read_ledger(self._ledgers, ref) for ref in refs))
        listed = await self._registries.list_connected_registries(registry)
        by_name = {found.name.casefold(): found for found in listed}
        for ref, ledger in zip(refs, ledgers, strict=True):
            found = by_name.get(ref.name.casefold())
            look = Look(connected_registry=found, ledger=ledger)
            self._looks.put(ref, look, begun_at=begun_at)


class _Shared[V]:
    """Reads by key, each shared from its beginning until it is no longer fresh."""

    def __init__(self, clock: Clock, *, fresh: timedelta = FRESH) -> None:
        self._clock = clock
        self._fresh = fresh
        self._reads: dict[Hashable, tuple[datetime, asyncio.Future[V]]] = {}
        self._dropped: dict[Hashable, datetime] = {}

    async def get(
        self,
        key: Hashable,
        read: Callable[[], Coroutine[Any, Any, V]],
        *,
        since: datetime | None = None,
    ) -> V:
        """The fresh read of this key, else a new one. Only its waiters share a failure."""
        now = self._clock.now()
        shared, oldest = self._reads.get(key), max(now - self._fresh, since or now - self._fresh)
        if shared is None or not oldest <= shared[0] <= now:  # later: the clock was set back
            self._reads = {k: r for k, r in self._reads.items() if now - r[0] <= self._fresh}
            shared = self._reads[key] = now, asyncio.create_task(read())
        try:
            return await asyncio.shield(shared[1])
        except BaseException:
            if self._reads.get(key) is shared and shared[1].done():
                del self._reads[key]
            raise

    def put(self, key: Hashable, value: V, *, begun_at: datetime) -> None:
        """Share the value of another read, unless an earlier value was dropped since it began."""
        if begun_at < self._dropped.get(key, begun_at):
            return
        done: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        done.set_result(value)
        self._reads[key] = begun_at, done

    def drop(self, key: Hashable) -> None:
        """Share no read of this key that has begun before now."""
        self._reads.pop(key, None)
        self._dropped[key] = self._clock.now()
