"""Documents of the whole app in blobs: the last sweep's report, a count of revokes, a seal."""

from __future__ import annotations

from collections.abc import Callable

from firstpull.adapters.storage.account import SWEEPS_CONTAINER, StorageServices
from firstpull.adapters.storage.documents import read_document, write_document
from firstpull.model import page_seal, revoke_count, sweep_report
from firstpull.model.ports import PageSeals, RevokeCounts, Stored, Sweeps


class BlobDocument[Written, Read]:
    """Implements `Document`."""

    def __init__(
        self,
        services: StorageServices,
        name: str,
        *,
        to_json: Callable[[Written], bytes],
        from_json: Callable[[bytes], Read],
    ) -> None:
        self._container = services.blobs.get_container_client(SWEEPS_CONTAINER)
        self._name = name
        self._to_json = to_json
        self._from_json = from_json

    async def get(self) -> Stored[Read] | None:
        """The value, None before the first one."""
        return await read_document(self._container, self._name, self._from_json)

    async def put(self, value: Written, *, etag: str | None) -> Stored[Written]:
        """Replace the value that has this ETag; None stores the first. Raises Conflict."""
        content = self._to_json(value)
        written = await write_document(self._container, self._name, content, etag=etag)
        return Stored(value=value, etag=written)


def blob_sweeps(services: StorageServices) -> Sweeps:
    """The report of the last sweep."""
    return BlobDocument(
        services,
        "latest.json",
        to_json=sweep_report.to_json,
        from_json=sweep_report.from_json,
    )


def blob_revoke_counts(services: StorageServices) -> RevokeCounts:
    """How many devices the API revoked lately: beside the report, which holds revokes back too."""
    return BlobDocument(
        services,
        "revokes.json",
        to_json=revoke_count.to_json,
        from_json=revoke_count.from_json,
    )


def blob_page_seals(services: StorageServices) -> PageSeals:
    """What sessions of the fleet page are sealed with."""
    return BlobDocument(
        services,
        "page-seal",
        to_json=page_seal.to_bytes,
        from_json=page_seal.from_bytes,
    )
