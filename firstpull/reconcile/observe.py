"""Reads what exists in Azure for one device. Nothing here writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from firstpull.config.policy import ConnectedRegistryPolicy, Policy, address_of
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    SecretVersion,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant, State
from firstpull.model.errors import Conflict, FirstpullError, Transient, read_or_else
from firstpull.model.hub_identity import IdentityBudget, by_etag, is_by_etag
from firstpull.model.last_request import LastRequest, last_request
from firstpull.model.ledger import Ledger, Standing
from firstpull.model.naming import Names, names_for, scope_map_name, secrets_of, token_name
from firstpull.model.pagination import every_record
from firstpull.model.password_slots import is_made_for, token_of
from firstpull.model.ports import (
    ContainerRegistries,
    Hubs,
    Ledgers,
    Query,
    Records,
    Secrets,
    read_ledger,
)
from firstpull.model.reasons import Reason
from firstpull.model.shared_reads import SharedReads
from firstpull.model.transitions import unknown_device, with_found_grants
from firstpull.reconcile.ahead import Ahead
from firstpull.reconcile.choices import Choices
from firstpull.reconcile.traces import TraceReader
from firstpull.reconcile.twins import read_every_twin, read_twin
from firstpull.reconcile.unnamed import Found, Unnamed

_IDENTITY = "identity"


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistryView:
    """A connected registry that a device is, or may be, a client of."""

    ref: ConnectedRegistryRef
    entry: ConnectedRegistryPolicy | None
    connected_registry: ConnectedRegistry | None
    ledger: Ledger
    token_id: TokenId

    @property
    def address(self) -> str | None:
        """`host[:port]` as devices reach it; None also where the policy does not list it."""
        if self.entry is None:
            return None
        return address_of(self.entry, self.connected_registry, registry=self.ref.registry)

    @property
    def holds_room(self) -> bool:
        """Whether this device's token is a client or has a reservation."""
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
    def takes_device(self) -> bool:
        """Whether this device can be a client here."""
        return self.address is not None and (self.holds_room or self.has_room)

    @property
    def used(self) -> int:
        """The number of clients and reservations; 0 if there is no connected registry."""
        if self.connected_registry is None:
            return 0
        return self.ledger.used(self.connected_registry.client_token_ids)


@dataclass(frozen=True, kw_only=True)
class CredentialView:
    """What exists of the credential at the chosen connected registry."""

    names: Names
    scope_map_name: str
    scope_map_id: ScopeMapId
    scope_map: ScopeMap | None
    token: Token | None
    secrets: tuple[SecretVersion, ...]
    synced_actions: frozenset[str] | None
    """What the connected registry syncs; None if unknown, or not needed by the plan."""
    is_taken: bool = False
    """Whether the token belongs to another device or deployment, or is a sync token."""
    is_made_here: bool = False
    """Whether the secret's tags show that firstpull made the token of a device without a grant."""


