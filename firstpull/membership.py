"""Membership in a connected registry's list of clients: many devices, few writes.

docs/decisions/membership-under-a-lease.md says why. The steps:

1. `reserve` adds an entry to the ledger; this conditional write is the capacity check.
   A crash after it leaves a reservation, which the next attempt uses.
2. `join` marks the entry as joining once the token exists; `leave` marks it as leaving.
   A crash leaves the mark, and the next commit carries it out.
3. The lease holder reads the list, writes it with everything that is pending, and repeats this
   until nothing is pending. A crash before the write changes nothing. After a crash behind the
   write, the next holder finds the tokens in the list. A holder whose lease expired may still
   be writing, so the next holder first waits as long as a request may last.
4. The ledger records what the answer lists: a listed token becomes a member, and a token that
   left loses its entry, which frees its room. After a crash before this, the next commit does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

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
from firstpull.model.ports import (
    ContainerRegistries,
    Lease,
    Ledgers,
    Locks,
    Stored,
    read_ledger,
)
from firstpull.model.reasons import Reason
from firstpull.model.shared_reads import Look, SharedReads
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent

REQUEST_DEADLINE = 10.0
"""Seconds that one write may take: a lease must outlast it, and the next holder waits it out."""
_FOLLOW = 10.0
"""Seconds that a worker waits for another worker's lease."""
_POLL = 0.4
_GATHER = timedelta(seconds=4)
"""How long a list waits for reserved tokens while writes are short."""
_GATHER_POLL = 0.25
_MOMENT = timedelta(seconds=0.12)
"""How long a list that was read waits for a token: others may change it meanwhile."""
_LAST_PLACES = 3
"""A connected registry with fewer free places may fill up while a look at it is shared."""
_ATTEMPTS = 30
"""Conditional writes of a ledger before giving up; each failure is another writer's success."""

Change = Callable[[Ledger], Ledger]


