"""firstpull's own storage in memory: every value is stored as text, as it is in Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from firstpull.intake.poison_queue import Front
from firstpull.model import ledger as ledgers
from firstpull.model import page_seal, record_codec, revoke_count, sweep_report
from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, record_not_readable
from firstpull.model.ledger import Ledger
from firstpull.model.ports import Lease, Page, PageSeals, Query, RevokeCounts, Stored, Sweeps
from firstpull.model.reasons import Reason
from tests.world.cloud import Line, LockHold, ReconcileRequest, parsed

_LEASE_TIME = timedelta(seconds=30)


@dataclass(frozen=True)
class FakeRecords:
    """Records, stored as text, so that every field has to survive the codec."""

    line: Line

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        def effect() -> Stored[DeviceRecord] | None:
            found = self._texts.get(device)
            try:
                return None if found is None else _stored_record(*found)
            except ValueError:
                raise record_not_readable(device) from None

        return await self.line.call("records.get", effect)

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        def effect() -> Stored[DeviceRecord]:
            if record.device in self._texts:
                raise Conflict("The record is there already.")
            return self._put(record)

        return await self.line.call("records.insert", effect)

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        def effect() -> Stored[DeviceRecord]:
            found = self._texts.get(record.device)
            if found is None or _stored_record(*found).etag != etag:
                raise Conflict("The record has changed.")
            return self._put(record)

        return await self.line.call("records.replace", effect)

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        def effect() -> None:
            found = self._texts.get(device)
            stored = _stored_record(*found) if found is not None else None
            if stored is not None and stored.etag != etag:
                raise Conflict("The record has changed.")
            self._texts.pop(device, None)
            if stored is not None and stored.value.is_tombstone:
                self.line.cloud.watch.tombstone_was_dropped(stored.value)

        await self.line.call("records.delete", effect)

    async def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        def effect() -> list[DeviceKey]:
            return [r.device for r in self.line.cloud.all_records() if r.schedule.due_at <= now]

        for device in await self.line.call("records.due", effect):
            yield device

    async def page(self, query: Query) -> Page:
        def effect() -> Page:
            first = int(query.after or 0)
            readable, unreadable = self._parsed_texts()
            found = [
                record
                for record in sorted(readable, key=lambda r: r.device)
                if query.hub in (None, record.device.hub)
                and query.device_id in (None, record.device.device_id)
                and (not query.states or record.status.condition.state in query.states)
                and query.shows(record)
                and query.connected_registry
                in (None, record.status.grant.ref.name if record.status.grant else "")
            ]
            last = first + query.size
            return Page(
                records=tuple(found[first:last]),
                next_page=str(last) if found[last:] else None,
                unreadable=unreadable if first == 0 else (),
            )

        return await self.line.call("records.page", effect)

    def _parsed_texts(self) -> tuple[list[DeviceRecord], tuple[DeviceKey, ...]]:
        readable, unreadable = [], []
        for device, (text, _) in self._texts.items():
            try:
                readable.append(parsed(text))
            except ValueError:
                unreadable.append(device)
        return readable, tuple(unreadable)

    @property
    def _texts(self) -> dict[DeviceKey, tuple[str, int]]:
        return self.line.cloud.records

    def _put(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        if record.status.condition.reason is Reason.INTERNAL_ERROR:
            self.line.cloud.violations.append("a fault of firstpull itself was noted")
        self._texts[record.device] = record_codec.to_json(record), self.line.cloud.next_number()
        return _stored_record(*self._texts[record.device])


def _stored_record(text: str, version: int) -> Stored[DeviceRecord]:
    return Stored(value=parsed(text), etag=f"r{version}")


@dataclass(frozen=True)
class FakeWorkQueue:
    """Reconcile requests with delays. `Harness` delivers them."""

    line: Line

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        def effect() -> None:
            visible_at = self.line.cloud.clock.now() + timedelta(seconds=delay_seconds)
            self.line.cloud.queue.append(ReconcileRequest(device=device, visible_at=visible_at))

        await self.line.call("queue.put", effect)


@dataclass(frozen=True)
class FakeLedgers:
    """Ledgers, stored as text."""

    line: Line

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        def effect() -> Stored[Ledger] | None:
            found = self.line.cloud.ledgers.get(ref)
            return None if found is None else _stored_ledger(*found)

        return await self.line.call("ledgers.get", effect)

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        def effect() -> Stored[Ledger]:
            found = self.line.cloud.ledgers.get(ref)
            current = None if found is None else _stored_ledger(*found).etag
            if current != etag:
                raise Conflict("The ledger has changed.")
            written = ledgers.to_json(ledger), self.line.cloud.next_number()
            self.line.cloud.ledgers[ref] = written
            return _stored_ledger(*written)

        return await self.line.call("ledgers.put", effect)


def _stored_ledger(text: bytes, version: int) -> Stored[Ledger]:
    return Stored(value=ledgers.from_json(text), etag=f"l{version}")


class FakeLease:
    """A lease of 30 seconds. Its holder knows only when it took or renewed it."""

    def __init__(
        self, line: Line, ref: ConnectedRegistryRef, *, owner: int, vanished: bool
    ) -> None:
        self._line = line
        self._ref = ref
        self._owner = owner
        self._vanished = vanished
        self._until = self._hold()

    @property
    def predecessor_vanished(self) -> bool:
        return self._vanished

    async def renew(self) -> None:
        def effect() -> None:
            held = self._line.cloud.locks[self._ref]
            if held.owner != self._owner or held.released:
                raise Conflict("The lease is somebody else's now.")
            self._until = self._hold()

        await self._line.call("lease.renew", effect)

    def remaining_seconds(self) -> float:
        return (self._until - self._line.cloud.clock.now()).total_seconds()

    async def release(self) -> None:
        def effect() -> None:
            held = self._line.cloud.locks[self._ref]
            if held.owner == self._owner:
                self._line.cloud.locks[self._ref] = replace(held, released=True)

        await self._line.call("lease.release", effect)

    def _hold(self) -> datetime:
        until = self._line.cloud.clock.now() + _LEASE_TIME
        self._line.cloud.locks[self._ref] = LockHold(self._owner, until)
        return until


@dataclass(frozen=True)
class FakeLocks:
    """One lease per connected registry."""

    line: Line

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        def effect() -> Lease | None:
            cloud = self.line.cloud
            held, now = cloud.locks.get(ref), cloud.clock.now()
            if held is not None and not held.released and now < held.until:
                return None
            vanished = held is not None and not held.released
            return FakeLease(self.line, ref, owner=cloud.next_number(), vanished=vanished)

        return await self.line.call("locks.acquire", effect)


@dataclass(frozen=True)
class FakeDocument[Written, Read]:
    """One value, stored as text."""

    line: Line
    name: str
    to_json: Callable[[Written], bytes]
    from_json: Callable[[bytes], Read]

    async def get(self) -> Stored[Read] | None:
        def effect() -> Stored[Read] | None:
            found = self.line.cloud.documents.get(self.name)
            if found is None:
                return None
            text, version = found
            return Stored(value=self.from_json(text), etag=_document_etag(version))

        return await self.line.call(f"{self.name}.get", effect)

    async def put(self, value: Written, *, etag: str | None) -> Stored[Written]:
        def effect() -> Stored[Written]:
            documents = self.line.cloud.documents
            found = documents.get(self.name)
            if etag != (None if found is None else _document_etag(found[1])):
                raise Conflict("The document has changed.")
            version = self.line.cloud.next_number()
            documents[self.name] = self.to_json(value), version
            return Stored(value=value, etag=_document_etag(version))

        return await self.line.call(f"{self.name}.put", effect)


def _document_etag(version: int) -> str:
    return f"d{version}"


def fake_sweeps(line: Line) -> Sweeps:
    return FakeDocument(line, "sweeps", sweep_report.to_json, sweep_report.from_json)


def fake_page_seals(line: Line) -> PageSeals:
    return FakeDocument(line, "page_seals", page_seal.to_bytes, page_seal.from_bytes)


def fake_revoke_counts(line: Line) -> RevokeCounts:
    return FakeDocument(line, "revokes", revoke_count.to_json, revoke_count.from_json)


class NoPoison:
    """Poison queues without messages."""

    async def keep(self, queue: str, text: str) -> None:
        raise AssertionError(f"{queue} took no message {text}")

    async def peek(self, queue: str) -> Front:  # noqa: ARG002 - the port's
        return Front(messages=())

    async def resend(self, queue: str, message_id: str, text: str) -> bool:  # noqa: ARG002 - the port's
        return False

    async def discard(self, queue: str, message_ids: Collection[str]) -> int:  # noqa: ARG002 - the port's
        return 0

    async def clear(self, queue: str) -> int:  # noqa: ARG002 - the port's
        return 0
