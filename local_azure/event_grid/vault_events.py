"""The vault's events: new versions at once, expiry when a periodic check finds it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

from local_azure.event_grid.events import Json, Topic
from local_azure.event_grid.models import EventGrid
from local_azure.kernel.clock import Clock
from local_azure.key_vault.models import SecretVersion, Vault

NEAR_EXPIRY = timedelta(days=30)
_NEW_VERSION = "Microsoft.KeyVault.SecretNewVersionCreated"
_NEAR_EXPIRY = "Microsoft.KeyVault.SecretNearExpiry"
_EXPIRED = "Microsoft.KeyVault.SecretExpired"
_TICK_SECONDS = 0.5


class VaultEvents:
    """Publishes the events of a vault's secrets. Only current versions expire.

    A secret that expires within 30 days of its creation is near its expiry at once.
    """

    def __init__(
        self,
        grid: EventGrid,
        vault: Vault,
        *,
        vault_name: str,
        vault_url: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self._grid = grid
        self._vault = vault
        self._vault_name = vault_name
        self._vault_url = vault_url
        self._clock = clock
        self._random = random
        self._published_at: dict[tuple[str, str, int], datetime] = {}
        self._published: set[tuple[str, str, int]] = set()
        vault.subscribe(lambda version: self._publish(_NEW_VERSION, version))

    def publish_expiries(self) -> None:
        """Publish for every secret that is near its expiry or expired since the last call."""
        now = self._clock.now()
        for version in self._vault.list_secrets().values():
            if version.expires is None:
                continue
            expires = _at(version.expires)
            for event_type, at in (
                (_NEAR_EXPIRY, max(expires - NEAR_EXPIRY, _at(version.created))),
                (_EXPIRED, expires),
            ):
                if at <= now:
                    self._publish_late(event_type, version, at=at)

    async def keep_publishing(self) -> None:
        """Publish expiries until cancelled."""
        while True:
            self.publish_expiries()
            await asyncio.sleep(_TICK_SECONDS)

    def _publish_late(self, event_type: str, version: SecretVersion, *, at: datetime) -> None:
        key = (event_type, version.version, version.expires or 0)
        if key in self._published:
            return
        late = timedelta(seconds=self._random.uniform(*self._grid.settings.expiry_noticed_seconds))
        if self._clock.now() >= self._published_at.setdefault(key, at + late):
            self._published.add(key)
            del self._published_at[key]
            self._publish(event_type, version)

    def _publish(self, event_type: str, version: SecretVersion) -> None:
        self._grid.publish(
            Topic.VAULT,
            event_type,
            subject=version.name,
            data={
                "Id": f"{self._vault_url}/secrets/{version.name}/{version.version}",
                "VaultName": self._vault_name,
                "ObjectType": "Secret",
                "ObjectName": version.name,
                "Version": version.version,
                **self._time("NBF", None),
                **self._time("EXP", version.expires),
            },
            about_since=_at(version.created),
        )

    def _time(self, name: str, seconds: int | None) -> Json:
        """A text as in the samples or a number as in the schema; null or absent without a time."""
        form = self._random.random() < 0.5
        if seconds is None:
            return {name: None} if form else {}
        return {name: str(seconds) if form else seconds}


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
