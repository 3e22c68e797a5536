"""The index of what is due: a device is found when it is due, whatever crashed, and nothing else.

The times are a century ahead, so that no timer of an app finds these devices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from firstpull.adapters.storage import StorageServices, TableRecords
from firstpull.adapters.storage.account import RECORDS_TABLE
from firstpull.adapters.storage.due_index import DUE_ENTRY, SCHEDULE_TABLE, DueIndex
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Intent
from firstpull.model.ports import Stored
from firstpull.model.schedule import NEVER
from firstpull.model.transitions import new_record, woken
from local_azure.stack import Stack

from .cloud import forget_devices
from .whole_lifetime import storage_of

_HUB = "due.example"
_LATER = datetime(2126, 11, 23, 10, tzinfo=UTC)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    async with storage_of(stack) as services:
        await services.prepare()
        yield services
    await forget_devices(stack)


@pytest.fixture
def records(storage: StorageServices) -> TableRecords:
    return TableRecords(storage)


def record(device_id: str, due_at: datetime) -> DeviceRecord:
    intent = Intent(
        target="any", candidates=(), repositories=(), actions=(), requested_by="a test", at=_LATER
    )
    return woken(new_record(DeviceKey(hub=_HUB, device_id=device_id), intent), due_at)


async def due(records: TableRecords, at: datetime) -> set[str]:
    return {d.device_id async for d in records.due(at) if d.hub == _HUB}


async def entries(storage: StorageServices, device_id: str) -> list[str]:
    """The names of a device's entries."""
    table = storage.tables.get_table_client(SCHEDULE_TABLE)
    query = table.query_entities(f"hub eq '{_HUB}' and deviceId eq '{device_id}'")
    return sorted([entity["RowKey"] async for entity in query])


async def test_a_device_is_found_when_it_is_due_and_stays_so(records: TableRecords) -> None:
    await records.insert(record("found", _LATER))
    assert "found" not in await due(records, _LATER - _MINUTE)
    for _ in range(2):
        assert "found" in await due(records, _LATER + _MINUTE)


@pytest.mark.parametrize("later", [_MINUTE / 2, _MINUTE * 30, _DAY * 45])
async def test_a_device_that_is_due_later_is_found_then(
    records: TableRecords, storage: StorageServices, later: timedelta
) -> None:
    name = f"later-{later.total_seconds():.0f}"
    stored = await records.insert(record(name, _LATER))
    await records.replace(record(name, _LATER + later), etag=stored.etag)
    assert name not in await due(records, _LATER + later - _MINUTE / 4)
    assert name in await due(records, _LATER + later + _MINUTE)
    assert len(await entries(storage, name)) == 1


async def test_a_device_that_is_due_earlier_is_found_then(
    records: TableRecords, storage: StorageServices
) -> None:
    stored = await records.insert(record("earlier", _LATER + 45 * _DAY))
    await records.replace(record("earlier", _LATER), etag=stored.etag)
    assert "earlier" in await due(records, _LATER + _MINUTE)
    assert len(await entries(storage, "earlier")) == 1


async def test_a_look_at_a_device_that_is_not_due_costs_nothing_the_next_time(
    records: TableRecords, storage: StorageServices
) -> None:
    stored = await records.insert(record("moved", _LATER))
    await records.replace(record("moved", _LATER + 30 * _MINUTE), etag=stored.etag)
    before = await entries(storage, "moved")
    await due(records, _LATER + _MINUTE)
    after = await entries(storage, "moved")
    assert len(after) == 1
    assert after > before
    found = await records.get(DeviceKey(hub=_HUB, device_id="moved"))
    assert found is not None
    assert found.value == record("moved", _LATER + 30 * _MINUTE)
    await records.replace(found.value, etag=found.etag)  # by the version that is there now


