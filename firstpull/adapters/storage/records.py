"""The devices' records, in a table."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from pydantic import TypeAdapter

from firstpull.adapters.azure_errors import READ_DEADLINE, azure_errors
from firstpull.adapters.storage.account import RECORDS_TABLE, SERVICE, StorageServices
from firstpull.adapters.storage.due_index import DUE_ENTRY, DueIndex
from firstpull.model import record_codec
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import (
    Blocked,
    Conflict,
    record_not_readable,
    record_too_large,
    records_not_found,
)
from firstpull.model.history import HistoryEntry
from firstpull.model.pagination import foreign_next, next_after, place_in
from firstpull.model.ports import Page, Query, Stored

_HISTORY = TypeAdapter(tuple[HistoryEntry, ...])
_CHARACTERS = 16_000
"""Characters in a column: most take two bytes, some four."""
_TEXTS = ("record", *(f"record{number}" for number in range(1, 32)))
"""Columns of a record's text; more than an entity of 1 MiB holds."""
_KEYS = ("PartitionKey", "RowKey", "hub", "deviceId")
_COLUMNS = [*_KEYS, "history", *_TEXTS]
"""What is read. The SDK reads no page with a time that Python has not, in whatever column."""
_HEADER_TEXT = re.compile(r"[!-~]{1,1000}")


