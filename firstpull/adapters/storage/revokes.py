"""How many devices the API revoked lately, in a blob."""

from __future__ import annotations

from azure.storage.blob.aio import ContainerClient

from firstpull.adapters.storage.account import SWEEPS_CONTAINER, StorageServices
from firstpull.adapters.storage.documents import read_document, write_document
from firstpull.model import revoke_count
from firstpull.model.ports import Stored
from firstpull.model.revoke_count import RevokeCount

_REVOKES = "revokes.json"


class BlobRevokeCounts:
    """Implements `RevokeCounts`."""

    def __init__(self, services: StorageServices) -> None:
        # Beside the sweep's report, which holds back revokes of its own.
        self._container: ContainerClient = services.blobs.get_container_client(SWEEPS_CONTAINER)

    async def get(self) -> Stored[RevokeCount] | None:
        """The count, None before the first revoke."""
        return await read_document(self._container, _REVOKES, revoke_count.from_json)

    async def put(self, count: RevokeCount, *, etag: str | None) -> Stored[RevokeCount]:
        """Replace the count that has this ETag; None stores the first. Raises Conflict."""
        content = revoke_count.to_json(count)
        written = await write_document(self._container, _REVOKES, content, etag=etag)
        return Stored(value=count, etag=written)
