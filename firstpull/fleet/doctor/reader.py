"""Reads what the checks need, all at once, and keeps the error of what does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.config.policy import ConnectedRegistryPolicy, Policy
from firstpull.fleet.doctor.needs import Kind
from firstpull.fleet.doctor.readings import (
    AppState,
    ConnectedReading,
    Read,
    Readings,
    ResourceReading,
    known,
)
from firstpull.intake.poison_queue import QUEUES, PoisonQueues
from firstpull.model.azure_resources import ConnectedRegistry, RegistryId
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Blocked, FirstpullError, Transient
from firstpull.model.governance import ResourceId
from firstpull.model.ports import (
    ContainerRegistries,
    Hubs,
    Ledgers,
    Records,
    ResourceManager,
    Secrets,
    Sweeps,
    read_ledger,
)
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import SweepReport

OVERDUE = timedelta(minutes=5)
"""A device that has been due for longer was forgotten: a timer requeues after ten seconds."""
_NOBODY = "firstpull-doctor"
"""The name of something that does not exist: reading it needs the same permission."""
_SECONDS = 25.0
"""For each source. The slowest listing takes longer only where a service is in trouble."""
_AT_ONCE = 8
_MOST_COMPARED = 100
"""Connected registries whose repositories are compared: two reads of the service for each."""
_MOST_DATED = 20
"""Overdue devices whose record is read for the time."""


@dataclass(frozen=True, kw_only=True)
class DoctorReader:
    """Reads with the app's own identity, and writes nothing."""

    app: AppState
    policy: Policy
    policy_refusal: Callable[[], Blocked | None]
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    records: Records
    ledgers: Ledgers
    poison: PoisonQueues
    sweeps: Sweeps
    manager: ResourceManager
    clock: Clock
    clock_offset: Callable[[], timedelta]
    seconds: float = _SECONDS
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def read(self) -> Readings:
        """Everything that can be read. No service's failure ends it."""
        records, listings, kept, sweep = await asyncio.gather(
            self._error(self.records.get(DeviceKey(hub=_NOBODY, device_id=_NOBODY))),
            self._listings(),
            asyncio.gather(*(self._kept(queue) for queue in QUEUES)),
            self._read(self._sweep()),
        )
        kept_of = dict(zip(QUEUES, kept, strict=True))
        stored = [records, *kept, sweep]
        of_storage = tuple(each for each in stored if isinstance(each, FirstpullError))
        principal, resources, connected, overdue = await asyncio.gather(
            self._read(self.manager.principal_id()),
            self._resources(listings, of_storage),
            self._connected(listings),
            self._read(self._overdue()),
        )
        devices, oldest = known(overdue, ((), None))
        named, unnamed = resources
        return Readings(
            at=self.clock.now(),
            app=self.app,
            policy=self.policy,
            policy_refusal=self.policy_refusal(),
            clock_offset=self.clock_offset(),
            principal=known(principal, None),
            resources=named,
            unnamed=unnamed,
            listings=listings,
            connected=connected,
            records=records,
            overdue=devices,
            oldest_due=oldest,
            kept=kept_of,
            sweep=sweep,
        )

    async def _resources(
        self, listings: dict[RegistryId, Read[tuple[ConnectedRegistry, ...]]], stored: _Errors
    ) -> tuple[tuple[ResourceReading, ...], dict[str, _Errors]]:
        """The resources whose ids are known, and the errors of those whose ids are not."""
        ids = self.app.resource_ids
        tried = [
            _Tried(str(r), Kind.REGISTRY, ResourceId(str(r)), self._try_registry(r, listings[r]))
            for r in self.policy.container_registries
        ]
        for hub in self.policy.hubs:
            one = next((i for i in ids if i.type == Kind.HUB and hub.is_named(i.name)), None)
            tried.append(_Tried(f"the hub {hub.host}", Kind.HUB, one, self._try_hub(hub.host)))
        vault, storage = (
            next((i for i in ids if i.type == kind), None) for kind in (Kind.VAULT, Kind.STORAGE)
        )
        tried.append(_Tried("the vault", Kind.VAULT, vault, self._try_vault()))
        tried.append(_Tried("the storage account", Kind.STORAGE, storage, _given(stored)))
        errors = await asyncio.gather(*(each.errors for each in tried))
        found = list(zip(tried, errors, strict=True))
        readings = await asyncio.gather(
            *(self._resource(one.id, one.kind, e) for one, e in found if one.id is not None)
        )
        return tuple(readings), {one.what: e for one, e in found if one.id is None}

    async def _resource(self, id_: ResourceId, kind: Kind, tried: _Errors) -> ResourceReading:
        manager = self.manager
        is_guarded, has_events = kind in (Kind.REGISTRY, Kind.VAULT), kind is Kind.HUB
        resource, permissions, locks, policies, events = await asyncio.gather(
            self._read(manager.resource(id_)),
            self._read(manager.permissions(id_)),
            self._read(manager.locks(id_) if is_guarded else _given(())),
            self._read(manager.policy_assignments(id_) if is_guarded else _given(())),
            self._read(manager.event_subscriptions(id_) if has_events else _given(())),
        )
        return ResourceReading(
            id=id_,
            kind=kind,
            tried=tried,
            resource=resource,
            permissions=permissions,
            locks=locks,
            policies=policies,
            events=events,
        )

    async def _listings(self) -> dict[RegistryId, Read[tuple[ConnectedRegistry, ...]]]:
        registries = self.policy.container_registries
        found = await asyncio.gather(
            *(self._read(self.registries.list_connected_registries(r)) for r in registries)
        )
        return dict(zip(registries, found, strict=True))

    async def _connected(
        self, listings: dict[RegistryId, Read[tuple[ConnectedRegistry, ...]]]
    ) -> tuple[ConnectedReading, ...]:
        """Those of the policy whose container registry answered."""
        found: list[Awaitable[ConnectedReading]] = []
        for number, entry in enumerate(self.policy.connected_registries):
            listing = listings[self.policy.ref_of(entry).registry]
            if not isinstance(listing, FirstpullError):
                is_compared = number < _MOST_COMPARED and entry.repositories is not None
                found.append(self._one_connected(entry, listing, is_compared=is_compared))
        return tuple(await asyncio.gather(*found))

    async def _one_connected(
        self,
        entry: ConnectedRegistryPolicy,
        listing: tuple[ConnectedRegistry, ...],
        *,
        is_compared: bool,
    ) -> ConnectedReading:
        ref = self.policy.ref_of(entry)
        name = ref.name.casefold()
        connected = next((c for c in listing if c.name.casefold() == name), None)
        synced: Awaitable[frozenset[str] | None] = (
            self._synced(ref.registry, connected) if is_compared else _given(None)
        )
        ledger, actions = await asyncio.gather(
            self._read(read_ledger(self.ledgers, ref)), self._read(synced)
        )
        return ConnectedReading(
            ref=ref, entry=entry, connected=connected, ledger=ledger, synced=actions
        )

    async def _synced(
        self, registry: RegistryId, connected: ConnectedRegistry | None
    ) -> frozenset[str] | None:
        if connected is None or connected.sync_token_id is None:
            return None
        return await self.registries.synced_actions(registry, connected.sync_token_id)

    async def _try_registry(
        self, registry: RegistryId, listing: Read[tuple[ConnectedRegistry, ...]]
    ) -> _Errors:
        errors = await self._errors(
            self.registries.get_token(registry, _NOBODY),
            self.registries.get_scope_map(registry, _NOBODY),
        )
        return (*((listing,) if isinstance(listing, FirstpullError) else ()), *errors)

    async def _try_hub(self, hub: str) -> _Errors:
        nobody = DeviceKey(hub=hub, device_id=_NOBODY)
        return await self._errors(self.hubs.twin(nobody), self.hubs.generation_id(nobody))

    async def _try_vault(self) -> _Errors:
        return await self._errors(self.secrets.versions(_NOBODY))

    async def _overdue(self) -> tuple[tuple[DeviceKey, ...], datetime | None]:
        """The devices that have been due for long, and since when the longest of some."""
        found = tuple([device async for device in self.records.due(self.clock.now() - OVERDUE)])
        stored = [await self.records.get(device) for device in found[:_MOST_DATED]]
        times = [each.value.schedule.due_at for each in stored if each is not None]
        return found, min(times, default=None)

    async def _kept(self, queue: str) -> Read[tuple[int, bool]]:
        front = await self._read(self.poison.peek(queue))
        return front if isinstance(front, FirstpullError) else (len(front.messages), front.is_whole)

    async def _sweep(self) -> SweepReport | None:
        stored = await self.sweeps.get()
        return stored.value if stored is not None else None

    async def _errors(self, *reads: Awaitable[object]) -> _Errors:
        found = await asyncio.gather(*map(self._error, reads))
        return tuple(error for error in found if error is not None)

    async def _error(self, read: Awaitable[object]) -> FirstpullError | None:
        found = await self._read(read)
        return found if isinstance(found, FirstpullError) else None

    async def _read[T](self, read: Awaitable[T]) -> Read[T]:
        """What a source answers in time, else its error."""
        try:
            async with self._slots, asyncio.timeout(self.seconds):
                return await read
        except FirstpullError as error:
            return error
        except TimeoutError:
            return _silent(self.seconds)


type _Errors = tuple[FirstpullError, ...]


@dataclass(frozen=True)
class _Tried:
    """A resource, by its id if the settings have that, and what it answers."""

    what: str
    kind: Kind
    id: ResourceId | None
    errors: Awaitable[_Errors]


def _silent(seconds: float) -> Transient:
    return Transient(Reason.SERVICE_UNAVAILABLE, f"There was no answer within {seconds:g} s.")


async def _given[T](value: T) -> T:
    return value
