"""The vault behind TLS, with the unmodified SDK and the tokens of a managed identity."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from pydantic import SecretStr

from local_azure.identity.responses import PATH as IDENTITY_PATH
from local_azure.identity.responses import (
    HostIdentities,
    ManagedIdentity,
    create_identity_application,
)
from local_azure.kernel import Kernel
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.key_vault.models import Properties, Vault
from local_azure.key_vault.responses import create_key_vault_application

CANARY = "correct-horse-battery-staple"
TENANT_ID = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True)
class RunningVault:
    """A vault behind TLS and the identity endpoint that its clients get tokens from."""

    kernel: Kernel
    vault: Vault
    url: str
    client: SecretClient

    async def versions(self) -> int:
        """How many versions the secret has."""
        listed = self.client.list_properties_of_secret_versions("device")
        return len([one async for one in listed])


@asynccontextmanager
async def serving(
    application: web.Application, listener: socket.socket, kernel: Kernel | None = None
) -> AsyncIterator[None]:
    runner = web.AppRunner(application)
    await runner.setup()
    tls = kernel.certificates.server_context() if kernel else None
    await web.SockSite(runner, listener, ssl_context=tls).start()
    try:
        yield
    finally:
        await runner.cleanup()


def loopback() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


@pytest.fixture
async def running(
    kernel: Kernel, kernel_ca: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningVault]:
    vault_listener, vault_port = loopback()
    identity_listener, identity_port = loopback()
    vault = Vault(clock=kernel.clock, random=kernel.random)
    url = f"https://127.0.0.1:{vault_port}"
    application = create_key_vault_application(
        kernel,
        vault,
        vault_url=url,
        authority=f"https://login.microsoftonline.com/{TENANT_ID}",
        resource=f"https://0.0.1:{vault_port}",
    )
    app = ManagedIdentity(
        tenant_id=TENANT_ID, principal_id="principal", client_id="client", resource_id="/app"
    )
    hosts = {"header-of-the-host": HostIdentities(system_assigned=app)}
    identity = create_identity_application(kernel, hosts=hosts)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{identity_port}{IDENTITY_PATH}")
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-host")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(application, vault_listener, kernel))
        await stack.enter_async_context(serving(identity, identity_listener))
        credential = await stack.enter_async_context(ManagedIdentityCredential())
        client = await stack.enter_async_context(
            SecretClient(url, credential, connection_verify=str(kernel_ca), retry_backoff_factor=0)
        )
        yield RunningVault(kernel, vault, url, client)


def inner_code_of(refused: HttpResponseError) -> tuple[int | None, str | None, object]:
    assert refused.error is not None
    return refused.status_code, refused.error.code, refused.error.innererror


async def test_a_secret_can_be_set_and_read_with_managed_identity(running: RunningVault) -> None:
    expires = datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    added = await running.client.set_secret(
        "device", "one", content_type="password", tags={"device": "7"}, expires_on=expires
    )
    read = await running.client.get_secret("device", added.properties.version)

    assert read.value == "one"
    assert read.id == f"{running.url}/secrets/device/{added.properties.version}"
    assert read.properties.expires_on == expires
    assert read.properties.tags == {"device": "7"}
    assert read.properties.content_type == "password"
    assert read.properties.recovery_level == "Recoverable+Purgeable"
    assert (await running.client.get_secret("device")).value == "one"


async def test_a_client_stays_logged_in_when_the_clock_of_the_stack_moves(
    running: RunningVault,
) -> None:
    await running.client.set_secret("device", "one")
    for _ in range(3):
        running.kernel.clock.advance(timedelta(days=45))
        assert (await running.client.get_secret("device")).value == "one"


async def test_a_vault_that_challenges_for_another_host_is_not_trusted(
    running: RunningVault,
) -> None:
    url = running.url.replace("127.0.0.1", "localhost")
    async with (
        ManagedIdentityCredential() as credential,
        SecretClient(url, credential, connection_verify=False) as client,
    ):
        with pytest.raises(ValueError, match="does not match the requested domain"):
            await client.get_secret("device")


async def test_the_sdk_deletes_recovers_and_purges(running: RunningVault) -> None:
    running.vault.settings.moving_seconds = (0.05, 0.05)
    await running.client.set_secret("device", "one")
    deleted = await running.client.delete_secret("device", _polling_interval=0.01)
    assert deleted.recovery_id == f"{running.url}/deletedsecrets/device"
    with pytest.raises(ResourceNotFoundError):
        await running.client.get_secret("device")
    with pytest.raises(ResourceExistsError) as refused:
        await running.client.set_secret("device", "two")
    taken = {"code": "ObjectIsDeletedButRecoverable"}
    assert inner_code_of(refused.value) == (409, "Conflict", taken)

    await running.client.recover_deleted_secret("device", _polling_interval=0.01)
    assert (await running.client.get_secret("device")).value == "one"

    await running.client.delete_secret("device", _polling_interval=0.01)
    running.vault.settings.moving_seconds = (5, 5)
    await running.client.purge_deleted_secret("device")
    with pytest.raises(HttpResponseError) as being_purged:
        await running.client.set_secret("device", "two")
    assert inner_code_of(being_purged.value) == (409, "Conflict", {"code": "ObjectIsBeingDeleted"})
    running.kernel.clock.advance(timedelta(seconds=5))
    assert (await running.client.set_secret("device", "two")).value == "two"


async def test_a_deletion_a_recovery_and_a_purge_take_seconds(running: RunningVault) -> None:
    await running.client.set_secret("device", "one")
    vault = running.vault
    vault.delete("device")
    with pytest.raises(ResourceExistsError):
        await running.client.purge_deleted_secret("device")
    with pytest.raises(ResourceNotFoundError):
        await running.client.get_deleted_secret("device")
    running.kernel.clock.advance(timedelta(seconds=5))
    vault.recover("device")
    with pytest.raises(ResourceNotFoundError):
        await running.client.get_secret("device")
    with pytest.raises(ResourceExistsError, match="cannot be re-created") as refused:
        await running.client.set_secret("device", "two")
    taken = {"code": "ObjectIsBeingRecovered"}
    assert inner_code_of(refused.value) == (409, "Conflict", taken)


async def test_the_sdk_follows_both_lists_to_their_last_page(running: RunningVault) -> None:
    names = [f"device-{number:02}" for number in range(60)]
    for name in names:
        enabled = name != "device-30"
        running.vault.set(name, SecretStr("one"), Properties(enabled=enabled, tags={"of": name}))
    for number in range(60):
        running.vault.set("device", SecretStr(str(number)), Properties())

    listed = [one async for one in running.client.list_properties_of_secrets()]
    assert [one.name for one in listed] == ["device", *names]
    assert [one.tags for one in listed[1:]] == [{"of": name} for name in names]
    assert [one.name for one in listed if not one.enabled] == ["device-30"]
    assert await running.versions() == 60


async def test_a_set_takes_effect_although_its_answer_is_lost(running: RunningVault) -> None:
    running.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST))
    await running.client.set_secret("device", "one")  # sent twice by the SDK
    assert await running.versions() == 2

    running.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST, times=None))
    with pytest.raises(ServiceRequestError):
        await running.client.set_secret("device", "two", retry_total=0)
    assert (await running.client.get_secret("device")).value == "two"


async def test_no_message_of_client_or_server_repeats_a_value(
    running: RunningVault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    await running.client.set_secret("device", CANARY)
    await running.client.get_secret("device")
    await running.client.delete_secret("device")
    for name, value in (("device", CANARY), ("a_b", CANARY), ("big", CANARY * 2000)):
        with pytest.raises(HttpResponseError) as refused:
            await running.client.set_secret(name, value)
        texts.append(f"{refused.value!r} {refused.value}")

    assert CANARY not in "".join(texts)
    assert CANARY not in caplog.text
    assert "PUT" in caplog.text