@dataclass(frozen=True, kw_only=True)
class GrantView:
    """What exists of a grant to tear down.

    `shares_token`: the device keeps the token. `capacity` is None if the policy does not list the
    connected registry.
    """

    grant: Grant
    token_id: TokenId
    connected_registry: ConnectedRegistry | None
    capacity: int | None
    ledger: Ledger
    shares_token: bool
    token: Token | None = None
    secrets: tuple[SecretVersion, ...] = ()
    is_anothers: bool = False
    """Whether another live record names the token: only this device's passwords end."""

    @property
    def is_client(self) -> bool:
        """Whether the list of clients or the ledger still has the token."""
        there = self.connected_registry
        listed = there is not None and there.lists(self.token_id)
        return listed or self.ledger.get(self.token_id) is not None


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a plan is made from."""

    record: DeviceRecord
    deployment: str
    twin: Twin | None
    hub_generation_id: str | None
    """The identity's generationId, read when the identity changed; else the record's.

    Or what stands for it: firstpull/model/hub_identity.py.
    """
    views: tuple[ConnectedRegistryView, ...]
    chosen: ConnectedRegistryView | None
    """The grant's connected registry, or the first that can take the device."""
    credential: CredentialView | None
    """None without a chosen connected registry, or without a device in the hub."""
    retiring: tuple[GrantView, ...] = ()
    """The grants to tear down: the urgent ones, else those that retire after the next login."""
    unread: tuple[FirstpullError, ...] = ()
    """The errors of reads that only a teardown needs. The rest of the plan goes on."""
    found: Found = field(default_factory=Found)
    """What the record did not name before; `record` does."""
    requires_sealing: bool = False
    """Whether the settings forbid a password that is not sealed."""

    @property
    def last_request(self) -> LastRequest | None:
        """The last request in the tags of the secrets that were read."""
        read = (*self.retiring, *((self.credential,) if self.credential is not None else ()))
        made = (self.made_here(view.secrets) for view in read)
        return last_request(chain(*made, *(part.versions for part in self.found.traces)))

    def made_here(self, versions: Iterable[SecretVersion]) -> list[SecretVersion]:
        """The versions that this deployment stored for the device."""
        device, ours = self.record.device, self.deployment
        return [version for version in versions if is_made_for(version, device, deployment=ours)]

    @property
    def is_another_device(self) -> bool:
        """Whether the hub's device with this id is not the one that the record is about."""
        recorded = self.record.status.hub_generation_id
        if self.twin is None or recorded in (None, self.hub_generation_id):
            return False
        return recorded != by_etag(self.twin.device_etag)


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Reads what a plan needs, concurrently where possible."""

    deployment: str
    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    ledgers: Ledgers
    records: Records
    shared: SharedReads
    choices: Choices | None
    """None for a dry run, which must not keep others from a place."""
    budget: IdentityBudget
    requires_sealing: bool = False

    def begin(self, record: DeviceRecord) -> Ahead:
        """Begin the reads that an observation of a device with a new request will need.

        They depend on its names alone. A device that waits or fails may need none of them.
        """
        ahead, refs = Ahead(), self._refs(record)
        is_new = record.status.condition.state is State.PENDING and not record.schedule.attempts
        if not is_new or record.needs_teardown or not refs:
            return ahead
        registry, names = refs[0].registry, self._names(record, refs[0])
        map_name = scope_map_name(record.scope_actions_at(registry), deployment=self.deployment)
        sync_token_id = self.shared.sync_token_of(refs[0])
        ahead.begin(record.device, partial(self._twin, record))
        if record.status.hub_generation_id is None and self.budget.take():
            ahead.begin(_IDENTITY, partial(self._read_identity, record.device))
        ahead.begin(refs[0], partial(self.shared.look_at, refs[0]))
        ahead.begin(registry.token(names.token), partial(self._token, registry, names))
        ahead.begin(names.secret, partial(self.secrets.versions, names.secret))
        ahead.begin(map_name, partial(self.shared.scope_map, registry, map_name))
        ahead.begin(sync_token_id, partial(self.shared.synced_actions, registry, sync_token_id))
        for grant in record.status.retiring:
            if grant.ref.registry == registry and grant.ref != refs[0]:
                ahead.begin(_retiring_at(grant), partial(self._view, record, grant.ref))
        return ahead

    async def observe(self, record: DeviceRecord, ahead: Ahead | None = None) -> Observed:
        """What exists for the device of this record. Raises what the ports raise."""
        ahead = ahead or Ahead()
        if record.needs_teardown:
            return await self._observe_teardown(record)
        twin, (views, chosen) = await asyncio.gather(
            ahead.get(record.device, partial(self._twin, record)), self._views(record)
        )
        if self.choices and chosen is not None and (twin is None or not twin.enabled):
            self.choices.withdraw(chosen.token_id)
        generation_id, credential = record.status.hub_generation_id, None
        retiring: tuple[GrantView, ...] = ()
        errors: list[FirstpullError] = []
        if twin is not None and chosen is not None:
            generation_id, credential, retiring = await asyncio.gather(
                self._generation_id(record, twin, ahead),
                self._credential(record, chosen, ahead),
                self._retiring(record, chosen, errors, ahead),
            )
        elif twin is not None:
            generation_id = await self._generation_id(record, twin, ahead)
        return Observed(
            record=record,
            deployment=self.deployment,
            twin=twin,
            hub_generation_id=generation_id,
            views=views,
            chosen=chosen,
            credential=credential,
            retiring=retiring,
            unread=tuple(errors),
            requires_sealing=self.requires_sealing,
        )

    async def _twin(self, record: DeviceRecord) -> Twin | None:
        """The twin, with the modules' twins that have deliveries of the record."""
        kinds = {record.delivery_kind.name, *(grant.delivery for grant in record.grants)}
        return await read_twin(self.hubs, record.device, kinds=kinds)

    async def is_named_elsewhere(self, record: DeviceRecord, token_id: TokenId) -> bool:
        """Whether the record of another device that was not revoked names this token."""
        return bool(await self._others_that_name(record, token_id))

    async def _others_that_name(
        self, record: DeviceRecord, token_id: TokenId
    ) -> list[DeviceRecord]:
        return [
            other
            async for other in every_record(self.records, Query(token=token_id.name))
            if other.device != record.device
            and not other.is_tombstone
            and token_id in (grant.token_id for grant in other.grants)
        ]

    async def _owners(self, record: DeviceRecord, grant: Grant) -> list[DeviceRecord]:
        """Those to whom a token to tear down belongs, should several records name it.

        It belongs to a device that was not revoked, then to one whose own grant it is. Of equals
        the first by name owns it, so exactly one of them deletes it.
        """
        others = await self._others_that_name(record, grant.token_id)
        ours = _claim_to(grant, record)
        return [other for other in others if _claim_to(grant, other) < ours]

    def _refs(self, record: DeviceRecord) -> tuple[ConnectedRegistryRef, ...]:
        """The grant's connected registry, else the candidates; a site as the policy has it now."""
        intent = record.spec.intent
        if record.status.grant is not None:
            return (record.status.grant.ref,)
        site = self.policy.site(intent.site) if intent.site is not None else None
        if site is None:
            return intent.candidates
        registries = dict.fromkeys(ref.registry for ref in intent.candidates)
        listed = self.policy.connected_registries_of(site, registries=registries)
        return tuple(map(self.policy.ref_of, listed)) or intent.candidates

    async def _observe_teardown(self, record: DeviceRecord) -> Observed:
        """What is left of the urgent grants. An error of one service does not stop the others.

        A hub that the policy does not list may not exist any more, so its errors are ignored. The
        revoked identity is read once: the tombstone keeps it.
        """
        errors: list[FirstpullError] = []
        is_listed = self.policy.hub(record.device.hub) is not None
        errors_of_hub = errors if is_listed else []
        is_revoked = record.spec.revocation is not None
        reading = read_every_twin(self.hubs, record.device) if is_revoked else self._twin(record)
        twin, traces, views = await asyncio.gather(
            read_or_else(reading, None, errors_of_hub),
            self._unnamed.read(record, errors) if is_revoked else _nothing(),
            self._ending_grants(record, record.urgent_grants, errors),
        )
        found = Found()
        if is_revoked:
            found = self._unnamed.found_in(traces, record, twin)
            record = with_found_grants(record, found.grants)
            views += await self._ending_grants(record, found.grants, errors)
        generation_id = record.status.hub_generation_id
        revocation = record.spec.revocation
        is_of_gone = revocation is not None and revocation.gone is not None
        if twin is not None and not record.is_tombstone and not is_of_gone:
            identity = self._revoked_identity(record, twin)
            generation_id = await read_or_else(identity, generation_id, errors_of_hub)
        return Observed(
            record=record,
            deployment=self.deployment,
            twin=twin,
            hub_generation_id=generation_id,
            views=(),
            chosen=None,
            credential=None,
            retiring=views,
            unread=tuple(errors),
            found=found,
        )

    async def has_remains(self, device: DeviceKey) -> bool:
        """Whether anything exists under the names that follow from a device without a record.

        Raises what the ports raise: a service that does not answer may hide something.
        """
        errors: list[FirstpullError] = []
        twin = await read_every_twin(self.hubs, device)
        record = unknown_device(device)
        found = self._unnamed.found_in(await self._unnamed.read(record, errors), record, twin)
        if errors and not found.grants:
            raise errors[0]
        return bool(found.grants or found.unproven)

    @property
    def _unnamed(self) -> Unnamed:
        return Unnamed(policy=self.policy, reader=self.traces)

    @property
    def traces(self) -> TraceReader:
        """Reads what exists under the names of a device."""
        return TraceReader(
            deployment=self.deployment,
            policy=self.policy,
            registries=self.registries,
            secrets=self.secrets,
            hubs=self.hubs,
        )

    async def _ending_grants(
        self, record: DeviceRecord, grants: Iterable[Grant], errors: list[FirstpullError]
    ) -> tuple[GrantView, ...]:
        """What is left of these grants."""
        views = (self._ending_grant(record, grant, errors) for grant in grants)
        return tuple(await asyncio.gather(*views))

    async def _ending_grant(
        self, record: DeviceRecord, grant: Grant, errors: list[FirstpullError]
    ) -> GrantView:
        """What is left of a grant, without the membership of a token that another device has.

        A tombstone has no adopted token any more: a token with its name is a new one.
        """
        token = grant.names.token
        view, owners = await asyncio.gather(
            self._grant(grant, errors),
            read_or_else(self._owners(record, grant), None, errors),
        )
        is_own = token == token_name(record.device, deployment=self.deployment)
        if owners == [] and (is_own or not record.is_tombstone):
            return view
        view = replace(view, token=view.token if owners else None, is_anothers=bool(owners))
        members = {(g.ref, g.token_id) for owner in owners or () for g in owner.grants}
        if owners and (grant.ref, grant.token_id) not in members:
            return view
        registry = view.connected_registry
        return replace(
            view,
            connected_registry=replace(registry, client_token_ids=()) if registry else None,
            ledger=Ledger(),
        )

    async def _grant(self, grant: Grant, errors: list[FirstpullError]) -> GrantView:
        registry, names = grant.ref.registry, grant.names
        nothing: tuple[SecretVersion, ...] = ()
        connected_registry, ledger, token, versions = await asyncio.gather(
            read_or_else(self.registries.get_connected_registry(grant.ref), None, errors),
            read_or_else(read_ledger(self.ledgers, grant.ref), Ledger(), errors),
            read_or_else(self.registries.get_token(registry, names.token), None, errors),
            read_or_else(self.secrets.versions(names.secret), nothing, errors),
        )
        return GrantView(
            grant=grant,
            token_id=grant.token_id,
            connected_registry=connected_registry,
            capacity=self._capacity(grant.ref),
            ledger=ledger,
            shares_token=False,
            token=token,
            secrets=versions,
        )

    async def _retiring(
        self,
        record: DeviceRecord,
        chosen: ConnectedRegistryView,
        errors: list[FirstpullError],
        ahead: Ahead,
    ) -> tuple[GrantView, ...]:
        """The grants that retire when the device has logged in with its new one.

        A grant that cannot be read delays its own teardown only.
        """
        kind = record.delivery_kind.name
        here = Grant(ref=chosen.ref, names=self._names(record, chosen.ref), delivery=kind)
        found = []
        for grant in record.status.retiring:
            if not grant.shares_token_with(here):
                found.append(await self._ending_grant(record, grant, errors))
            elif grant.ref != here.ref:  # else the device came back to this connected registry
                read = partial(self._view, record, grant.ref)
                view = await ahead.get(_retiring_at(grant), read)
                found.append(
                    GrantView(
                        grant=grant,
                        token_id=chosen.token_id,
                        connected_registry=view.connected_registry,
                        capacity=self._capacity(grant.ref),
                        ledger=view.ledger,
                        shares_token=True,
                    )
                )
            elif not grant.is_delivered_with(here):  # it stays a client, delivered elsewhere
                found.append(
                    GrantView(
                        grant=grant,
                        token_id=chosen.token_id,
                        connected_registry=None,
                        capacity=self._capacity(grant.ref),
                        ledger=Ledger(),
                        shares_token=True,
                    )
                )
        return tuple(found)

    def _capacity(self, ref: ConnectedRegistryRef) -> int | None:
        entry = self.policy.entry_for(ref)
        return entry.capacity if entry is not None else None

    async def _views(
        self, record: DeviceRecord
    ) -> tuple[tuple[ConnectedRegistryView, ...], ConnectedRegistryView | None]:
        """The candidates in their order, up to the one that is chosen; None if all are full.

        The grant's connected registry never changes by itself. Else it is the first with room
        that no other device in flight is about to take; the first with room if there is none.
        """
        refs = self._refs(record)
        if record.status.grant is not None:
            view = await (self._view if _is_done(record) else self._shared_view)(record, refs[0])
            return (view,), view
        views: list[ConnectedRegistryView] = []
        was_full = record.status.condition.reason is Reason.SITE_FULL
        for ref in refs:
            if len(views) == (0 if was_full else 1):  # one listing, not look after look
                await self.shared.look_at_all(refs)
            view = await self._shared_view(record, ref)
            views.append(view)
            if view.takes_device and not self._is_about_to_fill(view):
                if self.choices:
                    self.choices.note(ref, view.token_id)
                return tuple(views), view
        return tuple(views), next((view for view in views if view.takes_device), None)

    def _is_about_to_fill(self, view: ConnectedRegistryView) -> bool:
        """Whether other devices in flight are about to take the room that is left."""
        if self.choices is None or view.entry is None or view.holds_room:
            return False
        others = self.choices.others(view.ref, view.token_id, ledger=view.ledger)
        return view.used + others >= view.entry.capacity

    async def _view(self, record: DeviceRecord, ref: ConnectedRegistryRef) -> ConnectedRegistryView:
        """A connected registry as it is now."""
        connected_registry, ledger = await asyncio.gather(
            self.registries.get_connected_registry(ref), read_ledger(self.ledgers, ref)
        )
        return self._view_of(record, ref, connected_registry, ledger)

    async def _shared_view(
        self, record: DeviceRecord, ref: ConnectedRegistryRef
    ) -> ConnectedRegistryView:
        """A connected registry as another device in flight may have seen it.

        A candidate's ledger is shared, too, because its reservation checks it again. If a ledger
        has the token in the list and the shared look has not, the token has joined since.
        """
        look = await self.shared.look_at(ref)
        if record.status.grant is None and record.token_to_adopt is None:
            ledger = await self.shared.ledger(ref)
        else:
            ledger = await read_ledger(self.ledgers, ref)
        view = self._view_of(record, ref, look.with_ledger(ledger), ledger)
        entry, there = ledger.get(view.token_id), view.connected_registry
        has_joined = entry is not None and entry.standing is Standing.MEMBER
        if has_joined and there is not None and not there.lists(view.token_id):
            return await self._view(record, ref)
        return view

    def _view_of(
        self,
        record: DeviceRecord,
        ref: ConnectedRegistryRef,
        connected_registry: ConnectedRegistry | None,
        ledger: Ledger,
    ) -> ConnectedRegistryView:
        return ConnectedRegistryView(
            ref=ref,
            entry=self.policy.entry_for(ref),
            connected_registry=connected_registry,
            ledger=ledger,
            token_id=ref.registry.token(self._names(record, ref).token),
        )

    async def _generation_id(self, record: DeviceRecord, twin: Twin, ahead: Ahead) -> str:
        """The generationId, or what stands for it while the hub has no time for one more read."""
        recorded, now = record.status.hub_generation_id, by_etag(twin.device_etag)
        if is_by_etag(recorded) and recorded != now:
            return now  # another device, whatever its generationId is
        if recorded is not None and not is_by_etag(recorded):
            if record.status.hub_device_etag == twin.device_etag:
                return recorded
            return await self._read_identity(record.device)
        reading = ahead.begun(_IDENTITY)
        if reading is None and not self.budget.take():
            return now
        try:
            found: str = await (reading or self._read_identity(record.device))
        except Transient as error:
            if error.reason is not Reason.THROTTLED:
                raise
            self.budget.refuse()
            return now
        if recorded is not None and await self._has_changed(record.device, twin):
            raise Conflict("The device was registered anew while it was observed.")
        return found

    async def _has_changed(self, device: DeviceKey, before: Twin) -> bool:
        """Whether an identity that was just read may be that of another device than the twin."""
        twin = await self.hubs.twin(device)
        return twin is None or twin.device_etag != before.device_etag

    async def _revoked_identity(self, record: DeviceRecord, twin: Twin) -> str | None:
        recorded, status = record.status.hub_generation_id, record.status
        if status.hub_device_etag == twin.device_etag and not is_by_etag(recorded):
            return recorded
        return await self._read_identity(record.device)

    async def _read_identity(self, device: DeviceKey) -> str:
        found = await self.hubs.generation_id(device)
        if found is None:
            raise Conflict("The device was deleted while it was observed.")
        return found

    async def _token(self, registry: RegistryId, names: Names) -> Token | None:
        return await self.registries.get_token(registry, names.token)

    async def _credential(
        self, record: DeviceRecord, view: ConnectedRegistryView, ahead: Ahead
    ) -> CredentialView:
        names = self._names(record, view.ref)
        registry = view.ref.registry
        map_name = scope_map_name(record.scope_actions_at(registry), deployment=self.deployment)
        read = self.registries.get_scope_map if _is_done(record) else self.shared.scope_map
        scope_map, token, versions, synced, is_taken = await asyncio.gather(
            ahead.get(map_name, partial(read, registry, map_name)),
            ahead.get(view.token_id, partial(self._token, registry, names)),
            ahead.get(names.secret, partial(self.secrets.versions, names.secret)),
            self._synced_actions(record, view, ahead),
            self._is_taken(record, view, names),
        )
        is_made_here = False
        if record.status.grant is None and record.token_to_adopt is None and token is not None:
            device, ours = record.device, self.deployment
            is_made_here = any(
                is_made_for(v, device, deployment=ours) and token_of(v) == token.name
                for v in versions
            )
            is_taken = await self.is_named_elsewhere(record, view.token_id)
        return CredentialView(
            names=names,
            scope_map_name=map_name,
            scope_map_id=registry.scope_map(map_name),
            scope_map=scope_map,
            token=token,
            secrets=versions,
            synced_actions=synced,
            is_taken=is_taken,
            is_made_here=is_made_here,
        )

    async def _synced_actions(
        self, record: DeviceRecord, view: ConnectedRegistryView, ahead: Ahead
    ) -> frozenset[str] | None:
        """What the connected registry syncs, read until the generation is done; None if unknown."""
        found = view.connected_registry
        if _is_done(record) or found is None or found.sync_token_id is None:
            return None
        token_id = found.sync_token_id
        read = partial(self.shared.synced_actions, view.ref.registry, token_id)
        return await ahead.get(token_id, read)

    async def _is_taken(
        self, record: DeviceRecord, view: ConnectedRegistryView, names: Names
    ) -> bool:
        """Whether a token to adopt belongs to another owner, read until the generation is done."""
        if record.spec.intent.adopt is None or _is_done(record):
            return False
        if record.status.grant is not None:
            return await self.is_named_elsewhere(record, view.token_id)
        is_named, connected, secrets = await asyncio.gather(
            self.is_named_elsewhere(record, view.token_id),
            self.registries.list_connected_registries(view.ref.registry),
            self.secrets.list_secrets(),
        )
        # A device whose record is lost still has its token, as the tags of its secret say.
        of_registry = secrets_of(view.ref.registry, secrets)
        is_anothers = any(
            secret.enabled
            and token_of(secret) == names.token
            and not is_made_for(secret, record.device, deployment=self.deployment)
            for secret in of_registry
        )
        is_sync_token = any(view.token_id == c.sync_token_id for c in connected)
        comes_back = any(grant.ref == view.ref for grant in record.status.retiring)
        is_entered = view.ledger.get(view.token_id) is not None and not comes_back
        return is_named or is_anothers or is_entered or is_sync_token

    def _names(self, record: DeviceRecord, ref: ConnectedRegistryRef) -> Names:
        if record.status.grant is not None:
            return record.status.grant.names
        names = names_for(record.device, deployment=self.deployment, registry=ref.registry)
        if record.token_to_adopt is not None:
            return replace(names, token=record.token_to_adopt)
        return names


def _retiring_at(grant: Grant) -> tuple[str, ConnectedRegistryRef]:
    """The key of a read ahead: the connected registry of a retiring grant."""
    return "retiring", grant.ref


async def _nothing() -> tuple[()]:
    return ()


def _claim_to(grant: Grant, record: DeviceRecord) -> tuple[bool, bool, DeviceKey]:
    """How good a record's claim to a token is; the smallest is the best."""
    own = record.status.grant
    is_own = own is not None and own.token_id == grant.token_id
    return record.spec.revocation is not None, not is_own, record.device


def _is_done(record: DeviceRecord) -> bool:
    """Whether the latest request is carried out: what is compared now is read for this device."""
    return record.status.observed_generation == record.spec.generation
