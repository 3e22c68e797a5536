"""The app's storage account: records in a table, hints in a queue, ledgers and locks in blobs."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.storage.blob import LeaseProperties
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, BlobServiceClient, ContainerClient
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from firstpull import ledger as ledgers
from firstpull import records
from firstpull.adapters.azure_errors import azure_errors
from firstpull.clock import Clock
from firstpull.cloud import Place
from firstpull.devices import DeviceKey
from firstpull.errors import Conflict, FieldError, Invalid
from firstpull.ledger import Ledger
from firstpull.poison import QUEUES, StoredMessage
from firstpull.policy import name_of
from firstpull.ports import Lease, Page, Query, Stored
from firstpull.records import DeviceRecord

RECORDS_TABLE = "devices"
WORK_QUEUE = "device-work"
MEMBERSHIP_CONTAINER = "membership"

_SERVICE = "Storage"
_LEASE_SECONDS = 60
_POISON = "-poison"
_PEEK = 32
_LONGEST_DELAY = 7 * 24 * 3600 - 1
_AUDIENCE = "https://storage.azure.com"


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
        """With the account's key."""
        return cls(
            tables=TableServiceClient.from_connection_string(text, **_TABLE_RETRY),
            queues=QueueServiceClient.from_connection_string(text, **_RETRY),
            blobs=BlobServiceClient.from_connection_string(text, **_RETRY),
        )

    @classmethod
    def from_identity(
        cls, credential: AsyncTokenCredential, *, table_url: str, queue_url: str, blob_url: str
    ) -> StorageServices:
        """With the app's identity."""
        return cls(
            tables=TableServiceClient(
                table_url, credential=credential, audience=_AUDIENCE, **_TABLE_RETRY
            ),
            queues=QueueServiceClient(queue_url, credential, **_RETRY),
            blobs=BlobServiceClient(blob_url, credential, **_RETRY),
        )

    async def prepare(self) -> None:
        """Make the table, the queues and the container where they are missing."""
        async with azure_errors(_SERVICE):
            await self.tables.create_table_if_not_exists(RECORDS_TABLE)
            for name in QUEUES:
                await _create_queue(self.queues.get_queue_client(name))
            try:
                await self.blobs.create_container(MEMBERSHIP_CONTAINER)
            except ResourceExistsError:
                return

    async def close(self) -> None:
        """Close the connections."""
        for client in (self.tables, self.queues, self.blobs):
            await client.close()


# The SDKs' own first pause is 15 s; the record is there for long pauses.
_TABLE_RETRY: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.2}
_RETRY: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 1}


