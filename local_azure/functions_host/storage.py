"""Clients of the storage accounts that an app's connections name."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_azure.functions_host.settings import HOST_STORAGE, AppSettings, IdentityConnection
from local_azure.functions_host.worker import Binding

# What a client call raises when storage is away, slow or refuses.
STORAGE_ERRORS = (AzureError, OSError)

_FEW_RETRIES: dict[str, Any] = {"retry_total": 2, "initial_backoff": 1, "increment_base": 2}


class StorageAccounts:
    """One client per connection and service, made when first asked for."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._queues: dict[str, QueueServiceClient] = {}
        self._blobs: dict[str, BlobServiceClient] = {}
        self._credentials: list[DefaultAzureCredential | ManagedIdentityCredential] = []

    def queues(self, connection: str) -> QueueServiceClient:
        """The queue service of a connection. Raises SettingMissing."""
        if connection not in self._queues:
            found = self._settings.connection(connection, service="queue")
            self._queues[connection] = (
                QueueServiceClient(
                    found.service_uri, credential=self._credential(found), **_FEW_RETRIES
                )
                if isinstance(found, IdentityConnection)
                else QueueServiceClient.from_connection_string(found, **_FEW_RETRIES)
            )
        return self._queues[connection]

    def queue(self, binding: Binding) -> QueueClient:
        """The queue of a trigger or output. Raises SettingMissing."""
        service = self.queues(binding.settings.get("connection") or HOST_STORAGE)
        return service.get_queue_client(self._settings.resolve(binding.settings["queueName"]))

    def blobs(self, connection: str) -> BlobServiceClient:
        """The blob service of a connection. Raises SettingMissing."""
        if connection not in self._blobs:
            found = self._settings.connection(connection, service="blob")
            self._blobs[connection] = (
                BlobServiceClient(
                    found.service_uri, credential=self._credential(found), **_FEW_RETRIES
                )
                if isinstance(found, IdentityConnection)
                else BlobServiceClient.from_connection_string(found, **_FEW_RETRIES)
            )
        return self._blobs[connection]

    async def close(self) -> None:
        """Closes every client and credential."""
        for closable in (*self._queues.values(), *self._blobs.values(), *self._credentials):
            await closable.close()

    def _credential(
        self, found: IdentityConnection
    ) -> DefaultAzureCredential | ManagedIdentityCredential:
        credential = (
            ManagedIdentityCredential(client_id=found.client_id)
            if found.managed_identity
            else DefaultAzureCredential(managed_identity_client_id=found.client_id)
        )
        self._credentials.append(credential)
        return credential
