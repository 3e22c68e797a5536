"""azure-keyvault-secrets and azure-identity, unmodified, against the local vault over TLS."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
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
from azure.identity import ManagedIdentityCredential as SyncManagedIdentityCredential
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient as SyncSecretClient
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


@dataclass(frozen=True)
class RunningVault:
    """A vault behind TLS and the identity endpoint that its clients get tokens from."""

    kernel: Kernel
    vault: Vault
    url: str
    ca_file: Path
    client: SecretClient


@asynccontextmanager
async def listening(
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
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningVault]:
    kernel = Kernel.create(seed=1, addresses=("127.0.0.1",))
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(kernel.certificates.ca_pem)
    vault_listener, vault_port = loopback()
    identity_listener, identity_port = loopback()
    vault = Vault(clock=kernel.clock, random=kernel.random)
    application = create_key_vault_application(
        kernel,
        vault,
        vault_url=f"https://127.0.0.1:{vault_port}",
        authority="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001",
        resource=f"https://0.0.1:{vault_port}",
    )
    app = ManagedIdentity(
        tenant_id="00000000-0000-0000-0000-000000000001",
        principal_id="00000000-0000-0000-0000-000000000002",
        client_id="00000000-0000-0000-0000-000000000003",
        resource_id="/subscriptions/s/resourcegroups/g/providers/Microsoft.Web/sites/app",
    )
    hosts = {"header-of-the-host": HostIdentities(system_assigned=app)}
    identity = create_identity_application(kernel, hosts=hosts)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{identity_port}{IDENTITY_PATH}")
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-host")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(application, vault_listener, kernel))
        await stack.enter_async_context(listening(identity, identity_listener))
        credential = await stack.enter_async_context(ManagedIdentityCredential())
        url = f"https://127.0.0.1:{vault_port}"
        client = await stack.enter_async_context(
            SecretClient(url, credential, connection_verify=str(ca_file), retry_backoff_factor=0)
        )
        yield RunningVault(kernel, vault, url, ca_file, client)


async def test_a_secret_makes_its_round_with_managed_identity(running: RunningVault) -> None:
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
    assert running.kernel.calls.counts() == {
        "identity.token": 1,
        "keyVault.challenge": 1,
        "keyVault.secrets.get": 2,
        "keyVault.secrets.set": 1,
    }


async def test_default_azure_credential_finds_the_managed_identity(running: RunningVault) -> None:
    async with (
        DefaultAzureCredential() as credential,
        SecretClient(running.url, credential, connection_verify=str(running.ca_file)) as client,
    ):
        await client.set_secret("device", "one")

    assert running.kernel.calls.counts()["keyVault.secrets.set"] == 1


async def test_the_synchronous_client_is_served_alike(running: RunningVault) -> None:
    def use() -> tuple[str | None, list[str | None]]:
        with (
            SyncManagedIdentityCredential() as credential,
            SyncSecretClient(
                running.url, credential, connection_verify=str(running.ca_file)
            ) as client,
        ):
            client.set_secret("device", "one")
            client.begin_delete_secret("device").wait()
            client.begin_recover_deleted_secret("device").wait()
            names = [properties.name for properties in client.list_properties_of_secrets()]
            return client.get_secret("device").value, names

    assert await asyncio.to_thread(use) == ("one", ["device"])


async def test_a_process_needs_nothing_but_its_environment(running: RunningVault) -> None:
    program = """
import asyncio, sys
from azure.identity.aio import DefaultAzureCredential
from azure.keyvault.secrets.aio import SecretClient

async def main():
    async with DefaultAzureCredential() as credential, SecretClient(sys.argv[1], credential) as c:
        print((await c.get_secret("device")).value)