@dataclass
class Membership:
    """Puts tokens into the lists of clients and removes them.

    A process has one: concurrent calls for one connected registry share their writes.
    """

    registries: ContainerRegistries
    ledgers: Ledgers
    locks: Locks
    clock: Clock
    shared: SharedReads
    _writers: dict[ConnectedRegistryRef, _LedgerWriter] = field(default_factory=dict)
    _commits: dict[ConnectedRegistryRef, asyncio.Task[_Seen | None]] = field(default_factory=dict)
    _refusals: dict[TokenId, Blocked] = field(default_factory=dict)

    async def reserve(self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int) -> None:
        """Reserve room for a token. Raises Blocked if there is none.

        The look at the list is shared; who would take one of the last places looks again before
        the reservation, because a crash after it leaves a place that a device goes on to use.
        """
        look, now = await self.shared.look_at(ref), self.clock.now()
        may_be_old, seen_near = True, now

        def change(ledger: Ledger) -> Ledger:
            nonlocal seen_near
            registry = look.with_ledger(ledger)
            if registry is None:
                raise connected_registry_not_found(ref)
            if ledger.get(token_id) is not None:
                return ledger
            free = capacity - ledger.used(registry.client_token_ids)
            if may_be_old and free <= _LAST_PLACES:
                seen_near = self.clock.now()
                return ledger
            if not registry.lists(token_id) and free <= 0:
                raise connected_registry_full(ref, capacity=capacity)
            return ledger.with_entry(
                Entry(token_id=token_id, standing=Standing.RESERVED, since=now)
            )

        seen = await self._writer(ref).change(change)
        if seen.ledger.get(token_id) is None:
            look, may_be_old = await self.shared.look_at(ref, since=seen_near), False
            await self._writer(ref).change(change)

    async def join(self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int) -> None:
        """Put an existing token into the list.

        Raises Transient while another worker is still writing, Blocked if the list takes no
        more, Conflict if the reservation has gone.
        """
        self._refusals.pop(token_id, None)

        def change(ledger: Ledger) -> Ledger:
            if ledger.get(token_id) is None:
                raise Conflict(f"The reservation at {ref} has gone.")
            return ledger.standing_at(token_id, Standing.JOINING)

        async for ledger in self._committed(ref, change, capacity=capacity):
            if (refusal := self._refusals.pop(token_id, None)) is not None:
                raise refusal
            entry = ledger.get(token_id)
            if entry is None:
                raise Conflict(f"The reservation at {ref} has gone.")
            if entry.standing is Standing.MEMBER:
                return
        raise _pending_membership(ref)

    def join_soon(self, ref: ConnectedRegistryRef, *, capacity: int) -> None:
        """Take the lease and read the list now: a token of this process is about to exist.

        What it finds is used if `join` comes within a moment; else one read was in vain.
        """
        task = self._commits.get(ref)
        if task is None or task.done():
            task = asyncio.create_task(self._commit(ref, capacity=capacity, is_soon=True))
            task.add_done_callback(_retrieve)
            self._commits[ref] = task

    async def leave(
        self, ref: ConnectedRegistryRef, token_id: TokenId, *, capacity: int | None
    ) -> None:
        """Remove a token from the list and free its room. An unlisted token is no error.

        `capacity` limits the tokens that join in the same write. It is None if the policy no
        longer lists the connected registry, so no token joins. Raises Transient while another
        worker is still writing.
        """
        now = self.clock.now()

        def change(ledger: Ledger) -> Ledger:
            entry = ledger.get(token_id) or Entry(
                token_id=token_id, standing=Standing.LEAVING, since=now
            )
            return ledger.with_entry(replace(entry, standing=Standing.LEAVING))

        async for ledger in self._committed(ref, change, capacity=capacity):
            entry = ledger.get(token_id)
            if entry is None or entry.standing is not Standing.LEAVING:
                return
        raise _pending_membership(ref)

    async def forget(
        self, ref: ConnectedRegistryRef, *, unless: Collection[TokenId], before: datetime
    ) -> int:
        """Drop the entries older than `before`, except for the tokens in `unless`.

        The list of clients stays as it is. Returns how many entries were dropped.
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

    async def _committed(
        self, ref: ConnectedRegistryRef, change: Change, *, capacity: int | None
    ) -> AsyncIterator[Ledger]:
        """The ledger after one commit, and after another, each later than the change.

        The change is written while the first commit takes the lease. A commit under way may have
        read the ledger before the change: what it has found says nothing then.
        """
        marking = asyncio.create_task(self._writer(ref).change(change))
        for _ in range(2):
            try:
                seen = await self._commit_together(ref, capacity=capacity)
            finally:
                marked = await marking
            if seen is None or seen.writes < marked.writes:
                yield await read_ledger(self.ledgers, ref)
            else:
                yield seen.ledger

    async def _commit_together(
        self, ref: ConnectedRegistryRef, *, capacity: int | None
    ) -> _Seen | None:
        """Run one commit at a time in this process; concurrent callers wait for it."""
        task = self._commits.get(ref)
        if task is None or task.done():
            task = asyncio.create_task(self._commit(ref, capacity=capacity))
            self._commits[ref] = task
        return await asyncio.shield(task)

    async def _commit(
        self, ref: ConnectedRegistryRef, *, capacity: int | None, is_soon: bool = False
    ) -> _Seen | None:
        """Write everything that is pending, or wait until another lease holder has.

        The ledger as seen last; None if another worker holds the lease for too long.
        """
        give_up = self.clock.now().timestamp() + _FOLLOW
        while self.clock.now().timestamp() < give_up:
            lease = await self.locks.acquire(ref)
            if lease is not None:
                try:
                    return await self._commit_under(lease, ref, capacity=capacity, is_soon=is_soon)
                finally:
                    with suppress(Transient):  # the lease expires by itself
                        await lease.release()
            await self.clock.sleep(_POLL)
            seen = await self._seen(ref)
            if not _pending(seen.ledger):
                return seen
        return None

    async def _seen(self, ref: ConnectedRegistryRef) -> _Seen:
        """The ledger, with all changes that this process has begun."""
        writes = await self._writer(ref).settled()
        return _Seen(await read_ledger(self.ledgers, ref), writes)

    async def _commit_under(
        self, lease: Lease, ref: ConnectedRegistryRef, *, capacity: int | None, is_soon: bool
    ) -> _Seen:
        if lease.predecessor_vanished:
            await self.clock.sleep(REQUEST_DEADLINE)
        await self._writer(ref).settled()
        known, registry = self.shared.known_ledger(ref), None
        is_read = is_soon or (known is not None and bool(_pending(known.value)))
        if is_read:  # there is going to be something: no need to ask first
            seen, registry = await asyncio.gather(
                self._seen(ref), self.registries.get_connected_registry(ref)
            )
        else:
            seen = await self._seen(ref)
        if is_soon and not _pending(seen.ledger):
            read_at = self.clock.now()
            seen = await self._seen_after(seen, ref)
            is_read = self.clock.now() - read_at <= 2 * _MOMENT
        while _pending(seen.ledger):
            if self._is_worth_waiting(ref, seen.ledger):
                seen, is_read = await self._gathered(ref, seen), False
            if not is_read:
                registry = await self.registries.get_connected_registry(ref)
            if registry is None:
                return await self._close(ref)
            ledger = await self._admit(ref, seen.ledger, registry, capacity=capacity)
            pending = _pending(ledger)
            registry = await self._write_list(lease, ref, ledger, registry)
            self.shared.note(ref, Look(connected_registry=registry, ledger=ledger))
            seen, is_read = await self._record_list(ref, registry), False
            if ignored := pending & _pending(seen.ledger):
                joining = {entry.token_id for entry in seen.ledger.of(Standing.JOINING)}
                return await self._refuse(ref, sorted(ignored & joining), _list_not_taken(ref))
        return seen

    def _is_worth_waiting(self, ref: ConnectedRegistryRef, ledger: Ledger) -> bool:
        """Whether a later write saves others. What has to leave never waits."""
        return (
            self.registries.is_short_of_writes(ref.registry)
            and bool(ledger.of(Standing.RESERVED))
            and not ledger.of(Standing.LEAVING)
        )

    async def _gathered(self, ref: ConnectedRegistryRef, seen: _Seen) -> _Seen:
        """The ledger some seconds later, or when all reserved tokens have come."""
        give_up = self.clock.now() + _GATHER
        while self._is_worth_waiting(ref, seen.ledger) and self.clock.now() < give_up:
            await self.clock.sleep(_GATHER_POLL)
            seen = await self._seen(ref)
        return seen

    async def _seen_after(self, seen: _Seen, ref: ConnectedRegistryRef) -> _Seen:
        """The ledger with what this process marks within a moment."""
        writer, give_up = self._writer(ref), self.clock.now() + _MOMENT
        while not (is_later := await writer.settled() > seen.writes):
            if self.clock.now() >= give_up:
                break
            await self.clock.sleep(_MOMENT.total_seconds() / 8)
        return await self._seen(ref) if is_later else seen

    async def _admit(
        self,
        ref: ConnectedRegistryRef,
        ledger: Ledger,
        registry: ConnectedRegistry,
        *,
        capacity: int | None,
    ) -> Ledger:
        """Refuse the latest reservations whose room foreign tokens have taken since.

        Members that another writer removed from the list count like joining tokens: their room
        may be taken too. Their devices' next pass finds the entry missing.
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
        refusal = connected_registry_full(ref, capacity=capacity)
        return (await self._refuse(ref, outside[-excess:], refusal)).ledger

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
        """Find the tokens for which the service refused the list, in the order of admission.

        Tokens that are gone, or about to be, are dropped. The others are added one at a time until
        the service refuses one: that is its own limit, so the rest are refused too.
        """
        listed = await self._registry(ref)
        gone, candidates = [], []
        for entry in ledger.of(Standing.MEMBER, Standing.JOINING):
            token = await self.registries.get_token(ref.registry, entry.token_id.name)
            if token is None or token.is_being_deleted:
                gone.append(entry.token_id)
            elif entry.standing is Standing.JOINING and not listed.lists(entry.token_id):
                candidates.append(entry.token_id)
        if gone:
            ledger = (await self._drop(ref, gone)).ledger
        registry = await self._registry(ref)
        wanted = ledger.wanted_list(registry.client_token_ids)
        kept = tuple(token for token in wanted if token not in (*gone, *candidates))
        if kept != registry.client_token_ids:
            registry = await self._send(lease, ref, kept)
        for number, token_id in enumerate(candidates):
            try:
                registry = await self._send(lease, ref, (*registry.client_token_ids, token_id))
            except Blocked:
                await self._refuse(ref, candidates[number:], refusal)
                break
        return registry

    async def _send(
        self, lease: Lease, ref: ConnectedRegistryRef, wanted: tuple[TokenId, ...]
    ) -> ConnectedRegistry:
        """Write the list under a lease that outlasts the write."""
        if lease.remaining_seconds() <= 2 * REQUEST_DEADLINE:
            await lease.renew()
        try:
            registry = await self.registries.replace_client_tokens(
                ref, wanted, deadline_seconds=REQUEST_DEADLINE
            )
        finally:
            self.shared.forget(ref)
        emit(LogEvent.MEMBERSHIP_LIST_WRITTEN, connected_registry=str(ref), clients=len(wanted))
        return registry

    async def _record_list(self, ref: ConnectedRegistryRef, registry: ConnectedRegistry) -> _Seen:
        """Record in the ledger which tokens have joined the list and which have left it."""

        def change(ledger: Ledger) -> Ledger:
            for entry in ledger.of(Standing.JOINING):
                if registry.lists(entry.token_id):
                    ledger = ledger.standing_at(entry.token_id, Standing.MEMBER)
            for entry in ledger.of(Standing.LEAVING):
                if not registry.lists(entry.token_id):
                    ledger = ledger.without(entry.token_id)
            return ledger

        return await self._writer(ref).change(change)

    async def _close(self, ref: ConnectedRegistryRef) -> _Seen:
        """Settle the ledger of a connected registry that is gone: no token can join or stay."""
        ledger = await read_ledger(self.ledgers, ref)
        await self._drop(ref, [entry.token_id for entry in ledger.of(Standing.LEAVING)])
        joining = [entry.token_id for entry in ledger.of(Standing.JOINING)]
        return await self._refuse(ref, joining, connected_registry_not_found(ref))

    async def _refuse(
        self, ref: ConnectedRegistryRef, token_ids: list[TokenId], refusal: Blocked
    ) -> _Seen:
        self._refusals.update(dict.fromkeys(token_ids, refusal))
        return await self._drop(ref, token_ids)

    async def _drop(self, ref: ConnectedRegistryRef, token_ids: list[TokenId]) -> _Seen:
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

    def _writer(self, ref: ConnectedRegistryRef) -> _LedgerWriter:
        if ref not in self._writers:
            self._writers[ref] = _LedgerWriter(ref, self.ledgers, self.shared)
        return self._writers[ref]


