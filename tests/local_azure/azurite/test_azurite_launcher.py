from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure import azurite
from local_azure.azurite import AzuriteEndpoints, AzuriteNotInstalled, run_azurite
from local_azure.kernel import Kernel

STORAGE = "https://storage.azure.com"
START_AND_WAIT = """
import asyncio
from local_azure.azurite import run_azurite
from local_azure.kernel import Kernel

async def main():
    certificates = Kernel.create(seed=1, addresses=("127.0.0.1",)).certificates
    async with run_azurite(
        host="127.0.0.1",
        certificate_pem=certificates.server_certificate_pem,
        key_pem=certificates.server_key_pem,
    ) as endpoints:
        print(endpoints.blob_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class TenantCredential:
    """Bearer tokens as a managed identity of the local tenant gets them."""

    def __init__(self, kernel: Kernel, *, audience: str = STORAGE) -> None:
        self._kernel = kernel
        self._audience = audience

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        token = self._kernel.tokens.issue(
            issuer="https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
            audience=self._audience,
            lifetime=timedelta(hours=1),
            claims={},
        )
        return AccessToken(token, int(self._kernel.clock.now().timestamp()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None: ...


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel.create(seed=1, addresses=("127.0.0.1",))


@pytest.fixture(scope="module")
def ca_file(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text(kernel.certificates.ca_pem)
    return str(path)


@pytest.fixture(scope="module")
async def endpoints(kernel: Kernel) -> AsyncIterator[AzuriteEndpoints]:
    async with run_azurite(
        host="127.0.0.1",
        certificate_pem=kernel.certificates.server_certificate_pem,
        key_pem=kernel.certificates.server_key_pem,
    ) as started:
        yield started


async def test_blobs_take_the_connection_string_and_a_bearer_token(
    kernel: Kernel, ca_file: str, endpoints: AzuriteEndpoints
) -> None:
    by_key = BlobServiceClient.from_connection_string(
        endpoints.connection_string, connection_verify=ca_file
    )
    by_token = BlobServiceClient(
        endpoints.blob_url, credential=TenantCredential(kernel), connection_verify=ca_file
    )
    async with by_key, by_token:
        await (await by_key.create_container("boxes")).upload_blob("name", b"content")
        download = await by_token.get_blob_client("boxes", "name").download_blob()
        assert await download.readall() == b"content"


async def test_queues_take_the_connection_string_and_a_bearer_token(
    kernel: Kernel, ca_file: str, endpoints: AzuriteEndpoints
) -> None:
    by_key = QueueServiceClient.from_connection_string(
        endpoints.connection_string, connection_verify=ca_file
    )
    by_token = QueueServiceClient(
        endpoints.queue_url, credential=TenantCredential(kernel), connection_verify=ca_file
    )
    async with by_key, by_token:
        await (await by_key.create_queue("work")).send_message("content")
        message = await by_token.get_queue_client("work").receive_message()
        assert message is not None
        assert message.content == "content"


async def test_tables_take_the_connection_string_and_a_bearer_token(
    kernel: Kernel, ca_file: str, endpoints: AzuriteEndpoints
) -> None:
    by_key = TableServiceClient.from_connection_string(
        endpoints.connection_string, connection_verify=ca_file
    )
    by_token = TableServiceClient(
        endpoints.table_url,
        credential=TenantCredential(kernel),
        audience=STORAGE,
        connection_verify=ca_file,
    )
    async with by_key, by_token:
        table = await by_key.create_table("records")
        await table.create_entity({"PartitionKey": "p", "RowKey": "r", "value": 1})
        entity = await by_token.get_table_client("records").get_entity("p", "r")
        assert entity["value"] == 1


async def test_a_bearer_token_for_another_audience_is_refused(
    kernel: Kernel, ca_file: str, endpoints: AzuriteEndpoints
) -> None:
    credential = TenantCredential(kernel, audience="https://vault.azure.net")
    client = BlobServiceClient(endpoints.blob_url, credential=credential, connection_verify=ca_file)
    async with client:
        with pytest.raises(HttpResponseError) as refused:
            await client.create_container("refused")
    assert refused.value.status_code in (401, 403)


async def test_the_well_known_account_key_of_the_emulator_does_not_open_it(
    ca_file: str, endpoints: AzuriteEndpoints
) -> None:
    well_known = (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    )
    assert endpoints.account_key != well_known
    client = BlobServiceClient(endpoints.blob_url, credential=well_known, connection_verify=ca_file)
    async with client:
        with pytest.raises(ClientAuthenticationError):
            await client.create_container("refused")


def test_the_account_key_is_not_in_what_the_endpoints_print(endpoints: AzuriteEndpoints) -> None:
    assert endpoints.account_key not in repr(endpoints)


async def test_azurite_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_AND_WAIT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode()
    host, port = url.split("/")[2].split(":")
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    assert await _stops_answering(host, int(port))


async def test_missing_packages_are_reported_with_the_command_that_installs_them(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(azurite, "_SCRIPT", tmp_path / "azurite.js")
    with pytest.raises(AzuriteNotInstalled, match="npm ci"):
        async with run_azurite(
            host="127.0.0.1",
            certificate_pem=kernel.certificates.server_certificate_pem,
            key_pem=kernel.certificates.server_key_pem,
        ):
            pytest.fail("it started without its packages")


async def _stops_answering(host: str, port: int) -> bool:
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return True
        writer.close()
        await asyncio.sleep(0.02)
    return False
