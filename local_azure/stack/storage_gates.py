"""The proxies of a storage account that check the roles of managed identities."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, TCPConnector

from local_azure.azurite import AzuriteEndpoints
from local_azure.azurite.gate import StorageUrls, create_storage_gate
from local_azure.azurite.operations import Service
from local_azure.kernel import Kernel
from local_azure.stack.deployed_queues import create_queues
from local_azure.stack.identities import STORAGE_ID
from local_azure.stack.listeners import Listeners, Wire

_KEPT_SECONDS = 2.0


@asynccontextmanager
async def run_storage_gates(
    kernel: Kernel,
    storage: AzuriteEndpoints,
    *,
    address: str,
    account_id: str = STORAGE_ID,
    wire: Wire | None = None,
) -> AsyncIterator[StorageUrls]:
    """Proxies that check the roles on an account, the app's by default, in front of Azurite's.

    The account has the queues that infra/ deploys.
    """
    listeners = Listeners(
        address=address, certificates=kernel.certificates, clock=kernel.clock, wire=wire
    )
    # Without a limit, so that no request waits for another one. Azurite closes a connection that
    # was idle for five seconds: it must not get a request just then.
    connector = TCPConnector(
        ssl=kernel.certificates.client_context(), limit=0, keepalive_timeout=_KEPT_SECONDS
    )
    async with ClientSession(connector=connector, auto_decompress=False) as session:
        try:
            await create_queues(storage, session)
            urls = {}
            for service, url in (
                (Service.BLOB, storage.blob_url),
                (Service.QUEUE, storage.queue_url),
                (Service.TABLE, storage.table_url),
            ):
                port = listeners.bind()
                gate = create_storage_gate(
                    kernel, session, service=service, url=url, account_id=account_id
                )
                await listeners.serve(port, gate)
                urls[f"{service}_url"] = f"https://{port.host}/{storage.account_name}"
            yield StorageUrls(**urls)
        finally:
            await listeners.close()
