"""The report of the last sweep, in a blob."""

from __future__ import annotations

from azure.storage.blob.aio import ContainerClient

from firstpull.adapters.storage.account import SWEEPS_CONTAINER, StorageServices
from firstpull.adapters.storage.documents import read_document, write_document
from firstpull.model import sweep_report
from firstpull.model.ports import Stored
from firstpull.model.sweep_report import SweepReport

_LATEST = "latest.json"


class BlobSweeps:
    """Implements `Sweeps`."""

    def __init__(self, services: StorageServices) -> None:
        self._container: ContainerClient = services.blobs.get_container_client(SWEEPS_CONTAINER)

    async def get(self) -> Stored[SweepReport | None] | None:
        """The report, None before the first sweep; the value is None where it is damaged."""
        return await read_document(self._container, _LATEST, sweep_report.from_json)

    async def put(self, report: SweepReport, *, etag: str | None) -> Stored[SweepReport]:
        """Replace the report that has this ETag; None stores the first. Raises Conflict."""
        content = sweep_report.to_json(report)
        written = await write_document(self._container, _LATEST, content, etag=etag)
        return Stored(value=report, etag=written)
