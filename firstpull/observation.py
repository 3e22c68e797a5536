"""Reading the world: what is true for a device now. Nothing here writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from firstpull.cloud import (
    ConnectedRegistry,
    Place,
    ScopeMap,
    SecretVersion,
    Token,
    TokenId,
    Twin,
    same_id,
)
from firstpull.errors import Conflict, FirstpullError, read_or_else
from firstpull.ledger import Ledger
from firstpull.listing import every_record
from firstpull.naming import Names, names_for, scope_map_name, secret_name, token_name
from firstpull.policy import ConnectedRegistryPolicy, Policy
from firstpull.ports import ContainerRegistries, Hubs, Ledgers, Query, Records, Secrets
from firstpull.records import DeviceRecord, Holding
from firstpull.withdrawal import HoldingView


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
        return self.used < self.entry.capacity

    @property
    def used(self) -> int:
        """Clients there are, and room that is held; 0 where there is no connected registry."""
        if self.connected_registry is None:
            return 0
        return self.ledger.used(self.connected_registry.client_token_ids)


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
    is_taken: bool = False
    """Whether the token is another device's, another deployment's or a connected registry's own."""


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
    leaving: tuple[HoldingView, ...] = ()
    """What the device is to lose: at the revoke, at once; else when it has logged in anew."""
    unread: tuple[FirstpullError, ...] = ()
    """Why a part of it is not known. Only of what is to be lost: the rest goes on."""

    @property
    def is_another_device(self) -> bool:
        """Whether the hub has another device by this name than the one that the record is about."""
        recorded = self.record.hub_generation_id
        return self.twin is not None and recorded not in (None, self.hub_generation_id)


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Reads what a plan needs, side by side where it can."""

    deployment: str
    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    ledgers: Ledgers
    records: Records

    async def observe(self, record: DeviceRecord) -> Observed:
        """What is true for the device of this record."""
        if takes_away(record):
            return await self._observe_withdrawal(record)
        twin, views = await asyncio.gather(
            self.hubs.twin(record.device),
            asyncio.gather(*(self._view(record, place) for place in self._places(record))),
        )
        chosen = _choose(record, views)
        generation_id, credential = record.hub_generation_id, None
        leaving: tuple[HoldingView, ...] = ()
        errors: list[FirstpullError] = []
        if twin is not None and chosen is not None:
            generation_id, credential, leaving = await asyncio.gather(
                self._generation_id(record, twin),
                self._credential(record, chosen),
                self._leaving(record, chosen, errors),
            )
        elif twin is not None:
            generation_id = await self._generation_id(record, twin)
        return Observed(
            record=record,
            twin=twin,
            hub_generation_id=generation_id,
            views=tuple(views),
            chosen=chosen,
            credential=credential,
            leaving=leaving,
            unread=tuple(errors),
        )

    def _places(self, record: DeviceRecord) -> tuple[Place, ...]:
        """Where the device is, or may be put: a site as the policy has it now."""
        if record.place is not None:
            return (record.place,)
        site = self.policy.site(record.intent.site) if record.intent.site is not None else None
        if site is None:
            return record.intent.candidates
        registries = dict.fromkeys(place.registry for place in record.intent.candidates)
        listed = self.policy.connected_registries_of(site, registries=registries)
        now = tuple(map(self.policy.place_of, listed))
        return now or record.intent.candidates

    async def _observe_withdrawal(self, record: DeviceRecord) -> Observed:
        """What is left of what has to go. A service that does not answer holds up no other.

        Nobody waits for a hub that the policy lists no more: it may have been deleted.
        Whose identity it is that is revoked is read once: a tombstone is that device's for good.
        """
        errors: list[FirstpullError] = []
        is_listed = self.policy.hub(record.device.hub) is not None
        errors_of_hub = errors if is_listed else []
        twin, views = await asyncio.gather(
            read_or_else(self.hubs.twin(record.device), None, errors_of_hub),
            asyncio.gather(
                *(self._going(record, holding, errors) for holding in must_go_first(record))
            ),
        )
        generation_id = record.hub_generation_id
        if twin is not None and not record.is_tombstone:
            identity = self._generation_id(record, twin)
            generation_id = await read_or_else(identity, generation_id, errors_of_hub)
        return Observed(
            record=record,
            twin=twin,
            hub_generation_id=generation_id,
            views=(),
            chosen=None,
            credential=None,
            leaving=tuple(views),
            unread=tuple(errors),
        )

    async def _going(
        self, record: DeviceRecord, holding: Holding, errors: list[FirstpullError]
    ) -> HoldingView:
        """What is left of a holding; nothing of a token that is somebody else's by now.

        A tombstone has nothing of an adopted token: who makes one of its name makes it anew.
        """
        view = await self._holding(holding, errors)
        token = holding.names.token
        if token == token_name(record.device, deployment=self.deployment):
            return view
        if not record.is_tombstone:
            named = self.is_named_elsewhere(record, holding.place, token)
            if not await read_or_else(named, default=True, errors=errors):
                return view
        registry = view.connected_registry
        return replace(
            view,
            connected_registry=replace(registry, client_token_ids=()) if registry else None,
            ledger=Ledger(),
            token=None,
        )

    async def _holding(self, holding: Holding, errors: list[FirstpullError]) -> HoldingView:
        registry, names = holding.place.registry, holding.names
        nothing: tuple[SecretVersion, ...] = ()
        connected_registry, ledger, token, versions = await asyncio.gather(
            read_or_else(self.registries.get_connected_registry(holding.place), None, errors),
            read_or_else(self.ledgers.get(holding.place), None, errors),
            read_or_else(self.registries.get_token(registry, names.token), None, errors),
            read_or_else(self.secrets.versions(names.secret), nothing, errors),
        )
        return HoldingView(
            holding=holding,
            token_id=self.registries.token_id(registry, names.token),
            connected_registry=connected_registry,
            ledger=ledger.value if ledger is not None else Ledger(),
            shares_token=False,
            token=token,
            secrets=versions,
        )

    async def _leaving(
        self, record: DeviceRecord, chosen: PlaceView, errors: list[FirstpullError]
    ) -> tuple[HoldingView, ...]:
        """What is to go once the device has logged in with what it has now.

        What cannot be read holds up nothing but its own end.
        """
        here = self._names(record, chosen.place)
        found = []
        for holding in record.leaving:
            if (holding.place, holding.names.token) == (chosen.place, here.token):
                continue  # it came back
            if (holding.place.registry, holding.names.token) != (chosen.place.registry, here.token):
                found.append(await self._holding(holding, errors))
                continue
            view = await self._view(record, holding.place)
            found.append(
                HoldingView(
                    holding=holding,
                    token_id=chosen.token_id,
                    connected_registry=view.connected_registry,
                    ledger=view.ledger,
                    shares_token=True,
                )
            )
        return tuple(found)

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
        found = await self.hubs.generation_id(record.device)
        if found is None:
            raise Conflict("The device went while it was looked at.")
        return found

    async def _credential(self, record: DeviceRecord, view: PlaceView) -> CredentialView:
        names = self._names(record, view.place)
        registry = view.place.registry
        map_name = scope_map_name(record.scope_actions_at(registry), deployment=self.deployment)
        scope_map, token, versions, synced, is_taken = await asyncio.gather(
            self.registries.get_scope_map(registry, map_name),
            self.registries.get_token(registry, names.token),
            self.secrets.versions(names.secret),
            self._synced_actions(record, view),
            self._is_taken(record, view, names),
        )
        return CredentialView(
            names=names,
            scope_map_name=map_name,
            scope_map_id=self.registries.scope_map_id(registry, map_name),
            scope_map=scope_map,
            token=token,
            secrets=versions,
            synced_actions=synced,
            is_taken=is_taken,
        )

    async def _synced_actions(self, record: DeviceRecord, view: PlaceView) -> frozenset[str] | None:
        """Read once per generation."""
        if record.observed_generation == record.generation or view.connected_registry is None:
            return None
        if view.connected_registry.sync_token_id is None:
            return frozenset()
        return await self.registries.synced_actions(
            view.place.registry, view.connected_registry.sync_token_id
        )

    async def _is_taken(self, record: DeviceRecord, view: PlaceView, names: Names) -> bool:
        """Asked of a token that is to be adopted, until it is."""
        if record.intent.adopt is None or record.observed_generation == record.generation:
            return False
        if record.names is not None:
            return await self.is_named_elsewhere(record, view.place, names.token)
        is_named, connected, versions = await asyncio.gather(
            self.is_named_elsewhere(record, view.place, names.token),
            self.registries.list_connected_registries(view.place.registry),
            self.secrets.versions(secret_name(names.token, registry=view.place.registry)),
        )
        is_anothers = any(
            v.enabled and v.tags.get("deployment") not in (None, self.deployment) for v in versions
        )
        syncs = (c.sync_token_id for c in connected if c.sync_token_id is not None)
        here = any(held.place == view.place for held in record.leaving)
        is_entered = view.ledger.get(view.token_id) is not None and not here
        is_sync_token = any(same_id(view.token_id, sync) for sync in syncs)
        return is_named or is_anothers or is_entered or is_sync_token

    async def is_named_elsewhere(self, record: DeviceRecord, place: Place, token: str) -> bool:
        """Whether another device that was not revoked has this token."""
        async for other in every_record(self.records, Query(token=token)):
            if other.device == record.device or other.is_tombstone:
                continue
            for holding in other.holdings:
                if holding.names.token == token and holding.place.registry == place.registry:
                    return True
        return False

    def _names(self, record: DeviceRecord, place: Place) -> Names:
        if record.names is not None:
            return record.names
        names = names_for(record.device, deployment=self.deployment, registry=place.registry)
        if record.intent.adopt is not None:
            return replace(names, token=record.intent.adopt)
        return names


def takes_away(record: DeviceRecord) -> bool:
    """Whether there is nothing to give: the device was revoked, or something has to go first."""
    return record.revocation is not None or bool(must_go_first(record))


def must_go_first(record: DeviceRecord) -> tuple[Holding, ...]:
    """What has to be taken away before anything else: all of it after a revoke."""
    if record.revocation is not None:
        return record.holdings
    return tuple(holding for holding in record.leaving if holding.at_once)


def _choose(record: DeviceRecord, views: Sequence[PlaceView]) -> PlaceView | None:
    """The recorded place, which never moves by itself, else the first that can take the device."""
    if record.place is not None:
        return views[0]
    return next((v for v in views if v.address and (v.holds_room or v.has_room)), None)
