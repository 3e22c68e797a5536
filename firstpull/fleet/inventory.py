"""The inventory: everything in Azure that a sweep compares with the records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    ListedDevice,
    RegistryId,
    ScopeMap,
    StoredSecret,
    Token,
    Twin,
)
from firstpull.model.clock import Clock
from firstpull.model.delivery_kinds import modules_of
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FirstpullError
from firstpull.model.ledger import Ledger
from firstpull.model.pagination import every_page, every_record
from firstpull.model.ports import (
    ContainerRegistries,
    Hubs,
    Ledgers,
    Query,
    Records,
    Secrets,
    read_ledger,
)

_AT_ONCE = 8
"""Ledgers; each connection has a buffer of 256 KiB."""


@dataclass(frozen=True, kw_only=True)
class RegistryInventory:
    """The contents of a container registry by name; connected registries by lower-case name."""

    tokens: Mapping[str, Token]
    scope_maps: Mapping[str, ScopeMap]
    connected_registries: Mapping[str, ConnectedRegistry]

    def connected_registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        """The connected registry of a reference, whose name may differ in case."""
        return self.connected_registries.get(ref.name.casefold())

    def synced_by(self, connected_registry: ConnectedRegistry) -> frozenset[str] | None:
        """The scope actions that a connected registry syncs, None if they are not known."""
        if connected_registry.sync_token_id is None:
            return None
        token = self.tokens.get(connected_registry.sync_token_id.name)
        scope_map = self.scope_maps.get(token.scope_map_id.name) if token else None
        if scope_map is None:
            return None
        return frozenset(a for a in scope_map.actions if a.startswith("repositories/"))


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What existed at `at`. A source that could not be read is missing, and named in `unread`.

    Records are read last, so a resource that no record names is an orphan.
    """

    at: datetime
    records: tuple[DeviceRecord, ...]
    registries: Mapping[RegistryId, RegistryInventory]
    ledgers: Mapping[ConnectedRegistryRef, Ledger]
    secrets: Mapping[str, StoredSecret] | None
    twins: Mapping[str, Mapping[str, Twin]]
    """By hub and device id, as the hub's query returns them."""
    unread: tuple[str, ...]
    knows_all_records: bool = True
    """False if some record cannot be read, so a resource without a record may have one."""

    def twin(self, device: DeviceKey) -> Twin | None:
        """The twin of a device, None if its hub has none or was not read."""
        return self.twins.get(device.hub, {}).get(device.device_id)


