from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure import azurite
from local_azure.azurite import (
    Azurite,
    AzuriteEndpoints,
    AzuriteNotInstalled,
    run_azurite,
    running_azurite,
)
from local_azure.kernel import Kernel
from local_azure.kernel.clock import Clock

WELL_KNOWN_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
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


@pytest.fixture(scope="module")
async def endpoints(shared_kernel: Kernel) -> AsyncIterator[AzuriteEndpoints]:
    async with run_azurite(
        host="127.0.0.1",
        certificate_pem=shared_kernel.certificates.server_certificate_pem,
        key_pem=shared_kernel.certificates.server_key_pem,
    ) as started:
        yield started


async def test_the_connection_string_opens_all_three_services(
    kernel_ca: Path, endpoints: AzuriteEndpoints
) -> None:
    string = endpoints.connection_string
    async with (
        BlobServiceClient.from_connection_string(string, connection_verify=str(kernel_ca)) as blobs,
        QueueServiceClient.from_connection_string(
            string, connection_verify=str(kernel_ca)
        ) as queues,
        TableServiceClient.from_connection_string(
            string, connection_verify=str(kernel_ca)
        ) as tables,
    ):
        await (await blobs.create_container("boxes")).upload_blob("name", b"content")
        await (await queues.create_queue("work")).send_message("content")
        await (await tables.create_table("records")).create_entity(
            {"PartitionKey": "p", "RowKey": "r"}
        )


async def test_the_account_key_is_new_and_not_printed(
    kernel_ca: Path, endpoints: AzuriteEndpoints
) -> None:
    assert endpoints.account_key not in repr(endpoints)
    client = BlobServiceClient(
        endpoints.blob_url, credential=WELL_KNOWN_KEY, connection_verify=str(kernel_ca)
    )
    async with client:
        with pytest.raises(ClientAuthenticationError):
            await client.create_container("refused")


async def test_its_clock_is_moved_with_the_stacks(kernel_ca: Path, kernel: Kernel) -> None:
    clock = Clock()
    async with (
        run_azurite(
            host="127.0.0.1",
            certificate_pem=kernel.certificates.server_certificate_pem,
            key_pem=kernel.certificates.server_key_pem,
            clock=clock,
        ) as endpoints,
        QueueServiceClient.from_connection_string(
            endpoints.connection_string, connection_verify=str(kernel_ca)
        ) as queues,
    ):
        queue = await queues.create_queue("work")
        await queue.send_message("an hour later", visibility_timeout=3600)
        assert await queue.receive_message() is None
        clock.advance(timedelta(days=1))
        await clock.all_have_moved()
        message = await queue.receive_message(visibility_timeout=60)
        assert message is not None
        assert message.next_visible_on is not None
        assert abs(message.next_visible_on - clock.now()) < timedelta(minutes=5)


async def test_azurite_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_AND_WAIT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode()
    host, port = url.split("/")[2].split(":")
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    while True:  # pytest's timeout is the limit
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            break
        writer.close()
        await asyncio.sleep(0.02)


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
            pytest.fail("Azurite started without its packages")


@pytest.mark.slow
async def test_what_is_on_disk_is_there_after_an_end_and_a_start(
    shared_kernel: Kernel, kernel_ca: Path
) -> None:
    async with running_azurite(
        host="127.0.0.1",
        certificate_pem=shared_kernel.certificates.server_certificate_pem,
        key_pem=shared_kernel.certificates.server_key_pem,
        keeps=True,
    ) as stored:
        before = stored.endpoints
        async with _tables(stored, kernel_ca) as tables:
            await tables.create_table("kept")
        await stored.save_and_end()
        await stored.start()
        assert stored.endpoints == before
        async with _tables(stored, kernel_ca) as tables:
            assert [table.name async for table in tables.list_tables()] == ["kept"]


def _tables(stored: Azurite, ca: Path) -> TableServiceClient:
    text = stored.endpoints.connection_string
    return TableServiceClient.from_connection_string(text, connection_verify=str(ca))
