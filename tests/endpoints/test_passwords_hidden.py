"""A password is in Key Vault and in the twin, and nowhere that firstpull writes to."""

from __future__ import annotations

import base64
from urllib.parse import quote

from azure.storage.blob.aio import BlobServiceClient

from tests.end_to_end.cloud import entry_of

from .documents import device_event, in_base64, request
from .endpoints import EVENTS, ONBOARDING, WORK, Endpoints
from .ways_in import WAYS, device_of


async def _everything_stored(endpoints: Endpoints) -> list[str]:
    """All messages that can be seen, all entities, and all blobs."""
    found: list[str] = []
    async for queue in endpoints.queues.list_queues():
        client = endpoints.queue(queue.name)
        found += [str(m.content) for m in await client.peek_messages(max_messages=32)]
    async for table in endpoints.tables.list_tables():
        async for entity in endpoints.tables.get_table_client(table.name).list_entities():
            found.append(repr(dict(entity)))
    text = endpoints.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as blobs:
        async for container in blobs.list_containers():
            client_of = blobs.get_container_client(container.name)
            async for blob in client_of.list_blobs(include=["metadata"]):
                content = await (await client_of.download_blob(blob.name)).readall()
                found += [content.decode(errors="replace"), repr(blob.metadata)]
    return found


async def _every_answer(endpoints: Endpoints, device_id: str) -> list[str]:
    """What the API says of a device, by every endpoint that answers."""
    answers = [
        await endpoints.call("GET", f"devices/{device_id}"),
        await endpoints.call("GET", f"devices?deviceId={device_id}"),
        await endpoints.call("GET", f"devices/{device_id}/operations/1"),
        await endpoints.call("PUT", f"devices/{device_id}?dryRun=true", request(device_id)),
        await endpoints.call("POST", "devices", request(device_id)),
        await endpoints.signed_webhook(request(device_id)),
        await endpoints.call("POST", f"devices/{device_id}/rotate?dryRun=true"),
        await endpoints.call("DELETE", f"devices/{device_id}?dryRun=true"),
        await endpoints.call("GET", "sites"),
        await endpoints.call("GET", "poison"),
    ]
    return [f"{answer.text} {dict(answer.headers)}" for answer in answers]


def _disguises(password: str) -> set[str]:
    """As it is, and as it may stand within something else."""
    return {
        password,
        quote(password, safe=""),
        base64.b64encode(password.encode()).decode().rstrip("="),
    }


async def test_after_onboarding_by_each_endpoint_no_password_is_anywhere_else(
    each_way: Endpoints,
) -> None:
    endpoints = each_way
    devices = [device_of(way) for way in WAYS]
    # Messages that are refused, about devices that have a password.
    for number, device_id in enumerate(devices):
        bad = request(device_id, repositories=["Bad"])
        await endpoints.put_message(ONBOARDING, in_base64(bad) if number % 2 else bad)
        await endpoints.put_message(EVENTS, device_event(device_id, hubName=...))
    await endpoints.put_message(WORK, b"not JSON")
    await endpoints.until_taken(ONBOARDING, EVENTS)
    assert len(await endpoints.poison()) >= 2 * len(devices)

    passwords = [entry_of(endpoints.stack, device, "doorone")["password"] for device in devices]
    assert len(set(passwords)) == len(devices)
    stored = await _everything_stored(endpoints)
    assert all(any(device in text for text in stored) for device in devices)
    answers = [text for device in devices for text in await _every_answer(endpoints, device)]
    shown = "\n".join((*stored, *answers, *endpoints.lines))
    hidden = [*passwords, *endpoints.webhook_keys, endpoints.app.key, endpoints.app.master_key]
    assert not [text for password in hidden for text in _disguises(password) if text in shown]
    await endpoints.discard_all()
