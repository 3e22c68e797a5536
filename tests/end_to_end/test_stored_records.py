"""Records in the table: large ones, damaged ones, and those of a registry spelled otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from firstpull.adapters.storage import StorageServices, TableRecords
from firstpull.adapters.storage.account import RECORDS_TABLE
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Blocked
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import to_json
from firstpull.model.transitions import new_record
from local_azure.stack import Stack
from tests.firstpull.builders import INTENT
from tests.firstpull.records import changed

from .cloud import forget_devices

HUB = "stored.example"


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    services = StorageServices.from_connection_string(stack.storage.connection_string)
    await services.prepare()
    yield services
    await services.close()
    await forget_devices(stack)


def record_of(device_id: str) -> DeviceRecord:
    return new_record(DeviceKey(hub=HUB, device_id=device_id), INTENT)


async def test_a_record_of_many_repositories_survives_being_stored(
    storage: StorageServices,
) -> None:
    records, small = TableRecords(storage), record_of("much")
    repositories = tuple(f"{'a' * 200}/{number:03}" for number in range(500))
    large = changed(small, intent=replace(INTENT, repositories=repositories))
    assert len(to_json(large)) > 100_000
    written = await records.insert(large)
    assert await records.get(small.device) == written
    written = await records.replace(small, etag=written.etag)
    assert await records.get(small.device) == written


async def test_a_record_that_cannot_be_read_is_told_of_and_hides_no_other(
    storage: StorageServices,
) -> None:
    records, whole, damaged = TableRecords(storage), record_of("whole"), record_of("damaged")
    for record in (whole, damaged):
        await records.insert(record)
    table = storage.tables.get_table_client(RECORDS_TABLE)
    entity = await table.get_entity(HUB, damaged.device.digest())
    await table.update_entity({**entity, "record": '{"device": 7}'})
    with pytest.raises(Blocked) as raised:
        await records.get(damaged.device)
    assert raised.value.reason is Reason.RECORD_NOT_READABLE
    page = await records.page(Query(hub=HUB))
    assert whole in page.records
    assert page.unreadable == (damaged.device,)
