"""The connected registries of a stack."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from local_azure.container_registry.backends import (
    ConnectedRegistryBackend,
    SyncOverride,
    deploy_connected_registry,
)
from local_azure.container_registry.models import Registry
from local_azure.kernel import Kernel
from local_azure.registry.authentication import CONNECTED_REGISTRY_TOKEN_PATH
from local_azure.registry.data_plane import create_registry_application
from local_azure.stack.listeners import Listeners
from local_azure.stack.options import ConnectedRegistryOptions

_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Site:
    """A deployed connected registry. `endpoint` is its `host:port` for devices."""

    options: ConnectedRegistryOptions
    endpoint: str
    backend: ConnectedRegistryBackend


class Sites:
    """All connected registries of one stack, by name."""

    def __init__(self, kernel: Kernel, registry: Registry, listeners: Listeners) -> None:
        self._kernel = kernel
        self._registry = registry
        self._listeners = listeners
        self._sites: dict[str, Site] = {}

    def all(self) -> list[Site]:
        """All connected registries in the order of their deployment."""
        return list(self._sites.values())

    def get(self, name: str) -> Site | None:
        """One connected registry, None without it."""
        return self._sites.get(name)

    async def deploy(self, options: ConnectedRegistryOptions) -> Site:
        """Create a connected registry in the cloud, sync it once and serve it."""
        port = self._listeners.bind()
        override = (
            SyncOverride(options.sync_every_seconds)
            if options.sync_every_seconds is not None
            else None
        )
        backend = deploy_connected_registry(
            self._registry,
            options.name,
            login_server=port.host,
            repositories=options.repositories,
            override=override,
        )
        self._registry.set_max_clients(options.name, options.max_clients)
        application = create_registry_application(
            self._kernel,
            backend,
            service="connectedRegistry",
            host=port.host,
            scheme="http" if options.insecure else "https",
            token_path=CONNECTED_REGISTRY_TOKEN_PATH,
        )
        await self._listeners.serve(port, application, tls=not options.insecure)
        site = Site(options, port.host, backend)
        self._sites[options.name] = site
        return site

    async def keep_synced(self) -> None:
        """Sync the connected registries when they are due, until cancelled."""
        while True:
            for site in self.all():
                site.backend.sync_if_due()
            await asyncio.sleep(_TICK_SECONDS)
