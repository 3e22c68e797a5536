"""Membership in a connected registry's list of clients: many devices, few writes.

`clientTokenIds` is one list, written whole, without an ETag: two writers can lose each
other's devices. So firstpull writes it under a lock per connected registry, one write for all
that is pending (group commit), from the list as it was read just before. What is pending is in
a ledger, an ETag-guarded document of firstpull's own entries.

1. `reserve` puts an entry into the ledger; that conditional write is the capacity check.
   A crash after it leaves room held, which the next attempt finds.
2. `join` marks the entry as joining, once the token exists, `leave` as leaving. A crash leaves
   it so: whoever commits next takes it along.
3. Whoever gets the lock reads the list, writes it with all that is pending, and repeats until
   nothing is. A crash before the write changes nothing; after it, the next holder finds the
   tokens in the list. A holder that vanished may still have a write under way: the next one
   first waits as long as a request may last.
4. The ledger notes what the answer lists: who is in is a member, who left has no entry, and
   only then is the room free. A crash before that is noted by the next commit.

Somebody else's change between our read and our write is lost to them: no client can prevent
that. Their overwriting ours is found by the next look at any device, and mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    TokenId,
)
from firstpull.model.clock import Clock
from firstpull.model.errors import (
    Blocked,
    Conflict,
    Transient,
    connected_registry_full,
    connected_registry_not_found,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.ports import ContainerRegistries, Lease, Ledgers, Locks
from firstpull.model.reasons import Reason
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

REQUEST_DEADLINE = 10.0
"""Seconds that one write may take; a lease must outlast it, and a successor waits it out."""
_FOLLOW = 6.0
"""Seconds that a follower waits for the one who holds the lock."""
_POLL = 0.4
_ATTEMPTS = 30
"""Conditional writes of the ledger before giving up; each failure means another one's success."""

Change = Callable[[Ledger], Ledger]


