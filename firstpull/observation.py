"""Reading the world: what is true for a device now. Nothing here writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from firstpull.cloud import (
    ConnectedRegistry,
    Place,
    ScopeMap,
    SecretVersion,
    Token,
    TokenId,
    Twin,
)
from firstpull.ledger import Ledger
from firstpull.naming import Names, names_for, scope_map_name
from firstpull.policy import ConnectedRegistryPolicy, Policy
from firstpull.ports import ContainerRegistries, Hubs, Ledgers, Secrets
from firstpull.records import DeviceRecord


@dataclass(frozen=True, kw_only=True)
class PlaceView:
    """A connected registry that a device is, or may be, a client of."""

    place: Place
    entry: ConnectedRegistryPolicy | None
    connected_registry: ConnectedRegistry | None
    ledger: Ledger
    token_id: TokenId

    @property
    def address(self) -> str | None:
        """`host[:port]` as devices reach it: the service's word first, then the settings'.

        Never the request's, which could send credentials to a stranger's host.
        """
        if self.connected_registry is not None and self.connected_registry.login_server:
            return self.connected_registry.login_server
        return self.entry.endpoint if self.entry is not None else None

    @property
    def holds_room(self) -> bool:
        """Whether this device's token has room already."""
        if self.connected_registry is None:
            return False
        listed = self.connected_registry.lists(self.token_id)
        return listed or self.ledger.get(self.token_id) is not None

    @property
    def has_room(self) -> bool:
        """Whether one more client may join."""
        if self.entry is None or self.connected_registry is None:
            return False
        return self.ledger.used(self.connected_registry.client_token_ids) < self.entry.capacity


@dataclass(frozen=True, kw_only=True)
class CredentialView:
    """What exists at the place that the device has or would get."""

    names: Names
    scope_map_name: str
    scope_map_id: str
    scope_map: ScopeMap | None
    token: Token | None
    secrets: tuple[SecretVersion, ...]
    synced_actions: frozenset[str] | None
    """What the connected registry syncs; None where it need not be known."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a plan is made from."""

    record: DeviceRecord
    twin: Twin | None
    hub_generation_id: str | None
    """The identity's generationId, read when the identity changed; else the record's."""
    views: tuple[PlaceView, ...]
    chosen: PlaceView | None
    """The place the device has, or the first that can take it; None where none can."""
    credential: CredentialView | None
    """None where there is no chosen place, or no device."""


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Reads what a plan needs, side by side where it can."""

    deployment: str
    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    ledgers: Ledgers

    async def observe(self, record: DeviceRecord) -> Observed:
        """What is true for the device of this record."""
        places = (record.place,) if record.place is not None else record.intent.candidates
        twin, views = await asyncio.gather(
            self.hubs.twin(record.device),
            asyncio.gather(*(self._view(record, place) for place in places)),
        )
        chosen = _choose(record, views)
        generation_id, credential = record.hub_generation_id, None
        if twin is not None and chosen is not None:
            generation_id, credential = await asyncio.gather(
                self._generation_id(record, twin), self._credential(record, chosen)
            )
        return Observed(
            record=record,
            twin=twin,
            hub_generation_id=generation_id,
            views=tuple(views),
            chosen=chosen,
            credential=credential,
        )

    async def _view(self, record: DeviceRecord, place: Place) -> PlaceView:
        names = self._names(record, place)
        connected_registry, ledger = await asyncio.gather(
            self.registries.get_connected_registry(place), self.ledgers.get(place)
        )
        return PlaceView(
            place=place,
            entry=self.policy.entry_for(place),
            connected_registry=connected_registry,
            ledger=ledger.value if ledger is not None else Ledger(),
            token_id=self.registries.token_id(place.registry, names.token),
        )

    async def _generation_id(self, record: DeviceRecord, twin: Twin) -> str | None:
        if record.hub_device_etag == twin.device_etag:
            return record.hub_generation_id
        return await self.hubs.generation_id(record.device)

    async def _credential(self, record: DeviceRecord, view: PlaceView) -> CredentialView:
        names = self._names(record, view.place)
        registry = view.place.registry
        map_name = scope_map_name(record.intent.scope_actions)
        scope_map, token, versions, synced = await asyncio.gather(
            self.registries.get_scope_map(registry, map_name),
            self.registries.get_token(registry, names.token),
            self.secrets.versions(names.secret),
            self._synced_actions(record, view),
        )
        return CredentialView(
            names=names,
            scope_map_name=map_name,
            scope_map_id=self.registries.scope_map_id(registry, map_name),
            scope_map=scope_map,
            token=token,
            secrets=versions,
            synced_actions=synced,
        )

    async def _synced_actions(self, record: DeviceRecord, view: PlaceView) -> frozenset[str] | None:
        """Read once per generation, and only where the policy leaves it to the sync."""
        if record.observed_generation == record.generation or view.connected_registry is None:
            return None
        if view.entry is None or view.entry.repositories is not None:
            return None
        if view.connected_registry.sync_token_id is None:
            return frozenset()
        return await self.registries.synced_actions(
            view.place.registry, view.connected_registry.sync_token_id
        )

    def _names(self, record: DeviceRecord, place: Place) -> Names:
        if record.names is not None:
            return record.names
        return names_for(record.device, deployment=self.deployment, registry=place.registry)


def _choose(record: DeviceRecord, views: Sequence[PlaceView]) -> PlaceView | None:
    """The recorded place, which never moves by itself, else the first that can take the device."""
    if record.place is not None:
        return views[0]
    return next((v for v in views if v.address and (v.holds_room or v.has_room)), None)