@dataclass(frozen=True)
class _Seen:
    """A ledger, and how many of this process's writes to it had gone before."""

    ledger: Ledger
    writes: int


class _LedgerWriter:
    """Changes one ledger. Changes that arrive during a write share the next one.

    The first try is on the ledger as this process knows it: the ETag says whether it still holds.
    """

    def __init__(self, ref: ConnectedRegistryRef, ledgers: Ledgers, shared: SharedReads) -> None:
        self._ref = ref
        self._ledgers = ledgers
        self._shared = shared
        self._waiting: list[tuple[Change, asyncio.Future[_Seen]]] = []
        self._lock = asyncio.Lock()
        self._writes = 0

    async def change(self, change: Change) -> _Seen:
        """Apply a change and return the ledger as written. Raises what the change raises."""
        done: asyncio.Future[_Seen] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        async with self._lock:
            if not done.done():
                await self._write_all()
        return done.result()

    async def settled(self) -> int:
        """Wait for the changes that have begun; how many writes there have been then."""
        async with self._lock:
            return self._writes

    async def _write_all(self) -> None:
        batch, self._waiting = self._waiting, []
        known = self._shared.known_ledger(self._ref)
        try:
            if known is not None and await self._try(batch, known, may_be_old=True):
                return
            for _ in range(_ATTEMPTS):
                if await self._try(batch, await self._ledgers.get(self._ref)):
                    return
            error: BaseException = self._is_busy()
        except asyncio.CancelledError:  # of this caller; the others try again
            self._fail(batch, self._is_busy())
            raise
        except BaseException as raised:
            error = raised
        self._fail(batch, error)

    def _is_busy(self) -> Transient:
        return Transient(
            Reason.CHANGED_MEANWHILE, f"The ledger of {self._ref} is busy.", retry_after=1
        )

    @staticmethod
    def _fail(batch: list[tuple[Change, asyncio.Future[_Seen]]], error: BaseException) -> None:
        for _, done in batch:
            done.set_exception(error)
            done.exception()  # else asyncio logs it if the waiter was cancelled

    async def _try(
        self,
        batch: list[tuple[Change, asyncio.Future[_Seen]]],
        stored: Stored[Ledger] | None,
        *,
        may_be_old: bool = False,
    ) -> bool:
        """Whether all changes were applied or refused. An old ledger decides nothing unwritten."""
        before = stored.value if stored is not None else Ledger()
        after, refused = before, dict[int, Exception]()
        for number, (change, _) in enumerate(batch):
            try:
                after = change(after)
            except (Blocked, Conflict) as error:
                refused[number] = error
        if may_be_old and (refused or after == before):
            return False
        if after != before:
            try:
                etag = stored.etag if stored is not None else None
                stored = await self._ledgers.put(self._ref, after, etag=etag)
            except Conflict:
                return False
            self._writes += 1
        self._shared.note_ledger(self._ref, stored)
        for number, (_, done) in enumerate(batch):
            if number in refused:
                done.set_exception(refused[number])
            else:
                done.set_result(_Seen(after, self._writes))
        return True


def _retrieve(task: asyncio.Task[_Seen | None]) -> None:
    """Take the error of a commit that perhaps nobody waits for: the next one has it again."""
    if not task.cancelled():
        task.exception()


def _pending(ledger: Ledger) -> frozenset[TokenId]:
    """The tokens that the next write adds or removes."""
    return frozenset(e.token_id for e in ledger.of(Standing.JOINING, Standing.LEAVING))


def _pending_membership(ref: ConnectedRegistryRef) -> Transient:
    return Transient(
        Reason.MEMBERSHIP_PENDING,
        f"Another worker is changing the list of {ref}.",
        retry_after=2,
    )


def _list_not_taken(ref: ConnectedRegistryRef) -> Blocked:
    return Blocked(
        Reason.REFUSED,
        f"The container registry accepted a write of the list of {ref} but not its changes.",
        remedy="Compare the connected registry's clients with its limits; firstpull tries again.",
    )
