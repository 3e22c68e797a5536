"""A password is in Key Vault and in the twin, and nowhere that firstpull writes to."""

from __future__ import annotations

import base64
from urllib.parse import quote

from azure.storage.blob.aio import BlobServiceClient

from tests.end_to_end.cloud import entry_of

from .documents import device_event, in_base64, request
from .doors import EVENTS, ONBOARDING, WORK, Doors
from .ways_in import WAYS, device_of


async def _everything_stored(doors: Doors) -> list[str]:
    """All messages that can be seen, all entities, and all blobs."""
    found: list[str] = []
    async for queue in doors.queues.list_queues():
        client = doors.queue(queue.name)
        found += [str(m.content) for m in await client.peek_messages(max_messages=32)]
    async for table in doors.tables.list_tables():
        async for entity in doors.tables.get_table_client(table.name).list_entities():
            found.append(repr(dict(entity)))
    text = doors.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as blobs:
        async for container in blobs.list_containers():
            client_of = blobs.get_container_client(container.name)
            async for blob in client_of.list_blobs(include=["metadata"]):
                content = await (await client_of.download_blob(blob.name)).readall()
                found += [content.decode(errors="replace"), repr(blob.metadata)]
    return found


async def _every_answer(doors: Doors, device_id: str) -> list[str]:
    """What the API says of a device, by every door that answers."""
    answers = [
        await doors.call("GET", f"devices/{device_id}"),
        await doors.call("GET", f"devices?deviceId={device_id}"),
        await doors.call("GET", f"devices/{device_id}/operations/1"),
        await doors.call("PUT", f"devices/{device_id}?dryRun=true", request(device_id)),
        await doors.call("POST", "devices", request(device_id)),
        await doors.signed_webhook(request(device_id)),
        await doors.call("POST", f"devices/{device_id}/rotate?dryRun=true"),
        await doors.call("DELETE", f"devices/{device_id}?dryRun=true"),
        await doors.call("GET", "sites"),
        await doors.call("GET", "poison"),
    ]
    return [f"{answer.text} {dict(answer.headers)}" for answer in answers]


def _disguises(password: str) -> set[str]:
    """As it is, and as it may stand within something else."""
    return {
        password,
        quote(password, safe=""),
        base64.b64encode(password.encode()).decode().rstrip("="),
    }


async def test_after_onboarding_by_each_door_no_password_is_anywhere_else(each_way: Doors) -> None:
    doors = each_way
    devices = [device_of(way) for way in WAYS]
    # Messages that are refused, about devices that have a password.
    for number, device_id in enumerate(devices):
        bad = request(device_id, repositories=["Bad"])
        await doors.put_message(ONBOARDING, in_base64(bad) if number % 2 else bad)
        await doors.put_message(EVENTS, device_event(device_id, hubName=...))
    await doors.put_message(WORK, b"no hint")
    await doors.until_taken(ONBOARDING, EVENTS)
    assert len(await doors.poison()) >= 2 * len(devices)

    passwords = [entry_of(doors.stack, device, "doorone")["password"] for device in devices]
    assert len(set(passwords)) == len(devices)
    stored = await _everything_stored(doors)
    assert all(any(device in text for text in stored) for device in devices)
    answers = [text for device in devices for text in await _every_answer(doors, device)]
    shown = "\n".join((*stored, *answers, *doors.lines))
    hidden = [*passwords, *doors.webhook_keys, doors.app.key, doors.app.master_key]
    assert not [text for password in hidden for text in _disguises(password) if text in shown]
    await doors.discard_all()
