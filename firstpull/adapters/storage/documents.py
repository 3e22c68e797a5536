"""Small documents in blobs, with conditional writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob.aio import ContainerClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import SERVICE
from firstpull.model.errors import Conflict
from firstpull.model.ports import Stored


async def read_document[T](
    container: ContainerClient, name: str, parse: Callable[[bytes], T]
) -> Stored[T] | None:
    """What a blob holds, None if there is no blob."""
    async with azure_errors(SERVICE):
        try:
            blob = await container.download_blob(name)
            content = await blob.readall()
        except ResourceNotFoundError:
            return None
    return Stored(value=parse(content), etag=str(blob.properties.etag))


async def write_document(
    container: ContainerClient, name: str, content: bytes, *, etag: str | None
) -> str:
    """Replace the blob that has this ETag, None for a new blob; returns the new ETag.

    Raises Conflict if the blob has another ETag, or exists already.
    """
    condition: dict[str, Any] = (
        {"match_condition": MatchConditions.IfMissing}
        if etag is None
        else {"match_condition": MatchConditions.IfNotModified, "etag": etag}
    )
    async with azure_errors(SERVICE):
        try:
            written = await container.get_blob_client(name).upload_blob(
                content, overwrite=etag is not None, **condition
            )
        except (ResourceModifiedError, ResourceExistsError):
            raise Conflict(f"The document {name} was changed meanwhile.") from None
    return str(written["etag"])
