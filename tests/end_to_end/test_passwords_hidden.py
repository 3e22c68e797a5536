"""Promise: a password is in Key Vault and in its device's twin, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure.container_registry.passwords import PasswordName
from local_azure.container_registry.resources import GeneratedCredentials
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack import Stack

from .api import Api, running_app
from .cloud import cloud_registry, entry_of, forget_devices, register, secret_versions
from .in_process import connected

PLANT, IN_PROCESS = "plant07", "plant08"
_ENOUGH = 3
"""Times that a call goes wrong, so that no SDK's own second attempt hides it."""

DEVICES = 12


def trouble() -> list[Fault]:
    """A bad day wherever a password is on its way."""
    making, storing = "arm.registries.generateCredentials", "keyVault.secrets.set"
    delivering, joining = "iotHub.twins.update", "arm.connectedRegistries.update"
    return [
        Fault(making, FaultKind.ANSWER_LOST),
        Fault(storing, FaultKind.STATUS, status=400),
        Fault(storing, FaultKind.STATUS, status=503, times=_ENOUGH),
        Fault(storing, FaultKind.ANSWER_LOST, times=_ENOUGH),
        Fault(delivering, FaultKind.ANSWER_LOST),
        Fault(delivering, FaultKind.RESET),
        Fault(delivering, FaultKind.STATUS, status=412),
        Fault(delivering, FaultKind.STATUS, status=400),
        Fault(joining, FaultKind.STATUS, status=500),
    ]


