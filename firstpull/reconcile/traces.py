"""What exists under the names of a device, whatever its record says.

Token and secret names follow from deployment, hub and device. The tags of the secret's versions
name a token that was adopted. A name alone proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    RegistryId,
    ScopeMap,
    SecretVersion,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.last_request import LastRequest, last_request
from firstpull.model.naming import Names, names_for
from firstpull.model.password_slots import is_made_for, token_of
from firstpull.model.ports import ContainerRegistries, Hubs, Secrets
from firstpull.reconcile.ahead import Ahead
from firstpull.reconcile.twins import read_every_twin

type VersionsByRegistry = Mapping[RegistryId, tuple[SecretVersion, ...]]
"""The versions that this deployment stored for a device, by container registry."""


@dataclass(frozen=True, kw_only=True)
class RegistryTraces:
    """What a container registry and the vault have of a device.

    `versions` are those that this deployment stored for it. Tokens and their scope maps are by
    name. `connected` are all connected registries, not read where the device has no token.
    """

    registry: RegistryId
    names: Names
    versions: tuple[SecretVersion, ...]
    tokens: Mapping[str, Token] = field(default_factory=dict)
    scope_maps: Mapping[str, ScopeMap] = field(default_factory=dict)
    connected: tuple[ConnectedRegistry, ...] = ()

    @property
    def token_names(self) -> tuple[str, ...]:
        """The device's own token first, then those that the tags name."""
        return tuple(dict.fromkeys((self.names.token, *filter(None, map(token_of, self.versions)))))

    def proves(self, token: str) -> bool:
        """Whether a tag shows that firstpull made this token, or adopted it."""
        return any(token_of(version) == token for version in self.versions)

    def clients_of(self, token: str) -> tuple[ConnectedRegistryRef, ...]:
        """The connected registries that list a token."""
        token_id = self.registry.token(token)
        return tuple(
            ConnectedRegistryRef(registry=self.registry, name=c.name)
            for c in self.connected
            if c.lists(token_id)
        )


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What the container registries of the policy, the vault and the hub have of a device."""

    device: DeviceKey
    twin: Twin | None
    parts: tuple[RegistryTraces, ...]

    @property
    def last_request(self) -> LastRequest | None:
        """The last request in the tags of all its secrets."""
        return last_request(version for part in self.parts for version in part.versions)


@dataclass(frozen=True, kw_only=True)
class TraceReader:
    """Reads the traces of one device."""

    deployment: str
    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs

    async def stored(self, device: DeviceKey, ahead: Ahead | None = None) -> VersionsByRegistry:
        """The versions that this deployment stored for a device. Raises what the port raises."""
        registries, ahead = self.policy.container_registries, ahead or Ahead()
        found = await asyncio.gather(*(self._versions(r, device, ahead) for r in registries))
        return dict(zip(registries, found, strict=True))

    async def read(self, device: DeviceKey, stored: VersionsByRegistry) -> Traces:
        """The traces of a device for which versions are stored. Raises what the ports raise."""
        reading = (self._traces_in(r, device, versions) for r, versions in stored.items())
        twin, parts = await asyncio.gather(
            read_every_twin(self.hubs, device), asyncio.gather(*reading)
        )
        return Traces(device=device, twin=twin, parts=tuple(parts))

    async def read_in(
        self, registry: RegistryId, device: DeviceKey, *, known: Collection[TokenId]
    ) -> RegistryTraces:
        """The traces in one container registry, without tokens that are `known`."""
        versions = await self._versions(registry, device, Ahead())
        return await self._traces_in(registry, device, versions, known=known)

    async def _versions(
        self, registry: RegistryId, device: DeviceKey, ahead: Ahead
    ) -> tuple[SecretVersion, ...]:
        own = names_for(device, deployment=self.deployment, registry=registry)
        stored = await ahead.get(own.secret, partial(self.secrets.versions, own.secret))
        return tuple(v for v in stored if is_made_for(v, device, deployment=self.deployment))

    async def _traces_in(
        self,
        registry: RegistryId,
        device: DeviceKey,
        versions: tuple[SecretVersion, ...],
        *,
        known: Collection[TokenId] = (),
    ) -> RegistryTraces:
        own = names_for(device, deployment=self.deployment, registry=registry)
        found = RegistryTraces(registry=registry, names=own, versions=versions)
        names = [name for name in found.token_names if registry.token(name) not in known]
        read = await asyncio.gather(*(self.registries.get_token(registry, n) for n in names))
        tokens = {token.name: token for token in read if token is not None}
        if not tokens or not versions:
            return replace(found, tokens=tokens)
        maps = dict.fromkeys(token.scope_map_id.name for token in tokens.values())
        connected, scope_maps = await asyncio.gather(
            self.registries.list_connected_registries(registry),
            asyncio.gather(*(self.registries.get_scope_map(registry, name) for name in maps)),
        )
        return replace(
            found,
            tokens=tokens,
            connected=connected,
            scope_maps={found.name: found for found in scope_maps if found is not None},
        )
