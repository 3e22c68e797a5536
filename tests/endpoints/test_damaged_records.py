"""A damaged entity in the table is named, and everybody else is served (P11)."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from azure.data.tables import EdmType, EntityProperty
from azure.data.tables.aio import TableClient

from firstpull.model.device_key import DeviceKey

from .documents import request
from .endpoints import Endpoints

Entity = dict[str, Any]

_OTHERS: list[Any] = [
    *(
        7,
        EntityProperty(2**60, EdmType.INT64),
        3.5,
        True,
        b"bytes",
        uuid.UUID(int=7),
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    *("", "x", "{}", "[]", "null", "7", '"text"', "x" * 30_000, "\x00", "\uffff", "[" * 10_000),
]
"""What a column may hold besides what it should: other types, other texts, huge ones."""
_FIELDS: list[Any] = [None, 7, -1, 10**30, "x", "", [], {}, True, "0001-01-01T00:00:00+14:00"]
"""What a field of the record may hold, likewise."""
_TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"]
_FOREIGN: list[Entity] = [
    {},
    {"count": 7},
    {"record": 7, "history": 7},
    {"hub": 7, "deviceId": True, "dueAt": datetime(2026, 1, 1, tzinfo=UTC)},
    {"hub": "h", "deviceId": "d", "dueAt": datetime(2026, 1, 1, tzinfo=UTC)},
    {"dueAt": datetime(1, 1, 1, tzinfo=UTC)},
    {"dueAt": "yesterday", "state": 7, "secret": 7, "token": 7, "connectedRegistry": 7},
    {f"record{number}": "x" for number in range(1, 40)},
]
"""Entities of another program."""


def damaged_entities(sound: Entity) -> Iterator[tuple[Entity, set[str]]]:
    """Entities with one thing damaged in each, and the names by which each may be told of."""
    for damage in _damages(sound):
        device = DeviceKey(hub=sound["hub"], device_id=f"damaged-{uuid.uuid4().hex[:12]}")
        text = sound["record"].replace(f'"{sound["deviceId"]}"', f'"{device.device_id}"')
        entity = {**sound, "deviceId": device.device_id, "RowKey": device.digest(), "record": text}
        damage(entity)
        yield entity, {device.device_id, entity["RowKey"]}
    for number, entity in enumerate(_FOREIGN):
        yield (
            {"PartitionKey": "another program", "RowKey": f"row {number}", **entity},
            {f"row {number}"},
        )
    yield {**sound, "RowKey": "a copy"}, {"a copy"}
    yield {**sound, "PartitionKey": "another hub"}, {sound["RowKey"]}


def _damages(sound: Entity) -> Iterator[Callable[[Entity], None]]:
    for name in sound.keys() - {"PartitionKey", "RowKey"}:
        yield partial(_without, name)
        for value in _OTHERS:
            yield partial(_with, name, value)
    for name, whole in json.loads(sound["record"]).items():
        values = [*_FIELDS, *([{**whole, "at": at} for at in _TIMES] if name == "intent" else [])]
        for value in values:
            yield partial(_with_field, name, value)
    for at in _TIMES:
        entry = {"at": at, "event": "x", "detail": "", "by": None}
        yield partial(_with, "history", json.dumps([entry]))
        yield partial(_with_field, "due_at", at)


def _without(name: str, entity: Entity) -> None:
    del entity[name]


def _with(name: str, value: object, entity: Entity) -> None:
    entity[name] = value


def _with_field(name: str, value: object, entity: Entity) -> None:
    entity["record"] = json.dumps({**json.loads(entity["record"]), name: value})


@asynccontextmanager
async def _stored(table: TableClient, entities: list[Entity]) -> AsyncIterator[None]:
    for entity in entities:
        await table.upsert_entity(entity)
    try:
        yield
    finally:
        for entity in entities:
            await table.delete_entity(entity["PartitionKey"], entity["RowKey"])


@pytest.fixture
async def waiting(endpoints: Endpoints) -> AsyncIterator[str]:
    """A device that its hub does not have: nothing is done for copies of its record."""
    name = f"waiting-{uuid.uuid4().hex[:8]}"
    assert (await endpoints.call("POST", "devices", request(name))).status == 202
    await endpoints.until_state(name, "Waiting")
    yield name
    await endpoints.call("DELETE", f"devices/{name}")
    await endpoints.until_state(name, "Revoked")


@pytest.fixture
async def sound(endpoints: Endpoints) -> AsyncIterator[str]:
    """A device that is served whatever is beside it."""
    name = f"sound-{uuid.uuid4().hex[:8]}"
    await endpoints.onboarded(name)
    yield name
    await endpoints.call("DELETE", f"devices/{name}")
    await endpoints.until_state(name, "Revoked")


async def _entity_of(table: TableClient, device_id: str) -> Entity:
    found = [dict(e) async for e in table.query_entities(f"deviceId eq '{device_id}'")]
    (entity,) = found
    return entity


async def _all_devices(endpoints: Endpoints) -> tuple[set[str], set[str]]:
    """The ids of all devices that the API lists, and of the unreadable ones."""
    listed, unreadable, after = set[str](), set[str](), ""
    while True:
        answer = await endpoints.call("GET", f"devices?size=100{after}")
        assert answer.status == 200, answer.text
        page = answer.document
        listed |= {device["deviceId"] for device in page["devices"]}
        unreadable |= {device["deviceId"] for device in page.get("unreadable", [])}
        if "next" not in page:
            return listed, unreadable
        after = f"&after={page['next']}"


@pytest.mark.slow
async def test_a_damaged_entity_is_named_and_everybody_else_is_served(
    endpoints: Endpoints, sound: str, waiting: str
) -> None:
    table = endpoints.tables.get_table_client("devices")
    damaged = list(damaged_entities(await _entity_of(table, waiting)))
    entities = [entity for entity, _ in damaged]
    async with _stored(table, entities):
        listed, unreadable = await _all_devices(endpoints)
        assert sound in listed
        assert [names for _, names in damaged if not names & (listed | unreadable)] == []
        assert len(unreadable) > 100
        for path in ("sites", "poison", "readyz", f"devices/{sound}", "devices?state=Delivered"):
            assert (await endpoints.call("GET", path)).status == 200, path

        await endpoints.run_function("sweep")

        async def swept() -> bool:
            answer = await endpoints.call("GET", "sweep")
            unread = " ".join(answer.document.get("unread", []))
            return all(f"the record of {name} " in unread for name in unreadable)

        await endpoints.until(swept)
        before = len(endpoints.lines)
        await endpoints.run_function("measure")
        await endpoints.run_function("requeue_overdue")
        new = f"new-{uuid.uuid4().hex[:8]}"
        await endpoints.onboarded(new)
        await endpoints.call("DELETE", f"devices/{new}")
        await endpoints.until_state(new, "Revoked")
        for name in [n for n in sorted(unreadable) if n.startswith("damaged")][::20]:
            for method in ("GET", "DELETE"):
                answer = await endpoints.call(method, f"devices/{name}")
                assert answer.document["reason"] in ("RecordNotReadable", "DeviceNotKnown")
        said = "\n".join(endpoints.lines[before:])
        assert "schedule.timer." not in said
        assert "endpoint.request.crashed" not in said


@pytest.mark.parametrize("keys", [r'"\ud800"', '"\\n"', "7", "[]", '""', '"ä"', '{"x": 1}'])
async def test_a_next_that_no_listing_gave_is_refused(endpoints: Endpoints, keys: str) -> None:
    token = f'{{"PartitionKey": {keys}, "RowKey": {keys}}}'
    after = base64.urlsafe_b64encode(token.encode()).decode()
    answer = await endpoints.call("GET", f"devices?after={after}")
    assert (answer.status, answer.paths) == (400, ["after"])
