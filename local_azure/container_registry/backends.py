"""What the data planes serve: the cloud registry, and connected registries as of their sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local_azure.container_registry.exceptions import ResourceNotFound
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resources import (
    ConnectedRegistry,
    ConnectedRegistrySettings,
    LoginServer,
    ProblemCode,
    Token,
)
from local_azure.container_registry.rules import CONTINUOUS, latest_tick
from local_azure.registry.access import Access
from local_azure.registry.backend import Grant
from local_azure.registry.images import Image

_SYNC_ACTIONS = ("content/read", "metadata/read")
_GATEWAY_ACTIONS = ("config/read", "config/write", "message/read", "message/write")


class CloudRegistryBackend:
    """The cloud registry itself: every change takes effect at once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def authenticate(self, username: str, password: str) -> Grant | None:
        """The grant of a token of the registry, by its exact name."""
        for token in self._registry.tokens():
            if token.name == username and token.accepts(password, now=self._registry.now()):
                actions = self._registry.scope_map_of(token).actions
                return Grant(token.name, frozenset(actions))
        return None

    def repositories(self) -> Mapping[str, Mapping[str, Image]]:
        """All images of the registry."""
        return self._registry.images


@dataclass(frozen=True)
class KnownToken:
    """A client token as of the last sync."""

    token: Token
    actions: frozenset[str]


@dataclass(frozen=True)
class ConnectedRegistrySnapshot:
    """The state that a connected registry copied at a sync, and serves without the cloud."""

    taken_at: datetime
    tokens: Mapping[str, KnownToken]
    repositories: Mapping[str, Mapping[str, Image]]

    @classmethod
    def take(cls, registry: Registry, connected: ConnectedRegistry) -> ConnectedRegistrySnapshot:
        """The client tokens, and the images that the sync token's scope map covers."""
        clients = [registry.token_of(i) for i in connected.settings.client_token_ids]
        sync_token = registry.token_of(connected.sync_token_id)
        actions = registry.scope_map_of(sync_token).actions
        synced = Access.of(Grant(sync_token.name, frozenset(actions)))
        return cls(
            taken_at=registry.now(),
            tokens={
                token.name: KnownToken(token, frozenset(registry.scope_map_of(token).actions))
                for token in clients
            },
            repositories={
                name: dict(images)
                for name, images in registry.images.items()
                if synced.allows_pull(name)
            },
        )


@dataclass(frozen=True)
class SyncOverride:
    """A sync period in place of the resource's schedule; None syncs only when `sync` is called."""

    every_seconds: float | None


class ConnectedRegistryBackend:
    """A deployed connected registry, which serves its last snapshot.

    Two attributes may be set at any time. `override`: None means the cron schedule and window of
    the resource. `problem`: makes each sync fail and report this code to the cloud.
    """

    def __init__(
        self, registry: Registry, name: str, *, override: SyncOverride | None = None
    ) -> None:
        self.registry = registry
        self.name = name
        self.override = override
        self.problem: ProblemCode | None = None
        self.snapshot = ConnectedRegistrySnapshot(registry.now(), {}, {})
        self._online = True
        self._last_attempt: datetime | None = None

    def authenticate(self, username: str, password: str) -> Grant | None:
        """The grant of a client token as of the last sync. Expiry is by the clock, offline too."""
        known = self.snapshot.tokens.get(username)
        if known is None or not known.token.accepts(password, now=self.registry.now()):
            return None
        return Grant(username, known.actions)

    def repositories(self) -> Mapping[str, Mapping[str, Image]]:
        """The synced repositories as of the last sync."""
        return self.snapshot.repositories

    @property
    def online(self) -> bool:
        """Whether the connected registry reaches the cloud."""
        return self._online

    def go_offline(self) -> None:
        """Stop syncing and serve the last snapshot."""
        self._online = False
        if self._activated() is not None:
            self.registry.note_connection(self.name, "Offline")

    def go_online(self) -> None:
        """Sync again. The cloud shows the connected registry as online after the next sync."""
        self._online = True

    def sync(self) -> bool:
        """Take a new snapshot. False when offline, cut off by its sync token, or unhealthy."""
        connected = self._reaching_the_cloud()
        if connected is None:
            return False
        self._last_attempt = self.registry.now()
        # Disabling the sync token is how a connected registry is cut off from the cloud.
        if self.registry.token_of(connected.sync_token_id).status == "disabled":
            self.registry.note_connection(self.name, "Offline")
            return False
        if self.problem is not None:
            self.registry.note_problem(self.name, self.problem)
            return False
        self.snapshot = ConnectedRegistrySnapshot.take(self.registry, connected)
        self.registry.note_sync(self.name)
        return True

    def sync_if_due(self) -> bool:
        """Sync when the schedule has a sync that was not attempted. Whether it succeeded."""
        return self._is_due(self.registry.now()) and self.sync()

    def _is_due(self, now: datetime) -> bool:
        connected = self._reaching_the_cloud()
        if connected is None:
            return False
        last = self._last_attempt
        if self.override is not None:
            return self.override.every_seconds is not None and (
                last is None or now - last >= timedelta(seconds=self.override.every_seconds)
            )
        return last is None or _is_due_by_schedule(connected.settings, last=last, now=now)

    def _reaching_the_cloud(self) -> ConnectedRegistry | None:
        return self._activated() if self._online else None

    def _activated(self) -> ConnectedRegistry | None:
        try:
            connected = self.registry.connected_registry(self.name)
        except ResourceNotFound:
            return None
        return connected if connected.active else None


def deploy_connected_registry(
    registry: Registry,
    name: str,
    *,
    login_server: str | None,
    repositories: Sequence[str],
    override: SyncOverride | None = None,
) -> ConnectedRegistryBackend:
    """Create a sync scope map, a sync token and a connected registry; deploy it and sync once.

    `login_server` is the host with port that devices use; None leaves the resource without one.
    The `repositories` are synced; `team/*` and `*` are wildcards as in scope maps.
    """
    actions = [
        f"repositories/{repository}/{action}"
        for repository in repositories
        for action in _SYNC_ACTIONS
    ]
    gateway = [f"gateway/{name}/{action}" for action in _GATEWAY_ACTIONS]
    registry.put_scope_map(name, actions=[*actions, *gateway])
    scope_map_id = registry.registry_id.child("scopeMaps", name)
    registry.put_token(name, scope_map_id=scope_map_id)
    registry.put_connected_registry(name, sync_token_id=registry.registry_id.child("tokens", name))
    registry.activate_connected_registry(
        name, LoginServer(host=login_server, tls=login_server is not None)
    )
    backend = ConnectedRegistryBackend(registry, name, override=override)
    backend.sync()
    return backend


def _is_due_by_schedule(
    settings: ConnectedRegistrySettings, *, last: datetime, now: datetime
) -> bool:
    tick = latest_tick(settings.schedule, now)
    if tick <= last:
        return False
    window = settings.sync_window
    return settings.schedule == CONTINUOUS or window is None or now <= tick + window
