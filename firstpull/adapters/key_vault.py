"""Implements `Secrets` with Azure Key Vault."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from firstpull.adapters.azure_errors import azure_errors, is_passing
from firstpull.adapters.timeouts import SOCKET, Sleep
from firstpull.model.azure_resources import SecretVersion, StoredSecret
from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret

_SERVICE = "Key Vault"
_WRITE_DEADLINE = 30.0
"""Seconds, enough for retries: a password that is not stored must be made again."""
_LIST_DEADLINE = 120.0
"""Seconds for all pages of the vault; a page has 25 secrets."""
_MOVING_PAUSES = (1.0, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Seconds between tries to store a secret that is being recovered or deleted: up to 14 s."""
_CONTENT_TYPE = "text/plain"


class KeyVaultAdapter:
    """Implements `Secrets`. It may repeat a write: a later pass disables a surplus version."""

    def __init__(
        self, vault_url: str, credential: AsyncTokenCredential, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._client = SecretClient(
            vault_url, credential, retry_total=2, retry_backoff_factor=0.2, **SOCKET
        )
        self._sleep = sleep

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        """All versions, without values; none for a secret that does not exist."""
        async with azure_errors(_SERVICE):
            try:
                listed = self._client.list_properties_of_secret_versions(name)
                return tuple([_version(properties) async for properties in listed])
            except ResourceNotFoundError:
                return ()

    async def put(
        self,
        name: str,
        value: Secret,
        *,
        expires_at: datetime | None,
        tags: Mapping[str, str],
        enabled: bool = True,
    ) -> SecretVersion:
        """Store a new version; first recover a deleted secret of this name.

        A recovery takes seconds, and this waits for it: a password that is not stored is lost.
        """
        async with azure_errors(_SERVICE, deadline_seconds=_WRITE_DEADLINE):
            pauses = iter(_MOVING_PAUSES)
            while True:
                try:
                    return await self._set(name, value, expires_at, tags, enabled=enabled)
                except ResourceExistsError as refused:
                    pause = next(pauses, None)
                    if pause is None:
                        raise
                    if is_passing(refused):  # it is being recovered or deleted already
                        await self._sleep(pause)
                        continue
                    # Gone, or taken: somebody else purges or recovers it.
                    with suppress(ResourceNotFoundError, ResourceExistsError):
                        await self._client.recover_deleted_secret(name)

    async def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of a version. A missing version is no error."""
        async with azure_errors(_SERVICE):
            try:
                await self._client.update_secret_properties(name, version, tags=dict(tags))
            except ResourceNotFoundError:
                return

    async def read(self, name: str, version: str) -> Secret:
        """The value of a version."""
        async with azure_errors(_SERVICE):
            found = await self._client.get_secret(name, version)
        if not found.value:
            raise Transient(Reason.SERVICE_UNAVAILABLE, f"{_SERVICE} answered without a value.")
        return Secret(found.value)

    async def disable(self, name: str, version: str) -> None:
        """Make a version unreadable. A missing version is no error."""
        async with azure_errors(_SERVICE):
            try:
                await self._client.update_secret_properties(name, version, enabled=False)
            except ResourceNotFoundError:
                return

    async def list_secrets(self) -> tuple[StoredSecret, ...]:
        """All secrets of the vault, without values and without deleted secrets."""
        async with azure_errors(_SERVICE, deadline_seconds=_LIST_DEADLINE):
            listed = self._client.list_properties_of_secrets()
            return tuple([_stored_secret(properties) async for properties in listed])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _set(
        self,
        name: str,
        value: Secret,
        expires_at: datetime | None,
        tags: Mapping[str, str],
        *,
        enabled: bool,
    ) -> SecretVersion:
        stored = await self._client.set_secret(
            name,
            value.reveal(),
            expires_on=expires_at,
            tags=dict(tags),
            content_type=_CONTENT_TYPE,
            enabled=enabled,
        )
        return _version(stored.properties)


def _version(properties: SecretProperties) -> SecretVersion:
    return SecretVersion(
        version=properties.version or "",
        enabled=bool(properties.enabled),
        expires_at=properties.expires_on,
        updated_at=properties.updated_on,
        tags=properties.tags or {},
        created_at=properties.created_on,
    )


def _stored_secret(properties: SecretProperties) -> StoredSecret:
    return StoredSecret(
        name=properties.name or "",
        enabled=bool(properties.enabled),
        updated_at=properties.updated_on,
        tags=properties.tags or {},
    )