class TableRecords:
    """Implements `Records`: PartitionKey is the hub, RowKey a hash of the device.

    Device ids may have characters that keys may not. The text of a record takes as many columns
    as it needs, its history one: a column has at most 64 KiB, an entity 1 MiB
    (understanding-the-table-service-data-model). The other columns are for queries.
    """

    def __init__(self, services: StorageServices) -> None:
        self._table: TableClient = services.tables.get_table_client(RECORDS_TABLE)
        self._index = DueIndex(services, self._table)

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        """The record of a device, None if there is none."""
        async with _errors():
            try:
                entity = await self._table.get_entity(**_key(device), select=[*_COLUMNS, DUE_ENTRY])
            except ResourceNotFoundError:
                await self._require_table()
                return None
        etag = _version(entity.metadata["etag"], entity.get(DUE_ENTRY) or "")
        return Stored(value=_record(entity), etag=etag)

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        """Store the first record of a device. Raises Conflict if there is one."""
        async with _errors():
            due_at = record.schedule.due_at
            entry = await self._index.entry_for(record.device, due_at, before="")
            try:
                written = await self._table.create_entity(_entity(record, entry))
            except ResourceExistsError:
                raise Conflict("The record was made meanwhile.") from None
        return Stored(value=record, etag=_version(written["etag"], entry))

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        """Replace the record that has this ETag. Raises Conflict if the record has changed."""
        etag, before = _parts(etag)
        async with _errors():
            due_at = record.schedule.due_at
            entry = await self._index.entry_for(record.device, due_at, before=before)
            try:
                written = await self._table.update_entity(
                    _entity(record, entry),
                    mode=UpdateMode.REPLACE,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except (ResourceModifiedError, ResourceNotFoundError):
                raise Conflict("The record was changed meanwhile.") from None
            if before and entry != before:
                await self._index.drop(before)
        return Stored(value=record, etag=_version(written["etag"], entry))

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        """Delete the record that has this ETag; a missing one is no error. Raises Conflict."""
        async with azure_errors(SERVICE):
            try:
                await self._table.delete_entity(
                    **_key(device),
                    etag=_parts(etag)[0],
                    match_condition=MatchConditions.IfNotModified,
                )
            except ResourceModifiedError:
                raise Conflict("The record was changed meanwhile.") from None

    async def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices that are due."""
        async with _errors(deadline_seconds=60):
            async for device in self._index.look(now):
                yield device

    async def page(self, query: Query) -> Page:
        """A page of records. Raises Invalid for an `after` that no page of this query gave."""
        columns = {
            "PartitionKey": query.hub,
            "deviceId": query.device_id,
            "connectedRegistry": query.connected_registry,
        }
        of_grants = {"secret": query.secret, "token": query.token}
        wanted = {k: v for k, v in (columns | of_grants).items() if v is not None}
        conditions = [f"{name} eq @{name}" for name in columns if name in wanted]
        # Few devices have retiring grants at a time: they are read, and compared below.
        conditions += [
            f"({name} eq @{name} or retiring eq true)" for name in of_grants if name in wanted
        ]
        if query.states:
            named = {f"state{n}": state.value for n, state in enumerate(sorted(query.states))}
            any_of = " or ".join(f"state eq @{name}" for name in named)
            conditions.append(f"( {any_of} )")  # the SDK replaces whole words only
            wanted |= named
        # "PartitionKey gt ''" matches every record.
        condition = " and ".join(conditions) or "PartitionKey gt ''"
        async with _errors():
            pages = self._table.query_entities(
                condition, parameters=wanted, results_per_page=query.size, select=_COLUMNS
            ).by_page(continuation_token=_continuation(query.after))
            async for page in pages:
                found, unreadable = [], []
                async for entity in page:
                    try:
                        found.append(_record(entity))
                    except Blocked:
                        unreadable.append(_device(entity))
                found = [record for record in found if query.shows(record)]
                if not found and not unreadable and pages.continuation_token:  # type: ignore[attr-defined]
                    continue
                return Page(
                    records=tuple(found),
                    next_page=_after(pages.continuation_token),  # type: ignore[attr-defined]
                    unreadable=tuple(unreadable),
                )
        return Page(records=(), next_page=None)

    async def _require_table(self) -> None:
        """Raise ResourceNotFoundError without the table: a query finds nothing, but not 404."""
        nothing = self._table.query_entities("PartitionKey eq ''", results_per_page=1)
        async for _ in nothing.by_page():
            return


@asynccontextmanager
async def _errors(*, deadline_seconds: float = READ_DEADLINE) -> AsyncIterator[None]:
    """Translate errors like `azure_errors`; without its table, storage knows no device at all."""
    async with azure_errors(SERVICE, deadline_seconds=deadline_seconds):
        try:
            yield
        except ResourceNotFoundError:
            raise records_not_found(RECORDS_TABLE) from None


def _record(entity: Mapping[str, Any]) -> DeviceRecord:
    """The record in an entity. Raises Blocked for one that is damaged or not a record."""
    try:
        pieces: Iterator[Any] = (entity.get(name) for name in _TEXTS)
        text = "".join(takewhile(lambda piece: piece is not None, pieces))
        record = record_codec.from_json(text)
        history = _HISTORY.validate_json(entity["history"])
    except (ValueError, TypeError, KeyError, OverflowError):
        raise record_not_readable(_device(entity)) from None
    if not _is_about(entity, record.device):
        raise record_not_readable(_device(entity))
    return replace(record, history=history)


def _key(device: DeviceKey) -> dict[str, str]:
    return {"partition_key": device.hub, "row_key": device.digest()}


def _is_about(entity: Mapping[str, Any], device: DeviceKey) -> bool:
    keys = {"partition_key": entity["PartitionKey"], "row_key": entity["RowKey"]}
    return _key(device) == keys


def _device(entity: Mapping[str, Any]) -> DeviceKey:
    """The device that an entity is about; an entity that is about none goes by its own keys."""
    hub, device_id = entity.get("hub"), entity.get("deviceId")
    if isinstance(hub, str) and isinstance(device_id, str):
        device = DeviceKey(hub=hub, device_id=device_id)
        if _is_about(entity, device):
            return device
    return DeviceKey(hub=entity["PartitionKey"], device_id=entity["RowKey"])


def _version(etag: str | None, entry: str) -> str:
    """A version of a record: the entity's ETag, and the entry that it names."""
    return f"{etag}\n{entry}"


def _parts(version: str) -> tuple[str, str]:
    etag, _, entry = version.partition("\n")
    return etag, entry


def _entity(record: DeviceRecord, entry: str = "") -> dict[str, Any]:
    grant = record.status.grant
    text = record_codec.to_json(replace(record, history=()))
    pieces = [text[at : at + _CHARACTERS] for at in range(0, len(text), _CHARACTERS)]
    if len(pieces) > len(_TEXTS):
        raise record_too_large(record.device)
    return {
        **dict(zip(_TEXTS, pieces, strict=False)),
        "PartitionKey": record.device.hub,
        "RowKey": record.device.digest(),
        "schemaVersion": record_codec.SCHEMA_VERSION,
        "hub": record.device.hub,
        "deviceId": record.device.device_id,
        "state": record.status.condition.state.value,
        "connectedRegistry": grant.ref.name if grant else "",
        "secret": grant.names.secret if grant else "",
        "token": grant.names.token if grant else "",
        "retiring": bool(record.status.retiring) and not record.is_tombstone,
        "dueAt": record.schedule.due_at,
        DUE_ENTRY: entry,
        "history": _HISTORY.dump_json(record.history).decode(),
    }


def _after(token: Mapping[str, str] | None) -> str | None:
    return next_after(token) if token else None


def _continuation(after: str | None) -> Any:  # noqa: ANN401 - the SDK says str and takes a dict
    if after is None:
        return None
    try:
        token = place_in(after)
        return {key: _header_text(token[key]) for key in ("PartitionKey", "RowKey")}
    except (ValueError, TypeError, KeyError):
        raise foreign_next("listing") from None


def _header_text(key: str | None) -> str | None:
    """A key as a header can carry it. Raises ValueError for another text."""
    if key is not None and _HEADER_TEXT.fullmatch(key) is None:
        raise ValueError("not a key of the table service")
    return key
