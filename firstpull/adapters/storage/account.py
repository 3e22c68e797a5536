"""The three services of the storage account, and what must exist in them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ResourceExistsError
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.intake.poison_queue import QUEUES

SERVICE = "Storage"
RECORDS_TABLE = "devices"
MEMBERSHIP_CONTAINER = "membership"
SWEEPS_CONTAINER = "sweeps"

_AUDIENCE = "https://storage.azure.com"

# The SDKs' own first pause is 15 s; the record's schedule makes long pauses.
_TABLE_RETRY: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.2}
_RETRY: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 1}


class StorageServices:
    """The three services of one account, by connection string or by the app's identity."""

    def __init__(
        self, *, tables: TableServiceClient, queues: QueueServiceClient, blobs: BlobServiceClient
    ) -> None:
        self.tables = tables
        self.queues = queues
        self.blobs = blobs

    @classmethod
    def from_connection_string(cls, text: str) -> StorageServices:
        """The services, with the account's key."""
        return cls(
            tables=TableServiceClient.from_connection_string(text, **_TABLE_RETRY),
            queues=QueueServiceClient.from_connection_string(text, **_RETRY),
            blobs=BlobServiceClient.from_connection_string(text, **_RETRY),
        )

    @classmethod
    def from_identity(
        cls, credential: AsyncTokenCredential, *, table_url: str, queue_url: str, blob_url: str
    ) -> StorageServices:
        """The services, with the app's identity."""
        return cls(
            tables=TableServiceClient(
                table_url, credential=credential, audience=_AUDIENCE, **_TABLE_RETRY
            ),
            queues=QueueServiceClient(queue_url, credential, **_RETRY),
            blobs=BlobServiceClient(blob_url, credential, **_RETRY),
        )

    async def prepare(self) -> None:
        """Create the table, the queues and the containers that are missing."""
        async with azure_errors(SERVICE):
            await self.tables.create_table_if_not_exists(RECORDS_TABLE)
            for name in QUEUES:
                await create_queue(self.queues.get_queue_client(name))
            for name in (MEMBERSHIP_CONTAINER, SWEEPS_CONTAINER):
                with suppress(ResourceExistsError):
                    await self.blobs.create_container(name)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self.tables, self.queues, self.blobs):
            await client.close()


async def create_queue(queue: QueueClient) -> None:
    """Create a queue if it is missing."""
    try:
        await queue.create_queue()
    except ResourceExistsError:
        return