asyncio.run(main())
"""
    await running.client.set_secret("device", "one")
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, running.url],
        env=os.environ | {"SSL_CERT_FILE": str(running.ca_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == ("one\n", "")


async def test_a_client_stays_signed_in_when_the_time_of_the_stack_moves_on(
    running: RunningVault,
) -> None:
    await running.client.set_secret("device", "one")
    for _ in range(3):
        running.kernel.clock.advance(timedelta(days=45))
        assert (await running.client.get_secret("device")).value == "one"

    async with (
        ManagedIdentityCredential() as credential,
        SecretClient(running.url, credential, connection_verify=str(running.ca_file)) as newcomer,
    ):
        assert (await newcomer.get_secret("device")).value == "one"


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


async def test_a_disabled_version_is_refused_and_listed(running: RunningVault) -> None:
    await running.client.set_secret("device", "one")
    await running.client.update_secret_properties("device", enabled=False)

    with pytest.raises(HttpResponseError) as refused:
        await running.client.get_secret("device")
    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "Forbidden"
    assert refused.value.error.innererror == {"code": "SecretDisabled"}
    listed = [one async for one in running.client.list_properties_of_secret_versions("device")]
    assert [one.enabled for one in listed] == [False]


async def test_one_version_is_disabled_and_enabled_again_and_the_others_are_served(
    running: RunningVault,
) -> None:
    old = (await running.client.set_secret("device", "one")).properties.version
    await running.client.set_secret("device", "two")
    await running.client.update_secret_properties("device", old, enabled=False)

    with pytest.raises(HttpResponseError) as refused:
        await running.client.get_secret("device", old)
    assert refused.value.status_code == 403
    assert (await running.client.get_secret("device")).value == "two"
    await running.client.update_secret_properties("device", old, enabled=True)
    assert (await running.client.get_secret("device", old)).value == "one"


async def test_a_deleted_name_is_taken_until_it_is_purged(running: RunningVault) -> None:
    await running.client.set_secret("device", "one")
    deleted = await running.client.delete_secret("device")
    assert deleted.recovery_id == f"{running.url}/deletedsecrets/device"

    with pytest.raises(ResourceNotFoundError):
        await running.client.get_secret("device")
    with pytest.raises(ResourceExistsError) as refused:
        await running.client.set_secret("device", "two")
    assert refused.value.error is not None
    assert refused.value.error.code == "Conflict"
    assert refused.value.error.innererror == {"code": "ObjectIsDeletedButRecoverable"}
    names = [one.name async for one in running.client.list_deleted_secrets()]
    assert names == ["device"]

    await running.client.purge_deleted_secret("device")
    assert (await running.client.set_secret("device", "three")).value == "three"


async def test_a_recovered_secret_can_be_read_again(running: RunningVault) -> None:
    await running.client.set_secret("device", "one")
    await running.client.delete_secret("device")
    await running.client.recover_deleted_secret("device")

    assert (await running.client.get_secret("device")).value == "one"


async def test_a_deletion_that_takes_a_while_is_waited_for_and_so_is_a_recovery(
    running: RunningVault,
) -> None:
    running.vault.settings.moving_seconds = (0.05, 0.05)
    await running.client.set_secret("device", "one")
    await running.client.delete_secret("device", _polling_interval=0.01)
    assert [one.name async for one in running.client.list_deleted_secrets()] == ["device"]
    await running.client.recover_deleted_secret("device", _polling_interval=0.01)
    assert (await running.client.get_secret("device")).value == "one"
    counts = running.kernel.calls.counts()
    assert counts["keyVault.deletedSecrets.get"] > 1
    assert counts["keyVault.secrets.get"] > 2


async def test_a_purged_name_can_be_used_when_the_purge_has_ended(running: RunningVault) -> None:
    await running.client.set_secret("device", "one")
    await running.client.delete_secret("device")
    running.vault.settings.moving_seconds = (5, 5)
    await running.client.purge_deleted_secret("device")
    for attempt in (
        running.client.set_secret("device", "two"),
        running.client.purge_deleted_secret("device"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            await attempt
        assert refused.value.status_code == 409
        assert refused.value.error is not None
        assert refused.value.error.code == "Conflict"
        assert refused.value.error.innererror == {"code": "ObjectIsBeingDeleted"}
    running.kernel.clock.advance(timedelta(seconds=5))
    assert (await running.client.set_secret("device", "two")).value == "two"


async def test_the_sdk_lists_all_secrets_25_at_a_time_disabled_ones_too(
    running: RunningVault,
) -> None:
    names = [f"device-{number:02}" for number in range(60)]
    for name in names:
        enabled = name != "device-30"
        running.vault.set(name, SecretStr("one"), Properties(enabled=enabled, tags={"of": name}))
    running.vault.delete("device-59")

    listed = [one async for one in running.client.list_properties_of_secrets()]
    assert [one.name for one in listed] == names[:-1]
    assert [one.tags for one in listed] == [{"of": name} for name in names[:-1]]
    assert [one.name for one in listed if not one.enabled] == ["device-30"]
    assert running.kernel.calls.counts()["keyVault.secrets.list"] == 3


async def test_lists_are_followed_page_by_page(running: RunningVault) -> None:
    for number in range(7):
        await running.client.set_secret("device", str(number))
        await running.client.set_secret(f"device-{number}", "x")

    secrets = [one.name async for one in running.client.list_properties_of_secrets(max_page_size=3)]
    versions = [
        one.version
        async for one in running.client.list_properties_of_secret_versions(
            "device", max_page_size=2
        )
    ]
    assert secrets == ["device", *(f"device-{number}" for number in range(7))]
    assert len(set(versions)) == 7
    counts = running.kernel.calls.counts()
    assert counts["keyVault.secrets.list"] == 3
    assert counts["keyVault.secrets.listVersions"] == 4


async def test_a_throttled_client_reads_how_long_to_wait(running: RunningVault) -> None:
    running.kernel.faults.add(
        Fault("keyVault.secrets.get", FaultKind.STATUS, status=429, retry_after="7")
    )
    headers: list[str] = []
    with pytest.raises(HttpResponseError) as refused:
        await running.client.get_secret(
            "device",
            retry_total=0,
            raw_response_hook=lambda answer: headers.append(
                answer.http_response.headers["Retry-After"]
            ),
        )

    assert refused.value.status_code == 429
    assert headers[-1] == "7"
    assert refused.value.error is not None
    assert refused.value.error.code == "Throttled"


async def test_a_set_whose_answer_is_lost_has_taken_effect(running: RunningVault) -> None:
    running.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST, times=None))
    # The transport takes a closed connection for a request that was never sent.
    with pytest.raises(ServiceRequestError):
        await running.client.set_secret("device", "one", retry_total=0)

    assert (await running.client.get_secret("device")).value == "one"


async def test_a_set_that_is_sent_again_leaves_another_version(running: RunningVault) -> None:
    running.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST))
    await running.client.set_secret("device", "one")

    versions = [one async for one in running.client.list_properties_of_secret_versions("device")]
    assert len(versions) == 2


async def test_no_text_of_the_clients_or_the_servers_repeats_a_value(
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