@dataclass
class Membership:
    """Brings tokens into the lists. One per process: calls for one place share their writes."""

    registries: ContainerRegistries
    ledgers: Ledgers
    locks: Locks
    clock: Clock
    _writers: dict[ConnectedRegistryRef, _LedgerWriter] = field(default_factory=dict)
    _commits: dict[ConnectedRegistryRef, asyncio.Task[None]] = field(default_factory=dict)
    _refusals: dict[TokenId, Blocked] = field(default_factory=dict)

    async def reserve(self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int) -> None:
        """Hold room for a token. Raises Blocked when there is none."""
        registry = await self._registry(ref)
        now = self.clock.now()

        def change(ledger: Ledger) -> Ledger:
            if ledger.get(token_id) is not None:
                return ledger
            listed = registry.client_token_ids
            if not registry.lists(token_id) and ledger.used(listed) >= capacity:
                raise connected_registry_full(ref, capacity=capacity)
            return ledger.with_entry(
                Entry(token_id=token_id, standing=Standing.RESERVED, since=now)
            )

        await self._writer(ref).change(change)

    async def join(self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int) -> None:
        """Have an existing token in the list.

        Raises Transient while somebody else is still at it, Blocked when the list takes no
        more, Conflict when the reservation has gone.
        """
        self._refusals.pop(token_id, None)

        def change(ledger: Ledger) -> Ledger:
            if ledger.get(token_id) is None:
                raise Conflict(f"The reservation at {ref} has gone.")
            return ledger.standing_at(token_id, Standing.JOINING)

        await self._writer(ref).change(change)
        for _ in range(2):  # a commit under way may have read the ledger before our change
            await self._commit_together(ref, capacity=capacity)
            if (refusal := self._refusals.pop(token_id, None)) is not None:
                raise refusal
            entry = (await self._ledger(ref)).get(token_id)
            if entry is None:
                raise Conflict(f"The reservation at {ref} has gone.")
            if entry.standing is Standing.MEMBER:
                return
        raise _pending_membership(ref)

    async def leave(
        self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int | None
    ) -> None:
        """Have a token out of the list, and its room free. One that is not there has left.

        `capacity` is for those who join in the same write; None where the policy lists the
        place no more, and nobody can. Raises Transient while somebody else is still at it.
        """
        now = self.clock.now()

        def change(ledger: Ledger) -> Ledger:
            entry = ledger.get(token_id) or Entry(
                token_id=token_id, standing=Standing.LEAVING, since=now
            )
            return ledger.with_entry(replace(entry, standing=Standing.LEAVING))

        await self._writer(ref).change(change)
        for _ in range(2):  # a commit under way may have read the ledger before our change
            await self._commit_together(ref, capacity=capacity)
            entry = (await self._ledger(ref)).get(token_id)
            if entry is None or entry.standing is not Standing.LEAVING:
                return
        raise _pending_membership(ref)

    async def forget(
        self, ref: ConnectedRegistryRef, *, unless: Collection[TokenId], before: datetime
    ) -> int:
        """Drop the entries older than `before`, `unless` their token is among these.

        What the list holds stays in the list. Returns how many were dropped.
        """
        dropped: set[TokenId] = set()

        def change(ledger: Ledger) -> Ledger:
            stale = [
                entry.token_id
                for entry in ledger.of(*Standing)
                if entry.since < before and entry.token_id not in unless
            ]
            dropped.clear()
            dropped.update(stale)
            for token_id in stale:
                ledger = ledger.without(token_id)
            return ledger

        await self._writer(ref).change(change)
        return len(dropped)

    async def _commit_together(self, ref: ConnectedRegistryRef, *, capacity: int | None) -> None:
        """One commit at a time in this process; those who come meanwhile wait for it."""
        task = self._commits.get(ref)
        if task is None or task.done():
            task = asyncio.create_task(self._commit(ref, capacity=capacity))
            self._commits[ref] = task
        await asyncio.shield(task)

    async def _commit(self, ref: ConnectedRegistryRef, *, capacity: int | None) -> None:
        """Write all that is pending, or wait until the holder of the lock has."""
        give_up = self.clock.now().timestamp() + _FOLLOW
        while self.clock.now().timestamp() < give_up:
            lease = await self.locks.acquire(ref)
            if lease is not None:
                try:
                    await self._commit_under(lease, ref, capacity=capacity)
                finally:
                    with suppress(Transient):  # it runs out by itself
                        await lease.release()
                return
            await self.clock.sleep(_POLL)
            if not _pending(await self._ledger(ref)):
                return

    async def _commit_under(
        self, lease: Lease, ref: ConnectedRegistryRef, *, capacity: int | None
    ) -> None:
        if lease.predecessor_vanished:
            await self.clock.sleep(REQUEST_DEADLINE)
        ledger = await self._ledger(ref)
        while _pending(ledger):
            registry = await self.registries.get_connected_registry(ref)
            if registry is None:
                await self._close(ref)
                return
            ledger = await self._admit(ref, ledger, registry, capacity=capacity)
            asked_for = _pending(ledger)
            registry = await self._write_list(lease, ref, ledger, registry)
            ledger = await self._note(ref, registry)
            if unheard := asked_for & _pending(ledger):
                joining = {entry.token_id for entry in ledger.of(Standing.JOINING)}
                await self._refuse(ref, sorted(unheard & joining), _not_heard(ref))
                return

    async def _admit(
        self,
        ref: ConnectedRegistryRef,
        ledger: Ledger,
        registry: ConnectedRegistry,
        *,
        capacity: int | None,
    ) -> Ledger:
        """Refuse those who reserved last, where others have taken their room since.

        Members that somebody took off the list count with those who join: they have no room
        either, and hear of it at their next look.
        """
        if capacity is None:
            return ledger
        excess = len(ledger.wanted_list(registry.client_token_ids)) - capacity
        outside = [
            entry.token_id
            for entry in ledger.of(Standing.MEMBER, Standing.JOINING)
            if not registry.lists(entry.token_id)
        ]
        if excess <= 0 or not outside:
            return ledger
        return await self._refuse(
            ref, outside[-excess:], connected_registry_full(ref, capacity=capacity)
        )

    async def _write_list(
        self, lease: Lease, ref: ConnectedRegistryRef, ledger: Ledger, registry: ConnectedRegistry
    ) -> ConnectedRegistry:
        wanted = ledger.wanted_list(registry.client_token_ids)
        if wanted == registry.client_token_ids:
            return registry
        try:
            return await self._send(lease, ref, wanted)
        except Blocked as refusal:
            return await self._write_one_by_one(lease, ref, ledger, refusal)

    async def _write_one_by_one(
        self, lease: Lease, ref: ConnectedRegistryRef, ledger: Ledger, refusal: Blocked
    ) -> ConnectedRegistry:
        """The service refused the list: find out whose fault it is, in the order of admission.

        Tokens that no longer exist are dropped; the rest are admitted until one is refused,
        which is the service's own limit, and those behind it are refused with it.
        """
        listed = await self._registry(ref)
        gone, candidates = [], []
        for entry in ledger.of(Standing.MEMBER, Standing.JOINING):
            name = entry.token_id.name
            exists = await self.registries.get_token(ref.registry, name) is not None
            if not exists:
                gone.append(entry.token_id)
            elif entry.standing is Standing.JOINING and not listed.lists(entry.token_id):
                candidates.append(entry.token_id)
        if gone:
            ledger = await self._drop(ref, gone)
        registry = await self._registry(ref)
        kept = _without(ledger.wanted_list(registry.client_token_ids), (*gone, *candidates))
        if kept != registry.client_token_ids:
            registry = await self._send(lease, ref, kept)
        for number, token_id in enumerate(candidates):
            try:
                wanted = (*registry.client_token_ids, token_id)
                registry = await self._send(lease, ref, wanted)
            except Blocked:
                await self._refuse(ref, candidates[number:], refusal)
                break
        return registry

    async def _send(
        self, lease: Lease, ref: ConnectedRegistryRef, wanted: tuple[TokenId, ...]
    ) -> ConnectedRegistry:
        """The one write of the list. The lease outlasts it: no write of ours comes late."""
        if lease.remaining_seconds() <= 2 * REQUEST_DEADLINE:
            await lease.renew()
        registry = await self.registries.replace_client_tokens(
            ref, wanted, deadline_seconds=REQUEST_DEADLINE
        )
        emit(LogEvent.MEMBERSHIP_LIST_WRITTEN, connected_registry=str(ref), clients=len(wanted))
        return registry

    async def _note(self, ref: ConnectedRegistryRef, registry: ConnectedRegistry) -> Ledger:
        """Note in the ledger what the list holds, and who has left it."""

        def change(ledger: Ledger) -> Ledger:
            for entry in ledger.of(Standing.JOINING):
                if registry.lists(entry.token_id):
                    ledger = ledger.standing_at(entry.token_id, Standing.MEMBER)
            for entry in ledger.of(Standing.LEAVING):
                if not registry.lists(entry.token_id):
                    ledger = ledger.without(entry.token_id)
            return ledger

        return await self._writer(ref).change(change)

    async def _close(self, ref: ConnectedRegistryRef) -> None:
        """The connected registry is gone: nobody is in its list, and nobody can join."""
        ledger = await self._ledger(ref)
        await self._drop(ref, [entry.token_id for entry in ledger.of(Standing.LEAVING)])
        joining = [entry.token_id for entry in ledger.of(Standing.JOINING)]
        await self._refuse(ref, joining, connected_registry_not_found(ref))

    async def _refuse(
        self, ref: ConnectedRegistryRef, token_ids: list[TokenId], refusal: Blocked
    ) -> Ledger:
        self._refusals.update(dict.fromkeys(token_ids, refusal))
        return await self._drop(ref, token_ids)

    async def _drop(self, ref: ConnectedRegistryRef, token_ids: list[TokenId]) -> Ledger:
        def change(ledger: Ledger) -> Ledger:
            for token_id in token_ids:
                ledger = ledger.without(token_id)
            return ledger

        return await self._writer(ref).change(change)

    async def _registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry:
        registry = await self.registries.get_connected_registry(ref)
        if registry is None:
            raise connected_registry_not_found(ref)
        return registry

    async def _ledger(self, ref: ConnectedRegistryRef) -> Ledger:
        stored = await self.ledgers.get(ref)
        return stored.value if stored is not None else Ledger()

    def _writer(self, ref: ConnectedRegistryRef) -> _LedgerWriter:
        if ref not in self._writers:
            self._writers[ref] = _LedgerWriter(ref, self.ledgers)
        return self._writers[ref]


