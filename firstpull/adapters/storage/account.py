"""The three services of the storage account, and what must exist in them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.timeouts import SOCKET
from firstpull.intake.poison_queue import QUEUES
from firstpull.model.clock import ServiceClock

SERVICE = "Storage"
RECORDS_TABLE = "devices"
MEMBERSHIP_CONTAINER = "membership"
SWEEPS_CONTAINER = "sweeps"
TABLE_MADE = "table-made"
"""A blob that says that the table was made once."""

_SENT_AT = "firstpull_sent_at"
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
    def from_connection_string(cls, text: str, *, clock: ServiceClock) -> StorageServices:
        """The services, with the account's key. The answers of the table set the clock."""
        return cls(
            tables=TableServiceClient.from_connection_string(
                text, **_TABLE_RETRY, **SOCKET, **_setting(clock)
            ),
            queues=QueueServiceClient.from_connection_string(text, **_RETRY, **SOCKET),
            blobs=BlobServiceClient.from_connection_string(text, **_RETRY, **SOCKET),
        )

    @classmethod
    def from_identity(
        cls,
        credential: AsyncTokenCredential,
        *,
        table_url: str,
        queue_url: str,
        blob_url: str,
        clock: ServiceClock,
    ) -> StorageServices:
        """The services, with the app's identity. The answers of the table set the clock."""
        return cls(
            tables=TableServiceClient(
                table_url,
                credential=credential,
                audience=_AUDIENCE,
                **_TABLE_RETRY,
                **SOCKET,
                **_setting(clock),
            ),
            queues=QueueServiceClient(queue_url, credential, **_RETRY, **SOCKET),
            blobs=BlobServiceClient(blob_url, credential, **_RETRY, **SOCKET),
        )

    async def prepare(self) -> None:
        """Create the table, the queues and the containers that are missing.

        A table that was made before and is gone is not made again: an empty one would say that
        no device has access.
        """
        async with azure_errors(SERVICE):
            for name in QUEUES:
                await create_queue(self.queues.get_queue_client(name))
            for name in (MEMBERSHIP_CONTAINER, SWEEPS_CONTAINER):
                with suppress(ResourceExistsError):
                    await self.blobs.create_container(name)
            made = self.blobs.get_blob_client(MEMBERSHIP_CONTAINER, TABLE_MADE)
            try:
                await made.download_blob()
            except ResourceNotFoundError:
                await self.tables.create_table_if_not_exists(RECORDS_TABLE)
                await made.upload_blob(RECORDS_TABLE, overwrite=True)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self.tables, self.queues, self.blobs):
            await client.close()


def _setting(clock: ServiceClock) -> dict[str, Any]:
    """Hooks of the SDK that set the clock by each answer, at each try of a request."""

    def on_request(request: PipelineRequest[object]) -> None:
        request.context[_SENT_AT] = clock.host_time()

    def on_response(response: PipelineResponse[object, object]) -> None:
        headers: Mapping[str, str] = getattr(response.http_response, "headers", {})
        try:
            date = parsedate_to_datetime(headers["Date"])
        except (KeyError, ValueError):
            return
        clock.answered(date, sent_at=response.context[_SENT_AT])

    return {"raw_request_hook": on_request, "raw_response_hook": on_response}


async def create_queue(queue: QueueClient) -> None:
    """Create a queue if it is missing."""
    try:
        await queue.create_queue()
    except ResourceExistsError:
        return