class TableRecords:
    """The port `Records`: PartitionKey is the hub, RowKey a hash of the device id.

    Ids hold characters that keys may not. Beside the record there are the columns that
    queries need.
    """

    def __init__(self, services: StorageServices) -> None:
        self._table: TableClient = services.tables.get_table_client(RECORDS_TABLE)

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        """The record of a device."""
        async with azure_errors(_SERVICE):
            try:
                entity = await self._table.get_entity(**_key(device))
            except ResourceNotFoundError:
                return None
        return Stored(value=_record(entity), etag=str(entity.metadata["etag"]))

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        """Store a record where there is none."""
        async with azure_errors(_SERVICE):
            try:
                written = await self._table.create_entity(_entity(record))
            except ResourceExistsError:
                raise Conflict("The record was made meanwhile.") from None
        return Stored(value=record, etag=written["etag"])

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        """Store a record over the one of this ETag."""
        async with azure_errors(_SERVICE):
            try:
                written = await self._table.update_entity(
                    _entity(record),
                    mode=UpdateMode.REPLACE,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except (ResourceModifiedError, ResourceNotFoundError):
                raise Conflict("The record was changed meanwhile.") from None
        return Stored(value=record, etag=written["etag"])

    async def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices whose time has come."""
        async with azure_errors(_SERVICE, deadline_seconds=60):
            async for entity in self._table.query_entities(
                "dueAt le @now", parameters={"now": now}, select=["hub", "deviceId"]
            ):
                yield DeviceKey(hub=entity["hub"], device_id=entity["deviceId"])

    async def page(self, query: Query) -> Page:
        """Some of the records. Raises Invalid for an `after` that no page of this query gave."""
        columns = {
            "PartitionKey": query.hub,
            "deviceId": query.device_id,
            "state": query.state.value if query.state else None,
            "connectedRegistry": query.connected_registry,
            "secret": query.secret,
        }
        wanted = {name: value for name, value in columns.items() if value is not None}
        # An empty filter is no filter; "PartitionKey gt ''" matches everything.
        condition = " and ".join(f"{name} eq @{name}" for name in wanted) or "PartitionKey gt ''"
        async with azure_errors(_SERVICE):
            pages = self._table.query_entities(
                condition, parameters=wanted, results_per_page=query.size
            ).by_page(continuation_token=_continuation(query.after))
            async for page in pages:
                found = tuple([_record(entity) async for entity in page])
                return Page(records=found, next_page=_after(pages.continuation_token))  # type: ignore[attr-defined]
        return Page(records=(), next_page=None)


class QueueWork:
    """The port `WorkQueue`."""

    def __init__(self, services: StorageServices) -> None:
        # Plain text: host.json has messageEncoding none, so that people may write either.
        self._queue = services.queues.get_queue_client(WORK_QUEUE)

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Have the device looked at after a delay; at most seven days."""
        text = json.dumps({"hub": device.hub, "deviceId": device.device_id})
        delay = min(math.ceil(delay_seconds), _LONGEST_DELAY)
        async with azure_errors(_SERVICE):
            await self._queue.send_message(text, visibility_timeout=delay)


class PoisonStorage:
    """The port `PoisonQueues`: `<queue>-poison`, as the functions host names them."""

    def __init__(self, services: StorageServices) -> None:
        self._services = services

    async def keep(self, queue: str, text: str) -> None:
        """Put a message into the poison queue, for good."""
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(_SERVICE):
            try:
                await poison.send_message(text, time_to_live=-1)
            except ResourceNotFoundError:
                await _create_queue(poison)
                await poison.send_message(text, time_to_live=-1)

    async def peek(self, queue: str) -> tuple[StoredMessage, ...]:
        """The oldest messages, 32 at the most; they stay as they are."""
        async with azure_errors(_SERVICE):
            try:
                found = await self._queue(f"{queue}{_POISON}").peek_messages(_PEEK)
            except ResourceNotFoundError:
                return ()
        return tuple(
            StoredMessage(
                id=message.id, text=str(message.content or ""), inserted_at=message.inserted_on
            )
            for message in found
        )

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        """Put `text` into the queue and take the message out of poison. False when it has gone."""
        async with self._taken(queue, message_id) as message:
            if message is None:
                return False
            await self._queue(queue).send_message(text)
            await self._queue(f"{queue}{_POISON}").delete_message(message)
        return True

    async def discard(self, queue: str, message_id: str) -> bool:
        """Take a message out of poison. False when it has gone."""
        async with self._taken(queue, message_id) as message:
            if message is None:
                return False
            await self._queue(f"{queue}{_POISON}").delete_message(message)
        return True

    @asynccontextmanager
    async def _taken(self, queue: str, message_id: str) -> AsyncIterator[QueueMessage | None]:
        """One message, received; the others that came with it are shown again at once."""
        poison = self._queue(f"{queue}{_POISON}")
        async with azure_errors(_SERVICE):
            try:
                pages = poison.receive_messages(
                    messages_per_page=_PEEK, max_messages=_PEEK, visibility_timeout=30
                )
                received = [message async for message in pages]
            except ResourceNotFoundError:
                received = []
            for other in received:
                if other.id != message_id:
                    await poison.update_message(other, visibility_timeout=0)
            yield next((m for m in received if m.id == message_id), None)

    def _queue(self, name: str) -> QueueClient:
        return self._services.queues.get_queue_client(name)


class BlobLedgers:
    """The port `Ledgers`: one document per connected registry."""

    def __init__(self, services: StorageServices) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)

    async def get(self, place: Place) -> Stored[Ledger] | None:
        """The ledger of a place, None before the first write."""
        async with azure_errors(_SERVICE):
            try:
                blob = await self._container.download_blob(f"{_blob_name(place)}.json")
                text = await blob.readall()
            except ResourceNotFoundError:
                return None
        return Stored(value=ledgers.from_json(text), etag=str(blob.properties.etag))

    async def put(self, place: Place, ledger: Ledger, *, etag: str | None) -> Stored[Ledger]:
        """Store over the one of this ETag, None for the first; else raise Conflict."""
        condition: dict[str, Any] = (
            {"match_condition": MatchConditions.IfMissing}
            if etag is None
            else {"match_condition": MatchConditions.IfNotModified, "etag": etag}
        )
        async with azure_errors(_SERVICE):
            try:
                written = await self._container.get_blob_client(
                    f"{_blob_name(place)}.json"
                ).upload_blob(ledgers.to_json(ledger), overwrite=etag is not None, **condition)
            except (ResourceModifiedError, ResourceExistsError):
                raise Conflict("The ledger was changed meanwhile.") from None
        return Stored(value=ledger, etag=str(written["etag"]))


