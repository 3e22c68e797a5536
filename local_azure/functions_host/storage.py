"""Clients of the app's storage account."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from azure.core.exceptions import AzureError
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure.functions_host.settings import AppSettings

# What a client call raises when storage is away, slow or refuses.
STORAGE_ERRORS = (AzureError, OSError)

_FEW_RETRIES: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 2}


class StorageAccount:
    """One client per service, made when first used. Each raises SettingMissing."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._opened: list[QueueServiceClient | BlobServiceClient | ManagedIdentityCredential] = []

    @cached_property
    def queues(self) -> QueueServiceClient:
        """The queue service."""
        return self._open(QueueServiceClient, "queue")

    @cached_property
    def blobs(self) -> BlobServiceClient:
        """The blob service."""
        return self._open(BlobServiceClient, "blob")

    async def close(self) -> None:
        """Close every client and credential."""
        for closable in self._opened:
            await closable.close()

    def _open[C: (QueueServiceClient, BlobServiceClient)](self, kind: type[C], service: str) -> C:
        found = self._settings.storage(service)
        if isinstance(found, str):
            client = kind.from_connection_string(found, **_FEW_RETRIES)
        else:
            credential = ManagedIdentityCredential(client_id=found.client_id)
            self._opened.append(credential)
            client = kind(found.service_uri, credential=credential, **_FEW_RETRIES)
        self._opened.append(client)
        return client