async def test_an_entry_whose_record_was_never_written_is_removed_but_not_at_once(
    storage: StorageServices,
) -> None:
    table = storage.tables.get_table_client(RECORDS_TABLE)
    index, device = DueIndex(storage, table), DeviceKey(hub=_HUB, device_id="crashed")
    past = datetime.now(UTC) - _DAY
    await index.entry_for(device, past, before="")
    assert [d async for d in index.look(datetime.now(UTC)) if d == device] == []
    assert len(await entries(storage, "crashed")) == 1  # its writer may be about to
    assert [d async for d in index.look(datetime.now(UTC) + _DAY) if d == device] == []
    assert await entries(storage, "crashed") == []


async def test_a_crash_before_the_record_names_its_earlier_entry_loses_nothing(
    records: TableRecords, storage: StorageServices
) -> None:
    stored = await records.insert(record("half", _LATER))
    table = storage.tables.get_table_client(RECORDS_TABLE)
    await DueIndex(storage, table).entry_for(stored.value.device, _LATER - _DAY, before="")
    assert "half" not in await due(records, _LATER - _MINUTE)
    assert "half" in await due(records, _LATER + _MINUTE)
    assert len(await entries(storage, "half")) == 1


async def test_a_change_while_an_entry_moves_keeps_the_device_in_the_index(
    records: TableRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await records.insert(record("raced", _LATER))
    stored = await records.replace(record("raced", _LATER + 30 * _MINUTE), etag=stored.etag)
    add, raced = DueIndex._add, list[Stored[DeviceRecord]]()

    async def add_late(index: DueIndex, device: DeviceKey, due_at: datetime) -> str:
        name = await add(index, device, due_at)
        if not raced:
            sooner = replace(stored.value, schedule=replace(stored.value.schedule, attempts=1))
            raced.append(stored)
            await records.replace(sooner, etag=stored.etag)
        return name

    monkeypatch.setattr(DueIndex, "_add", add_late)
    await due(records, _LATER + _MINUTE)
    assert raced
    assert "raced" in await due(records, _LATER + _DAY)


async def test_a_device_that_is_never_due_has_no_entry_in_the_end(
    records: TableRecords, storage: StorageServices
) -> None:
    await records.insert(record("never", NEVER))
    stored = await records.insert(record("settled", _LATER))
    await records.replace(record("settled", NEVER), etag=stored.etag)
    assert not {"never", "settled"} & await due(records, _LATER + _MINUTE)
    assert await entries(storage, "never") == await entries(storage, "settled") == []
    found = await records.get(DeviceKey(hub=_HUB, device_id="settled"))
    assert found is not None
    await records.replace(record("settled", _LATER), etag=found.etag)
    assert "settled" in await due(records, _LATER + _MINUTE)


async def test_a_record_without_an_entry_gets_one_when_it_is_written(
    records: TableRecords, storage: StorageServices
) -> None:
    device = (await records.insert(record("restored", _LATER))).value.device
    for name in await entries(storage, "restored"):
        await storage.tables.get_table_client(SCHEDULE_TABLE).delete_entity("due", name)
    assert "restored" not in await due(records, _LATER + _MINUTE)
    found = await records.get(device)
    assert found is not None
    await records.replace(record("restored", _LATER + _DAY), etag=found.etag)
    assert "restored" in await due(records, _LATER + 2 * _DAY)


async def test_a_foreign_or_damaged_entity_hides_no_device(
    records: TableRecords, storage: StorageServices
) -> None:
    await records.insert(record("beside", _LATER))
    schedule = storage.tables.get_table_client(SCHEDULE_TABLE)
    await schedule.create_entity({"PartitionKey": "due", "RowKey": "2001-by-hand"})
    stored = await records.insert(record("broken", _LATER))
    table = storage.tables.get_table_client(RECORDS_TABLE)
    entity = await table.get_entity(_HUB, stored.value.device.digest())
    await table.update_entity({**entity, "dueAt": "soon", DUE_ENTRY: entity[DUE_ENTRY]})
    assert await due(records, _LATER + _MINUTE) >= {"beside"}
