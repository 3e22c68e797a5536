"""The ledgers and the locks of the connected registries' lists, in blobs."""

from __future__ import annotations

from datetime import datetime, timedelta

from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import LeaseProperties
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, ContainerClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import MEMBERSHIP_CONTAINER, SERVICE, StorageServices
from firstpull.adapters.storage.documents import read_document, write_document
from firstpull.model import ledger as ledgers
from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.clock import Clock
from firstpull.model.ledger import Ledger
from firstpull.model.ports import Lease, Stored

_LEASE_SECONDS = 60


class BlobLedgers:
    """The port `Ledgers`: one document per connected registry."""

    def __init__(self, services: StorageServices) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        """The ledger of a place, None before the first write."""
        found = await read_document(self._container, _document_name(ref))
        if found is None:
            return None
        return Stored(value=ledgers.from_json(found.value), etag=found.etag)

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        """Store over the one of this ETag, None for the first; else raise Conflict."""
        content = ledgers.to_json(ledger)
        written = await write_document(self._container, _document_name(ref), content, etag=etag)
        return Stored(value=ledger, etag=written)


class BlobLocks:
    """The port `Locks`: a lease on an empty blob per connected registry."""

    def __init__(self, services: StorageServices, clock: Clock) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)
        self._clock = clock

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        """The lease, None while somebody else has it."""
        blob = self._container.get_blob_client(f"{_blob_name(ref)}.lock")
        async with azure_errors(SERVICE):
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
        async with azure_errors(SERVICE):
            await self._lease.renew()
        self._until = asked_at + timedelta(seconds=_LEASE_SECONDS)

    def remaining_seconds(self) -> float:
        """For how long it is held without being renewed."""
        return (self._until - self._clock.now()).total_seconds()

    async def release(self) -> None:
        """Give it back; one that was lost is not ours to give."""
        async with azure_errors(SERVICE):
            try:
                await self._lease.release()
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                return


async def _create_empty(blob: BlobClient) -> None:
    try:
        await blob.upload_blob(b"", overwrite=False)
    except ResourceExistsError:
        return


def _document_name(ref: ConnectedRegistryRef) -> str:
    return f"{_blob_name(ref)}.json"


def _blob_name(ref: ConnectedRegistryRef) -> str:
    """Readable; the names of container registries are unique across Azure."""
    return f"{ref.registry.name}/{ref.name}"
