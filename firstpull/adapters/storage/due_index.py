"""Which devices are due when: a table in the order of time, beside that of the records.

To ask the records would read all of them. So each record names an entry here that is no later than
its device is due. An entry is written before the record that names it: a crash leaves one that no
record names, which `look` removes later. A device that is due later keeps its entry, and `look`
moves that.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import SERVICE, StorageServices
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import FirstpullError
from firstpull.model.schedule import NEVER
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent

SCHEDULE_TABLE = "schedule"
DUE_ENTRY = "dueEntry"
"""The column of a record that names its entry; empty where the device is never due."""
_PARTITION = "due"
_TIME = "%Y%m%dT%H%M%S%f"
_LENGTH = len("20260301T080000000000")
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
"""Earlier times count as this one."""
_SETTLED = timedelta(minutes=1)
"""An entry moves when its device is due so much later: not while a pass is under way."""
_WRITTEN = timedelta(minutes=2)
"""So long after an entry, the record that should name it has been written, or never will be."""
_WILL_DO = timedelta(hours=1)
"""An entry may be so much too early: a look at it costs a read."""
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class _Entry:
    name: str
    device: DeviceKey
    written_at: datetime


class DueIndex:
    """The table of entries. `records` is the table of the records."""

    def __init__(self, services: StorageServices, records: TableClient) -> None:
        self._services = services
        self._table: TableClient = services.tables.get_table_client(SCHEDULE_TABLE)
        self._records = records

    async def entry_for(self, device: DeviceKey, due_at: datetime, *, before: str) -> str:
        """The entry of a device that is due then: the one that it has, if that will do.

        An entry of long ago may be missing, where somebody has restored a table.
        """
        due_at = max(due_at, _FIRST)
        if due_at >= NEVER or _time(due_at - _WILL_DO) <= before[:_LENGTH] <= _time(due_at):
            return before
        return await self._add(device, due_at)

    async def drop(self, name: str) -> None:
        """Remove an entry that no record names any more. `look` removes those that stay."""
        try:
            async with azure_errors(SERVICE):
                await self._table.delete_entity(_PARTITION, name)
        except FirstpullError as error:
            emit_warning(LogEvent.SCHEDULE_ENTRY_KEPT, reason=error.reason.value)

    async def look(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices that are due. Moves and removes entries that are out of date."""
        found = [entry async for entry in self._until(now)]
        for entries in batched(found, _AT_ONCE, strict=False):
            due = await asyncio.gather(*(self._is_due(entry, now) for entry in entries))
            for entry, is_due in zip(entries, due, strict=True):
                if is_due:
                    yield entry.device

    async def _until(self, now: datetime) -> AsyncIterator[_Entry]:
        query = self._table.query_entities(
            "PartitionKey eq @partition and RowKey lt @time",
            parameters={"partition": _PARTITION, "time": _time(now)},
        )
        try:
            async for entity in query:
                device = DeviceKey(
                    hub=str(entity.get("hub")), device_id=str(entity.get("deviceId"))
                )
                yield _Entry(
                    name=entity["RowKey"],
                    device=device,
                    written_at=entity.metadata["timestamp"] or now,
                )
        except ResourceNotFoundError:
            return  # no device has been due yet

    async def _is_due(self, entry: _Entry, now: datetime) -> bool:
        record, is_young = await self._record(entry.device), now - entry.written_at < _WRITTEN
        if record is None or record.get(DUE_ENTRY) != entry.name:
            if not is_young:
                await self.drop(entry.name)
            return False
        due_at = record.get("dueAt")
        if not isinstance(due_at, datetime):
            return False
        if due_at > now + _SETTLED:
            await self._move(entry, record, due_at)
        return due_at <= now

    async def _record(self, device: DeviceKey) -> Any:  # noqa: ANN401 - an entity with metadata
        try:
            return await self._records.get_entity(
                device.hub, device.digest(), select=["PartitionKey", "RowKey", "dueAt", DUE_ENTRY]
            )
        except (ResourceNotFoundError, ValueError, OverflowError):
            return None  # or damaged: such a record cannot be reconciled

    async def _move(self, entry: _Entry, record: Any, due_at: datetime) -> None:  # noqa: ANN401 - an entity with metadata
        """Give a record an entry for when its device is due now."""
        later = await self._add(entry.device, due_at) if due_at < NEVER else ""
        keys: Mapping[str, str] = {name: record[name] for name in ("PartitionKey", "RowKey")}
        try:
            await self._records.update_entity(
                {**keys, DUE_ENTRY: later},
                mode=UpdateMode.MERGE,
                etag=record.metadata["etag"],
                match_condition=MatchConditions.IfNotModified,
            )
        except HttpResponseError as error:
            if error.status_code not in (404, 412):
                raise
            return  # changed meanwhile: the next look finds both entries
        await self.drop(entry.name)

    async def _add(self, device: DeviceKey, due_at: datetime) -> str:
        name = f"{_time(due_at)}-{device.digest()}-{uuid.uuid4().hex[:8]}"
        entity = {
            "PartitionKey": _PARTITION,
            "RowKey": name,
            "hub": device.hub,
            "deviceId": device.device_id,
        }
        try:
            await self._table.create_entity(entity)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await self._services.tables.create_table(SCHEDULE_TABLE)
            await self._table.create_entity(entity)
        return name


def _time(at: datetime) -> str:
    """A time as names of entries begin with it, in the order of time."""
    return max(at, _FIRST - _WILL_DO).astimezone(UTC).strftime(_TIME)
