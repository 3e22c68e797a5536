"""Makes records again from what exists: of one device, or of all in pages.

After a loss of the table, or in the place of records from a backup. A record that misses no
request stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from firstpull.config.policy import Policy
from firstpull.fleet.inventory import Inventory, InventoryReader, by_device
from firstpull.fleet.orphans import orphans
from firstpull.model.azure_resources import StoredSecret, TokenId
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.last_request import LastRequest, last_request
from firstpull.model.naming import names_for
from firstpull.model.pagination import foreign_next, next_after, place_in
from firstpull.model.password_slots import owner_of, token_of
from firstpull.model.ports import Records, Stored, WorkQueue
from firstpull.model.reasons import Reason
from firstpull.model.record_update import RecordUpdates, device_not_known
from firstpull.model.sweep_report import Kind, Orphan
from firstpull.model.transitions import in_place_of
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.observe import Observer
from firstpull.reconcile.rebuild import Problem, rebuilt
from firstpull.reconcile.traces import RegistryTraces, Traces, VersionsByRegistry
from firstpull.reconcile.twins import modules_at, read_every_twin

_AT_ONCE = 16
"""Devices that are looked at at the same time."""


@dataclass(frozen=True, kw_only=True)
class NotRebuilt:
    """A device of which no record could be made, and why."""

    device: DeviceKey
    message: str


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """What became of some devices. `current` counts the records that miss no request.

    `unexplained` are tokens of this deployment that no tag names; `unread` what did not answer.
    """

    rebuilt: tuple[DeviceRecord, ...]
    current: int
    not_rebuilt: tuple[NotRebuilt, ...]
    unexplained: tuple[Orphan, ...] = ()
    unread: tuple[str, ...] = ()
    next_page: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rebuilding:
    """Rebuilds records. With `dry_run`, nothing is written."""

    deployment: str
    policy: Policy
    inventory_reader: InventoryReader
    observer: Observer
    records: Records
    updates: RecordUpdates
    queue: WorkQueue
    clock: Clock

    async def one(self, device: DeviceKey, *, dry_run: bool) -> Rebuild:
        """Rebuild one record. Raises NotKnown if no secret was stored for the device."""
        stored = await self.observer.traces.stored(device)
        if not any(stored.values()):
            raise device_not_known(device)
        traces = await self.observer.traces.read(device, stored)
        return _summary([await self._settle(traces, None, dry_run=dry_run)])

    async def page(self, *, after: str | None, size: int, dry_run: bool) -> Rebuild:
        """Rebuild the records of up to `size` devices, by hub and id.

        Raises Invalid for a foreign `after`, Transient if the secrets cannot be listed.
        """
        start = _read(after) if after is not None else None
        inventory = await self.inventory_reader.take()
        devices = self._devices(inventory)
        found = sorted(device for device in devices if start is None or device > start)
        shown = found[:size]
        slots, owners = asyncio.Semaphore(_AT_ONCE), _current_owners(inventory, devices)
        records = by_device(inventory.records)

        async def one(device: DeviceKey) -> _Outcome:
            record = records.get(device)
            if record is not None and not _may_be_old(record, devices[device]):
                return None
            async with slots:
                return await self._one_of(device, inventory, owners, dry_run=dry_run)

        outcomes = await asyncio.gather(*map(one, shown))
        return replace(
            _summary(outcomes),
            unexplained=self._unexplained(inventory),
            unread=inventory.unread,
            next_page=_next(shown[-1]) if len(found) > len(shown) else None,
        )

    def _devices(self, inventory: Inventory) -> dict[DeviceKey, LastRequest | None]:
        """The devices for which this deployment stored a secret, with their last request."""
        if inventory.secrets is None:
            raise Transient(Reason.SERVICE_UNAVAILABLE, "Key Vault did not list the secrets.")
        found: dict[DeviceKey, list[StoredSecret]] = {}
        for secret in inventory.secrets.values():
            device = owner_of(secret, deployment=self.deployment)
            if device is not None:
                found.setdefault(device, []).append(secret)
        return {device: last_request(secrets) for device, secrets in found.items()}

    async def _one_of(
        self,
        device: DeviceKey,
        inventory: Inventory,
        owners: Mapping[TokenId, DeviceKey],
        *,
        dry_run: bool,
    ) -> _Outcome:
        try:
            stored = await self.observer.traces.stored(device)
            traces = self._traces(device, stored, inventory)
            if isinstance(traces, NotRebuilt):
                return traces
            # A hub lists neither a device without an entry in its own twin, nor modules' twins.
            if traces.twin is None or modules_at(traces.twin):
                twin = await read_every_twin(self.observer.hubs, device)
                traces = replace(traces, twin=twin)
            return await self._settle(traces, owners, dry_run=dry_run)
        except FirstpullError as error:
            return NotRebuilt(device=device, message=error.message)

    def _traces(
        self, device: DeviceKey, stored: VersionsByRegistry, inventory: Inventory
    ) -> Traces | NotRebuilt:
        """The traces of a device in an inventory, if that has everything of it."""
        if device.hub not in inventory.twins:
            return NotRebuilt(device=device, message=f"{device.hub} was not read.")
        parts = []
        for registry, versions in stored.items():
            contents = inventory.registries.get(registry)
            if contents is None and versions:
                message = f"{registry.name} was not read."
                return NotRebuilt(device=device, message=message)
            if contents is None:
                continue
            names = names_for(device, deployment=self.deployment, registry=registry)
            part = RegistryTraces(registry=registry, names=names, versions=versions)
            tokens = {n: contents.tokens[n] for n in part.token_names if n in contents.tokens}
            parts.append(
                replace(
                    part,
                    tokens=tokens,
                    scope_maps=contents.scope_maps,
                    connected=tuple(contents.connected_registries.values()),
                )
            )
        return Traces(device=device, twin=inventory.twin(device), parts=tuple(parts))

    async def _settle(
        self, traces: Traces, owners: Mapping[TokenId, DeviceKey] | None, *, dry_run: bool
    ) -> _Outcome:
        device, last = traces.device, traces.last_request
        if last is None:
            return NotRebuilt(device=device, message="The tags of its secret name no request.")
        found = rebuilt(traces, last, policy=self.policy, now=self.clock.now())
        if isinstance(found, Problem):
            return NotRebuilt(device=device, message=found.text)
        if await self._is_anothers(found, owners):
            return NotRebuilt(device=device, message="Another device's record names its token.")

        async def write() -> DeviceRecord | None:
            stored = await self.records.get(device)
            if stored is not None and not last.is_later_than(stored.value):
                return None
            before = stored.value if stored is not None else None
            record = in_place_of(before, found, self.clock.now())
            if not dry_run:
                await self._write(record, stored)
            return record

        return await self.updates.retry(device, write)

    async def _is_anothers(
        self, found: DeviceRecord, owners: Mapping[TokenId, DeviceKey] | None
    ) -> bool:
        grant = found.status.grant
        if grant is None:
            return False
        if owners is None:
            return await self.observer.is_named_elsewhere(found, grant.token_id)
        return owners.get(grant.token_id, found.device) != found.device

    async def _write(self, record: DeviceRecord, stored: Stored[DeviceRecord] | None) -> None:
        if stored is None:
            await self.records.insert(record)
        else:
            await self.records.replace(record, etag=stored.etag)
        await self.queue.put(record.device)
        emit_warning(
            LogEvent.DEVICE_RECORD_REBUILT,
            hub=record.device.hub,
            device_id=record.device.device_id,
            generation=record.spec.generation,
        )

    def _unexplained(self, inventory: Inventory) -> tuple[Orphan, ...]:
        """The tokens of this deployment that neither a record nor a tag names."""
        ours = (
            secret
            for secret in (inventory.secrets or {}).values()
            if owner_of(secret, deployment=self.deployment) is not None
        )
        tagged = {token_of(secret) for secret in ours}
        return tuple(
            orphan
            for orphan in orphans(inventory, deployment=self.deployment)
            if orphan.kind is Kind.TOKEN and orphan.name not in tagged
        )


type _Outcome = DeviceRecord | NotRebuilt | None
"""None where the record misses no request."""


def _summary(outcomes: list[_Outcome]) -> Rebuild:
    return Rebuild(
        rebuilt=tuple(found for found in outcomes if isinstance(found, DeviceRecord)),
        current=outcomes.count(None),
        not_rebuilt=tuple(found for found in outcomes if isinstance(found, NotRebuilt)),
    )


def _may_be_old(record: DeviceRecord, last: LastRequest | None) -> bool:
    """Whether a record misses a request, by the latest version of a secret or by its last pass."""
    is_known = record.status.condition.reason is Reason.RECORD_OUT_OF_DATE
    return is_known or (last is not None and last.is_later_than(record))


def _current_owners(
    inventory: Inventory, requests: Mapping[DeviceKey, LastRequest | None]
) -> dict[TokenId, DeviceKey]:
    """The devices by the tokens that their records name, where those miss no request."""
    owners: dict[TokenId, DeviceKey] = {}
    for record in inventory.records:
        is_old = _may_be_old(record, requests.get(record.device))
        if not is_old and not record.is_tombstone:
            owners |= {grant.token_id: record.device for grant in record.grants}
    return owners


def _next(device: DeviceKey) -> str:
    return next_after((device.hub, device.device_id))


def _read(after: str) -> DeviceKey:
    try:
        hub, device_id = place_in(after)
        return DeviceKey(hub=str(hub), device_id=str(device_id))
    except (ValueError, TypeError):
        raise foreign_next("rebuild") from None
