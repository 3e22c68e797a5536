"""The devices' records, in a table."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count, takewhile
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

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import RECORDS_TABLE, SERVICE, StorageServices
from firstpull.model import record_codec
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Blocked, Conflict, FieldError, Invalid, record_not_readable
from firstpull.model.history import HistoryEntry
from firstpull.model.ports import Page, Query, Stored

_HISTORY = TypeAdapter(tuple[HistoryEntry, ...])
_TEXT = "record"
_CHARACTERS = 16_000
"""Characters in a column: most take two bytes, some four."""


class TableRecords:
    """Implements `Records`: PartitionKey is the hub, RowKey a hash of the device.

    Device ids may have characters that keys may not. The text of a record takes as many columns
    as it needs, its history one: a column has at most 64 KiB, an entity 1 MiB
    (understanding-the-table-service-data-model). The other columns are for queries.
    """

    def __init__(self, services: StorageServices) -> None:
        self._table: TableClient = services.tables.get_table_client(RECORDS_TABLE)

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        """The record of a device, None if there is none."""
        async with azure_errors(SERVICE):
            try:
                entity = await self._table.get_entity(**_key(device))
            except ResourceNotFoundError:
                return None
        return Stored(value=self._record(entity), etag=str(entity.metadata["etag"]))

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        """Store the first record of a device. Raises Conflict if there is one."""
        async with azure_errors(SERVICE):
            try:
                written = await self._table.create_entity(_entity(record))
            except ResourceExistsError:
                raise Conflict("The record was made meanwhile.") from None
        return Stored(value=record, etag=written["etag"])

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        """Replace the record that has this ETag. Raises Conflict if the record has changed."""
        async with azure_errors(SERVICE):
            try:
                written = await self._table.update_entity(
                    _entity(record),
                    mode=UpdateMode.REPLACE,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except (ResourceModifiedError, ResourceNotFoundError):
                raise Conflict("The record was changed meanwhile.") from None
        return Stored(value=record, etag=written["etag"])

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        """Delete the record that has this ETag; a missing one is no error. Raises Conflict."""
        async with azure_errors(SERVICE):
            try:
                await self._table.delete_entity(
                    **_key(device), etag=etag, match_condition=MatchConditions.IfNotModified
                )
            except ResourceModifiedError:
                raise Conflict("The record was changed meanwhile.") from None

    async def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices that are due."""
        async with azure_errors(SERVICE, deadline_seconds=60):
            async for entity in self._table.query_entities(
                "dueAt le @now", parameters={"now": now}, select=["hub", "deviceId"]
            ):
                yield _device(entity)

    async def page(self, query: Query) -> Page:
        """A page of records. Raises Invalid for an `after` that no page of this query gave."""
        columns = {
            "PartitionKey": query.hub,
            "deviceId": query.device_id,
            "connectedRegistry": query.connected_registry,
            "secret": query.secret,
            "token": query.token,
        }
        wanted = {name: value for name, value in columns.items() if value is not None}
        # "PartitionKey gt ''" matches every record.
        conditions = [f"{name} eq @{name}" for name in wanted]
        if query.states:
            named = {f"state{n}": state.value for n, state in enumerate(sorted(query.states))}
            any_of = " or ".join(f"state eq @{name}" for name in named)
            conditions.append(f"( {any_of} )")  # the SDK replaces whole words only
            wanted |= named
        condition = " and ".join(conditions) or "PartitionKey gt ''"
        async with azure_errors(SERVICE):
            pages = self._table.query_entities(
                condition, parameters=wanted, results_per_page=query.size
            ).by_page(continuation_token=_continuation(query.after))
            async for page in pages:
                found, unreadable = [], []
                async for entity in page:
                    try:
                        found.append(self._record(entity))
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

    def _record(self, entity: Mapping[str, Any]) -> DeviceRecord:
        text = "".join(entity[name] for name in _columns(entity))
        try:
            record = record_codec.from_json(text)
            return replace(record, history=_HISTORY.validate_json(entity["history"]))
        except ValueError:
            raise record_not_readable(_device(entity)) from None


def _key(device: DeviceKey) -> dict[str, str]:
    return {"partition_key": device.hub, "row_key": device.digest()}


def _device(entity: Mapping[str, Any]) -> DeviceKey:
    return DeviceKey(hub=entity["hub"], device_id=entity["deviceId"])


def _columns(entity: Mapping[str, Any]) -> Iterator[str]:
    """The columns of the record's text, in order."""
    return takewhile(entity.__contains__, (f"{_TEXT}{number or ''}" for number in count()))


def _entity(record: DeviceRecord) -> dict[str, Any]:
    grant = record.status.grant
    text = record_codec.to_json(replace(record, history=()))
    pieces = (text[at : at + _CHARACTERS] for at in range(0, len(text), _CHARACTERS))
    return {
        **{f"{_TEXT}{number or ''}": piece for number, piece in enumerate(pieces)},
        "PartitionKey": record.device.hub,
        "RowKey": record.device.digest(),
        "schemaVersion": record_codec.SCHEMA_VERSION,
        "hub": record.device.hub,
        "deviceId": record.device.device_id,
        "state": record.status.condition.state.value,
        "connectedRegistry": grant.ref.name if grant else "",
        "secret": grant.names.secret if grant else "",
        "token": grant.names.token if grant else "",
        "dueAt": record.schedule.due_at,
        "history": _HISTORY.dump_json(record.history).decode(),
    }


def _after(token: Mapping[str, str] | None) -> str | None:
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode() if token else None


def _continuation(after: str | None) -> Any:  # noqa: ANN401 - the SDK says str and takes a dict
    if after is None:
        return None
    try:
        token = json.loads(base64.urlsafe_b64decode(after))
        return {key: str(token[key]) for key in ("PartitionKey", "RowKey")}
    except (ValueError, TypeError, KeyError, binascii.Error):
        error = FieldError("after", "is not a `next` of this listing")
        raise Invalid("The listing cannot continue there.", errors=(error,)) from None