class _LedgerWriter:
    """Changes one ledger. Changes that come while a write is under way share the next one."""

    def __init__(self, ref: ConnectedRegistryRef, ledgers: Ledgers) -> None:
        self._reserve = ref
        self._ledgers = ledgers
        self._waiting: list[tuple[Change, asyncio.Future[Ledger]]] = []
        self._lock = asyncio.Lock()

    async def change(self, change: Change) -> Ledger:
        """Apply a change and return the ledger as written. Raises what the change raises."""
        done: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        async with self._lock:
            if not done.done():
                await self._write_all()
        return done.result()

    async def _write_all(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            for _ in range(_ATTEMPTS):
                if await self._try(batch):
                    return
            error: BaseException = Transient(
                Reason.CHANGED_MEANWHILE, f"The ledger of {self._reserve} is busy.", retry_after=1
            )
        except BaseException as raised:
            error = raised
        for _, done in batch:
            done.set_exception(error)
            done.exception()  # a waiter may have gone

    async def _try(self, batch: list[tuple[Change, asyncio.Future[Ledger]]]) -> bool:
        stored = await self._ledgers.get(self._reserve)
        before = stored.value if stored is not None else Ledger()
        after, refused = before, dict[int, Exception]()
        for number, (change, _) in enumerate(batch):
            try:
                after = change(after)
            except (Blocked, Conflict) as error:
                refused[number] = error
        if after != before:
            try:
                etag = stored.etag if stored is not None else None
                await self._ledgers.put(self._reserve, after, etag=etag)
            except Conflict:
                return False
        for number, (_, done) in enumerate(batch):
            if number in refused:
                done.set_exception(refused[number])
            else:
                done.set_result(after)
        return True


def _pending(ledger: Ledger) -> frozenset[TokenId]:
    """The tokens that want in or out."""
    return frozenset(e.token_id for e in ledger.of(Standing.JOINING, Standing.LEAVING))


def _pending_membership(ref: ConnectedRegistryRef) -> Transient:
    return Transient(
        Reason.MEMBERSHIP_PENDING,
        f"Another worker is changing the list of {ref}.",
        retry_after=2,
    )


def _not_heard(ref: ConnectedRegistryRef) -> Blocked:
    return Blocked(
        Reason.REFUSED,
        f"The container registry took the list of {ref} and changed it otherwise.",
        remedy="Compare the connected registry's clients with its limits; it is tried again.",
    )


def _without(listed: tuple[TokenId, ...], out: Collection[TokenId]) -> tuple[TokenId, ...]:
    return tuple(token for token in listed if token not in out)