@pytest.fixture
def passwords(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every password that is made from now on, as the container registry made it."""
    made: list[str] = []
    registry = cloud_registry(stack)
    generate = registry.generate_credentials

    def noted(
        token_id: str, *, name: PasswordName | None = None, expiry: datetime | None = None
    ) -> GeneratedCredentials:
        credentials = generate(token_id, name=name, expiry=expiry)
        made.extend(entry.value for entry in credentials.passwords if entry.value)
        return credentials

    monkeypatch.setattr(registry, "generate_credentials", noted)
    return made


async def test_no_password_is_in_a_log_an_answer_a_queue_a_table_or_a_blob(
    stack: Stack, ca_file: Path, passwords: list[str]
) -> None:
    async with running_app(stack, ca_file, hosts=2) as api:
        names = [f"secret-{number}" for number in range(DEVICES)]
        await _onboard_amid_trouble(api, stack, names)
        delivered = {name: await api.device(name) for name in names if entry_of(stack, name, PLANT)}
        refs = {
            "hosts' output": "\n".join(api.lines),
            "HTTP answers": "\n".join(f"{dict(a.headers)}\n{a.text}" for a in api.answers),
            "calls": "\n".join(call.path for call in stack.kernel.calls.latest()),
            "queues": await _queues(stack),
            "tables": await _tables(stack),
            "blobs": await _blobs(stack),
            "the rest of the twins": _twins_without_passwords(stack),
            "what Key Vault shows without a value": _key_vault_without_values(stack),
        }

    assert len(passwords) > DEVICES, "none was lost on the way, and made again"
    assert len(api.lines) > 5 * DEVICES
    assert "device-work" in refs["queues"]
    assert all(name in refs["tables"] for name in names)
    assert f"{PLANT}.json" in refs["blobs"]
    assert _found(passwords, refs) == []
    assert delivered
    for name, view in delivered.items():
        in_twin = entry_of(stack, name, PLANT)["password"]
        assert in_twin in passwords
        stored = stack.vault.get(view["secret"], view["delivery"]["secretVersion"])
        assert stored.value.get_secret_value() == in_twin


@pytest.mark.slow
async def test_no_password_is_logged_at_the_level_of_debugging(
    stack: Stack, passwords: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("azure", "urllib3"):  # an app or a client of clusters in this process quietens
        caplog.set_level(logging.DEBUG, logger=library)
    async with connected(stack) as firstpull:
        for number, fault in enumerate(trouble()):
            device_id = f"debug-{number}"
            register(stack, device_id)
            application = firstpull.application()
            await firstpull.ask(application, device_id, IN_PROCESS)
            stack.kernel.faults.add(fault)
            await firstpull.settle(application, device_id, IN_PROCESS)
            assert fault.hits
    await forget_devices(stack)

    assert passwords
    loggers = {record.name.split(".")[0] for record in caplog.records}
    assert {"azure", "firstpull", "urllib3"} <= loggers, "this is not the level of debugging"
    said = "\n".join(f"{r.getMessage()} {r.args!r} {r.exc_text}" for r in caplog.records)
    assert _found(passwords, {"log": said}) == []


async def _onboard_amid_trouble(api: Api, stack: Stack, names: list[str]) -> None:
    register(stack, *names)
    faults = trouble()
    for fault in faults:
        stack.kernel.faults.add(fault)
    await asyncio.gather(*(api.onboard(name, PLANT) for name in names))
    states = [(await api.reaches(name, "Delivered", "Blocked"))["state"] for name in names]
    assert all(fault.hits for fault in faults)
    assert "Delivered" in states
    # A refusal blocks, until it is tried again.
    assert any("device.reconcile.blocked" in line for line in api.lines)


def _found(passwords: list[str], refs: dict[str, str]) -> list[str]:
    """Where a password is, in any writing of it. The password itself is not named."""
    return [
        f"password {number} in {ref} {writing}"
        for number, password in enumerate(passwords)
        for writing, text in _writings(password)
        for ref, content in refs.items()
        if text in content
    ]


def _writings(password: str) -> Iterator[tuple[str, str]]:
    yield "as it is", password
    yield "for a URL", quote(password, safe="")
    yield "for a form", quote(password, safe="/")
    yield "in JSON", json.dumps(password).strip('"')
    yield "in JSON that escapes slashes", password.replace("/", "\\/")
    for shift in range(3):  # within a longer text it may begin at any of three places
        encoded = base64.b64encode(b"." * shift + password.encode()).decode()
        yield f"in base64, shifted by {shift}", encoded[4 if shift else 0 : -4]


async def _queues(stack: Stack) -> str:
    found = []
    text = stack.storage.connection_string
    async with QueueServiceClient.from_connection_string(text) as service:
        async for queue in service.list_queues():
            found.append(queue.name)
            async with service.get_queue_client(queue.name) as client:
                for message in await client.peek_messages(max_messages=32):
                    found += [str(message.content), _decoded(str(message.content))]
    return "\n".join(found)


async def _tables(stack: Stack) -> str:
    found = []
    text = stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as service:
        async for table in service.list_tables():
            entities = service.get_table_client(table.name).list_entities()
            found += [f"{table.name} {dict(entity)}" async for entity in entities]
    return "\n".join(found)


async def _blobs(stack: Stack) -> str:
    found = []
    text = stack.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as service:
        async for container in service.list_containers():
            client = service.get_container_client(container.name)
            async for blob in client.list_blobs(include=["metadata"]):
                content = await (await client.download_blob(blob.name)).readall()
                found.append(f"{blob.name} {blob.metadata} {content!r}")
    return "\n".join(found)


def _twins_without_passwords(stack: Stack) -> str:
    found = []
    for device in stack.hub.devices():
        twin = stack.hub.twin(device.device_id)
        desired = json.loads(json.dumps(twin.desired.values))
        entries = desired.get("firstpull", {}).get("registryCredentials", {})
        for entry in entries.values():
            entry.pop("password", None)
        found.append(json.dumps([desired, twin.desired.metadata, twin.reported.values, twin.tags]))
    return "\n".join(found)


def _key_vault_without_values(stack: Stack) -> str:
    names = stack.vault.list_secrets()
    versions = (version for name in names for version in secret_versions(stack, name))
    return "\n".join(f"{v.name} {v.version} {v.content_type} {v.tags}" for v in versions)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
