"""The document of the policy, in a blob."""

from __future__ import annotations

import asyncio
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient

from firstpull.adapters.azure_errors import azure_errors
from firstpull.adapters.storage.account import SERVICE
from firstpull.adapters.timeouts import SOCKET
from firstpull.config.current_policy import policy_not_valid
from firstpull.model.ports import Stored

# This client is requests', which has its authorities from the environment, too.
_OPTIONS: dict[str, Any] = {**SOCKET, "use_env_settings": True, "retry_total": 0}
_NOT_MODIFIED = 304
_DEADLINE = 3.0
"""Seconds for a look: a caller waits for it, and has the present policy otherwise."""


class BlobPolicy:
    """Implements `PolicySource`. Not bound to an event loop, because the app's start has none."""

    def __init__(self, blob: BlobClient) -> None:
        self._blob = blob

    @classmethod
    def from_connection_string(cls, text: str, path: str) -> BlobPolicy:
        """The blob `container/name` of the account, with the account's key."""
        return cls(_blob(BlobServiceClient.from_connection_string(text, **_OPTIONS), path))

    @classmethod
    def from_identity(cls, credential: TokenCredential, *, blob_url: str, path: str) -> BlobPolicy:
        """The blob `container/name` of the account, with the app's identity."""
        return cls(_blob(BlobServiceClient(blob_url, credential, **_OPTIONS), path))

    async def read(self, *, known: str | None) -> Stored[bytes] | None:
        """The document, None while it is the same. Raises Blocked where there is none."""
        async with azure_errors(SERVICE, deadline_seconds=_DEADLINE):
            try:
                return await asyncio.to_thread(self._read, known)
            except ResourceNotFoundError:
                raise policy_not_valid("There is no such blob.") from None

    def _read(self, known: str | None) -> Stored[bytes] | None:
        try:
            if known is None:
                blob = self._blob.download_blob()
            else:
                blob = self._blob.download_blob(
                    etag=known, match_condition=MatchConditions.IfModified
                )
            return Stored(value=blob.readall(), etag=str(blob.properties.etag))
        except HttpResponseError as error:
            if error.status_code == _NOT_MODIFIED:
                return None
            raise


def _blob(service: BlobServiceClient, path: str) -> BlobClient:
    container, _, name = path.partition("/")
    return service.get_blob_client(container, name)