@dataclass(frozen=True, kw_only=True)
class InventoryReader:
    """Takes an inventory."""

    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    ledgers: Ledgers
    records: Records
    clock: Clock
    most_seconds: float = 245.0
    """For one source; the sweep goes on without those that take longer."""

    async def take(self) -> Inventory:
        """A new inventory. Raises only what reading the records raises."""
        at = self.clock.now()
        unread: list[str] = []
        hubs, refs = await self._places()
        registries = dict.fromkeys(self.policy.container_registries)
        registries |= {ref.registry: None for ref in refs}
        found, secrets, listed, ledgers = await asyncio.gather(
            asyncio.gather(*(self._tried(self._registry(r), r.name, unread) for r in registries)),
            self._tried(self.secrets.list_secrets(), "Key Vault", unread),
            asyncio.gather(*(self._tried(self.hubs.list_devices(h), h, unread) for h in hubs)),
            self._ledgers(refs, unread),
        )
        records, unreadable = await self._all_records()
        unread += [f"the record of {device.device_id} at {device.hub}" for device in unreadable]
        twins = await self._all_twins(dict(zip(hubs, listed, strict=True)), records, unread)
        twins = await self._with_modules(twins, records, unread)
        return Inventory(
            at=at,
            registries={r: i for r, i in zip(registries, found, strict=True) if i is not None},
            secrets={s.name: s for s in secrets} if secrets is not None else None,
            twins=twins,
            ledgers=ledgers,
            records=records,
            knows_all_records=not unreadable,
            unread=tuple(unread),
        )

    async def _places(self) -> tuple[dict[str, None], dict[ConnectedRegistryRef, None]]:
        """The hubs and connected registries of the policy, and those that a live record names."""
        hubs = {hub.host: None for hub in self.policy.hubs}
        refs = {self.policy.ref_of(e): None for e in self.policy.connected_registries}
        async for record in every_record(self.records, Query()):
            if not record.is_tombstone:
                hubs[record.device.hub] = None
                refs |= {grant.ref: None for grant in record.grants}
        return hubs, refs

    async def _ledgers(
        self, refs: Collection[ConnectedRegistryRef], unread: list[str]
    ) -> dict[ConnectedRegistryRef, Ledger]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def read(ref: ConnectedRegistryRef) -> Ledger:
            async with slots:
                return await read_ledger(self.ledgers, ref)

        reading = (self._tried(read(ref), str(ref), unread) for ref in refs)
        found = zip(refs, await asyncio.gather(*reading), strict=True)
        return {ref: ledger for ref, ledger in found if ledger is not None}

    async def _all_twins(
        self,
        listed: Mapping[str, tuple[ListedDevice, ...] | None],
        records: Iterable[DeviceRecord],
        unread: list[str],
    ) -> dict[str, dict[str, Twin]]:
        """The twins by hub, with those of recorded devices that the listing does not return.

        A listing misses the twin of an adopted device, and a twin that another tool emptied.
        """
        known = {
            hub: {device.device_id: device.twin for device in devices}
            for hub, devices in listed.items()
            if devices is not None
        }
        missing: dict[str, list[str]] = {hub: [] for hub in known}
        for record in records:
            hub, device_id = record.device.hub, record.device.device_id
            if hub in known and device_id not in known[hub] and record.was_in_hub:
                missing[hub].append(device_id)
        found = await asyncio.gather(
            *(self._tried(self.hubs.find_devices(h, ids), h, unread) for h, ids in missing.items())
        )
        return {
            hub: known[hub] | {device.device_id: device.twin for device in more}
            for hub, more in zip(missing, found, strict=True)
            if more is not None
        }

    async def _with_modules(
        self,
        twins: dict[str, dict[str, Twin]],
        records: Iterable[DeviceRecord],
        unread: list[str],
    ) -> dict[str, dict[str, Twin]]:
        """The twins with those of the modules in which a hub's devices have deliveries.

        Only hubs in which a device has such a kind are asked, once for each module.
        """
        needed: dict[tuple[str, str], None] = {}
        for record in records:
            kinds = {record.delivery_kind.name, *(grant.delivery for grant in record.grants)}
            if record.device.hub in twins and not record.is_tombstone:
                needed |= {(record.device.hub, module): None for module in modules_of(kinds)}
        found = await asyncio.gather(
            *(self._tried(self.hubs.list_modules(h, m), f"{m} of {h}", unread) for h, m in needed)
        )
        for (hub, module), listed in zip(needed, found, strict=True):
            if listed is None:
                continue
            modules = {device.device_id: device.twin for device in listed}
            twins[hub] = {
                device_id: replace(twin, modules={**twin.modules, module: modules.get(device_id)})
                for device_id, twin in twins[hub].items()
            }
        return twins

    async def _registry(self, registry: RegistryId) -> RegistryInventory:
        tokens, scope_maps, connected = await asyncio.gather(
            self.registries.list_tokens(registry),
            self.registries.list_scope_maps(registry),
            self.registries.list_connected_registries(registry),
        )
        return RegistryInventory(
            tokens={token.name: token for token in tokens},
            scope_maps={scope_map.name: scope_map for scope_map in scope_maps},
            connected_registries={c.name.casefold(): c for c in connected},
        )

    async def read_again(self, registry: RegistryId, inventory: Inventory) -> Inventory:
        """The inventory of one container registry with its tokens and the records read again."""
        before = inventory.registries[registry]
        tokens = await self.registries.list_tokens(registry)
        records, unreadable = await self._all_records()
        return replace(
            inventory,
            registries={registry: replace(before, tokens={token.name: token for token in tokens})},
            records=records,
            knows_all_records=not unreadable,
        )

    async def _tried[T](self, reading: Awaitable[T], source: str, unread: list[str]) -> T | None:
        """The result of a read, or None after an error, which is added to `unread`."""
        try:
            async with asyncio.timeout(self.most_seconds):
                return await reading
        except FirstpullError as error:
            unread.append(f"{source}: {error.message}")
        except TimeoutError:
            unread.append(f"{source}: it was not read within {self.most_seconds:g} s.")
        return None

    async def _all_records(self) -> tuple[tuple[DeviceRecord, ...], tuple[DeviceKey, ...]]:
        """The records, compact, and the devices whose record cannot be read."""
        found: list[DeviceRecord] = []
        unreadable: list[DeviceKey] = []
        async for page in every_page(self.records, Query()):
            found += map(_compact, page.records)
            unreadable += page.unreadable
        return tuple(found), tuple(unreadable)


def _compact(record: DeviceRecord) -> DeviceRecord:
    """The record without its history; what it says twice, stored once: there are thousands."""
    status, intent = record.status, record.spec.intent
    if status.applied is not None and status.applied.intent == intent:
        status = replace(status, applied=replace(status.applied, intent=intent))
    return replace(record, status=status, history=())


def by_device(records: Iterable[DeviceRecord]) -> dict[DeviceKey, DeviceRecord]:
    """The records by device."""
    return {record.device: record for record in records}
