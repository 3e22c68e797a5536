"""The ledgers of the connected registries and the locks of their lists, in blobs."""

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

_LEASE_SECONDS = 30
"""How long a dead holder keeps the others waiting; a write renews it (`Membership`)."""


class BlobLedgers:
    """Implements `Ledgers`: one document for each connected registry."""

    def __init__(self, services: StorageServices) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        """The ledger of a connected registry, None before the first write."""
        return await read_document(self._container, _document_name(ref), ledgers.from_json)

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        """Replace the ledger that has this ETag; None stores the first. Raises Conflict."""
        content = ledgers.to_json(ledger)
        written = await write_document(self._container, _document_name(ref), content, etag=etag)
        return Stored(value=ledger, etag=written)


class BlobLocks:
    """Implements `Locks`: a lease on an empty blob for each connected registry."""

    def __init__(self, services: StorageServices, clock: Clock) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(MEMBERSHIP_CONTAINER)
        self._clock = clock

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        """The lease, None while another worker has it."""
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
            # A released lease is "available": this one has expired.
            predecessor_vanished=before.state in ("expired", "broken"),
        )


class BlobLease:
    """Implements `Lease`. Its time counts from before the request that acquired it."""

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
        """Whether the previous lease expired unreleased."""
        return self._predecessor_vanished

    async def renew(self) -> None:
        """Extend the lease to its full time. Raises Conflict if it was lost."""
        asked_at = self._clock.now()
        async with azure_errors(SERVICE):
            await self._lease.renew()
        self._until = asked_at + timedelta(seconds=_LEASE_SECONDS)

    def remaining_seconds(self) -> float:
        """The time until the lease expires unless renewed."""
        return (self._until - self._clock.now()).total_seconds()

    async def release(self) -> None:
        """Give the lease back. A lost lease is no error."""
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
    """A readable name; the names of container registries are unique across Azure, without case."""
    return f"{ref.registry.name}/{ref.name}".casefold()
