"""One bad thing stops nothing else: an event in an array, a key in a message, the table gone."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from firstpull.adapters.storage import StorageServices
from firstpull.model.clock import ServiceClock, SystemClock
from local_azure.stack import Stack

from .documents import device_event, request
from .endpoints import EVENTS, ONBOARDING, Endpoints, open_endpoints, policy_for
from .ways_in import TARGET

pytestmark = pytest.mark.xdist_group("endpoints of other apps")


async def test_the_events_after_bad_ones_are_heard(endpoints: Endpoints) -> None:
    name = f"heard-{secrets.token_hex(4)}"
    endpoints.register(name, tag=TARGET)
    bad = [
        7,
        device_event("year-one", at="0001-01-01T00:00:00Z"),
        device_event("year-one", at="0001-01-01T00:00:00+14:00"),
        device_event("last-year", at="9999-12-31T23:59:59-14:00"),
        {"\uffff": "\uffff"},
    ]
    await endpoints.put_message(EVENTS, [*bad, device_event(name)])
    await endpoints.until_taken(EVENTS)
    assert (await endpoints.device(name))["wants"]["requestedBy"] == "device created"
    assert len(await endpoints.poison(EVENTS)) == len(bad)
    assert "year-one" not in await endpoints.records()
    await endpoints.discard_all()


async def test_the_events_after_one_that_grows_when_it_is_kept_are_heard(
    endpoints: Endpoints,
) -> None:
    name = f"heard-{secrets.token_hex(4)}"
    endpoints.register(name, tag=TARGET)
    good = json.dumps(device_event(name))
    room = 64 * 1024 - len(good) - 20
    growing = '{"x":[' + ",".join(["1E5"] * ((room - 8) // 4)) + "]}"
    await endpoints.put_message(EVENTS, f"[{growing},{good}]".encode())
    await endpoints.until_taken(EVENTS)
    assert (await endpoints.device(name))["wants"]["requestedBy"] == "device created"
    assert len(await endpoints.poison(EVENTS)) == 1
    await endpoints.discard_all()


@pytest.mark.parametrize("character", ["\uffff", "\ufffe", "\x00", "\x0b", "\U0001ffff", "\x85"])
async def test_a_message_with_any_character_is_kept_and_listed(
    endpoints: Endpoints, character: str
) -> None:
    body = json.dumps({"deviceId": "kept", character: character}).encode()
    await endpoints.put_message(ONBOARDING, body)
    message = await endpoints.until_kept(ONBOARDING)
    assert message["reason"] == "InvalidRequest"
    assert json.loads(message["message"]) == json.loads(body)
    await endpoints.discard_all()


@pytest.mark.slow
async def test_without_the_table_nobody_is_told_that_a_device_is_unknown(
    doors_stack: Stack, ca_file: Path
) -> None:
    async with open_endpoints(
        doors_stack,
        ca_file=str(ca_file),
        policy=policy_for(doors_stack),
        system_key=secrets.token_urlsafe(32),
    ) as app:
        name = f"table-{secrets.token_hex(4)}"
        await app.onboarded(name)
        table = app.tables.get_table_client("devices")
        entity = await app.records()
        assert name in entity
        whole = [dict(found) async for found in table.list_entities()]
        await app.tables.delete_table("devices")
        await _prepared(app)  # as another instance of the app at its start
        for method, path in (
            ("GET", f"devices/{name}"),
            ("DELETE", f"devices/{name}"),
            ("DELETE", f"devices/{name}?dryRun=true"),
            ("POST", f"devices/{name}/rotate"),
            ("GET", "devices"),
        ):
            answer = await app.call(method, path)
            assert (answer.status, answer.document["reason"]) == (503, "RecordsNotFound"), path
        answer = await app.call("POST", "devices", request(f"{name}-2"))
        assert (answer.status, answer.document["reason"]) == (503, "RecordsNotFound")

        async def unready() -> bool:
            return (await app.call("GET", "readyz", headers={})).status == 503

        await app.until(unready)
        assert (await app.call("GET", "healthz", headers={})).status == 200
        await app.tables.create_table("devices")
        for found in whole:
            await table.create_entity(found)

        async def ready() -> bool:
            return (await app.call("GET", "readyz", headers={})).status == 200

        await app.until(ready)
        assert (await app.call("POST", "devices", request(f"{name}-2"))).status == 202
        assert (await app.call("DELETE", f"devices/{name}")).status in (200, 202)
        await app.call("DELETE", f"devices/{name}-2")
        for device in (name, f"{name}-2"):
            await app.until_state(device, "Revoked")


async def _prepared(app: Endpoints) -> None:
    services = StorageServices.from_connection_string(
        app.storage.connection_string, clock=ServiceClock(SystemClock())
    )
    await services.prepare()
    await services.close()