class BlobLocks:
    """The port `Locks`: a lease on an empty blob per connected registry."""

    def __init__(self, services: StorageServices, clock: Clock) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)
        self._clock = clock

    async def acquire(self, place: Place) -> Lease | None:
        """The lease, None while somebody else has it."""
        blob = self._container.get_blob_client(f"{_blob_name(place)}.lock")
        async with azure_errors(_SERVICE):
            try:
                before: LeaseProperties = (await blob.get_blob_properties()).lease
            except ResourceNotFoundError:
                await _create_empty(blob)
                before = LeaseProperties()
            if before.state == "leased":
                return None
            taken_at = self._clock.now()
            lease = BlobLeaseClient(blob)
            try:
                await lease.acquire(lease_duration=_LEASE_SECONDS)
            except ResourceExistsError:
                return None
        return BlobLease(
            lease,
            self._clock,
            taken_at=taken_at,
            # Given back it would be "available": this one ran out.
            predecessor_vanished=before.state in ("expired", "broken"),
        )


class BlobLease:
    """The port `Lease`. Time counts from before the request that took it."""

    def __init__(
        self,
        lease: BlobLeaseClient,
        clock: Clock,
        *,
        taken_at: datetime,
        predecessor_vanished: bool,
    ) -> None:
        self._lease = lease
        self._clock = clock
        self._until = taken_at + timedelta(seconds=_LEASE_SECONDS)
        self._predecessor_vanished = predecessor_vanished

    @property
    def predecessor_vanished(self) -> bool:
        """Whether the holder before never gave it back."""
        return self._predecessor_vanished

    async def renew(self) -> None:
        """Hold it for the full time again. Raises Conflict when it is held no longer."""
        asked_at = self._clock.now()
        async with azure_errors(_SERVICE):
            await self._lease.renew()
        self._until = asked_at + timedelta(seconds=_LEASE_SECONDS)

    def remaining_seconds(self) -> float:
        """For how long it is held without being renewed."""
        return (self._until - self._clock.now()).total_seconds()

    async def release(self) -> None:
        """Give it back; one that was lost is not ours to give."""
        async with azure_errors(_SERVICE):
            try:
                await self._lease.release()
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                return


async def _create_queue(queue: QueueClient) -> None:
    try:
        await queue.create_queue()
    except ResourceExistsError:
        return


async def _create_empty(blob: BlobClient) -> None:
    try:
        await blob.upload_blob(b"", overwrite=False)
    except ResourceExistsError:
        return


def _key(device: DeviceKey) -> dict[str, str]:
    return {"partition_key": device.hub, "row_key": device.digest()}


def _entity(record: DeviceRecord) -> dict[str, Any]:
    return {
        "PartitionKey": record.device.hub,
        "RowKey": record.device.digest(),
        "schemaVersion": record.schema_version,
        "hub": record.device.hub,
        "deviceId": record.device.device_id,
        "state": record.condition.state.value,
        "connectedRegistry": record.place.connected_registry if record.place else "",
        "secret": record.names.secret if record.names else "",
        "dueAt": record.due_at,
        "record": records.to_json(record),
    }


def _record(entity: Mapping[str, Any]) -> DeviceRecord:
    return records.from_json(entity["record"])


def _after(token: Mapping[str, str] | None) -> str | None:
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode() if token else None


def _continuation(after: str | None) -> Any:  # noqa: ANN401 - the SDK says str and takes a dict
    if after is None:
        return None
    try:
        token = json.loads(base64.urlsafe_b64decode(after))
        return {key: str(token[key]) for key in ("PartitionKey", "RowKey")}
    except (ValueError, TypeError, KeyError, binascii.Error):
        error = FieldError("after", "is not a `next` of this listing")
        raise Invalid("The listing cannot be continued.", errors=(error,)) from None


def _blob_name(place: Place) -> str:
    """Readable, and apart for equal names in two container registries' subscriptions."""
    return f"{name_of(place.registry)}/{place.connected_registry}"
