"""The sweep: compares everything in Azure with the records, and repairs or reports differences.

1. Take an inventory. The report names a source that does not answer; the sweep ignores it.
2. Requeue devices with drift, which a worker then repairs. Update the warnings of the others.
3. Onboard devices that opt in by their tag and have no record.
4. Read devices that seem gone from their hub once more, one by one, and revoke them. If they are
   more than a set share of the fleet, revoke none of them without approval.
5. Drop ledger entries that no record names, and remove scope maps that nothing has referred to
   for 24 hours. Report the other orphans.
6. Delete old tombstones.
7. Store the report. After a crash before this, the next sweep does the rest: only the times of
   unreferenced scope maps and the approvals carry over, from the report before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from firstpull.fleet.drift import (
    drift_of,
    gone_devices,
    is_at_rest,
    opted_in_devices,
    warnings_of,
)
from firstpull.fleet.inventory import Inventory, InventoryReader
from firstpull.fleet.orphans import (
    SCOPE_MAP_REST,
    clients_of,
    orphans,
    unreferenced_scope_maps,
)
from firstpull.fleet.tombstones import expired_tombstones
from firstpull.intake.event_handler import OPT_IN_TAG, EventHandler
from firstpull.intake.revoke import Revoking
from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, ScopeMapId
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, FirstpullError, Invalid, NotKnown
from firstpull.model.history import entry
from firstpull.model.ports import ContainerRegistries, Hubs, Records, Stored, Sweeps, WorkQueue
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.record_update import update_record
from firstpull.model.sweep_report import SweepReport
from firstpull.model.transitions import with_drift, with_warnings
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.warnings import log_new_warnings

_ENTRY_AGE = timedelta(hours=1)
"""A younger ledger entry may be of a device recorded since the inventory."""

_MOST_TOMBSTONES = 100


@dataclass(frozen=True, kw_only=True)
class Sweeper:
    """Runs sweeps. `most_revokes_percent` is the share of the fleet that one may revoke."""

    deployment: str
    most_revokes_percent: int
    tombstone_age: timedelta
    inventory_reader: InventoryReader
    registries: ContainerRegistries
    hubs: Hubs
    records: Records
    queue: WorkQueue
    sweeps: Sweeps
    membership: Membership
    event_handler: EventHandler
    revoking: Revoking
    clock: Clock
    new_id: Callable[[], str]

    async def run(self) -> SweepReport:
        """Run one sweep. Raises what reading the records or writing the report raises."""
        started_at = self.clock.now()
        before = await self.sweeps.get()
        last = before.value if before is not None else None
        if before is not None and last is None:
            emit_warning(LogEvent.SWEEP_REPORT_UNREADABLE)
        inventory = await self.inventory_reader.take()
        attempts = _Attempts([*inventory.unread])
        drifted = await self._requeue_drifted(inventory, attempts)
        onboarded = await self._onboard_opted_in(inventory, attempts)
        revoked, held, unsettled = await self._revoke_gone(inventory, last, attempts)
        dropped = await self._drop_ledger_entries(inventory, attempts)
        unreferenced = unreferenced_scope_maps(
            inventory,
            deployment=self.deployment,
            before=last.scope_maps_unreferenced if last is not None else {},
        )
        await self._drop_tombstones(inventory, attempts)
        removed = await self._remove_scope_maps(inventory, unreferenced, attempts)
        report = SweepReport(
            id=self.new_id(),
            started_at=started_at,
            finished_at=self.clock.now(),
            devices=len(inventory.records),
            drifted=dict(drifted),
            onboarded=onboarded,
            revoked=revoked,
            held=held,
            approved=_still_approved(inventory, last, unsettled),
            orphans=orphans(inventory, deployment=self.deployment),
            ledger_entries_removed=dropped,
            scope_maps_removed=len(removed),
            scope_maps_unreferenced={k: v for k, v in unreferenced.items() if k not in removed},
            unread=tuple(attempts.failures),
            complete_at=_complete_at(attempts, last, now=self.clock.now()),
        )
        await self._store(report, before)
        return report

    async def latest(self) -> SweepReport | None:
        """The report of the last sweep, None before the first. Raises NotKnown if it is damaged."""
        stored = await self.sweeps.get()
        return _sound(stored).value if stored is not None else None

    async def approve(self, report_id: str) -> SweepReport:
        """Approve the revokes that the last sweep held, for the next sweep. Raises NotKnown."""
        stored = await self._held(report_id)
        approved = replace(stored.value, approved=stored.value.held)
        await self.sweeps.put(approved, etag=stored.etag)
        emit(LogEvent.SWEEP_REVOKES_APPROVED, devices=len(approved.approved))
        return approved

    async def propose_approval(self, report_id: str) -> SweepReport:
        """The report that `approve` would approve. Writes nothing. Raises NotKnown."""
        return (await self._held(report_id)).value

    async def _held(self, report_id: str) -> Stored[SweepReport]:
        found = await self.sweeps.get()
        stored = _sound(found) if found is not None else None
        if stored is None or stored.value.id != report_id or not stored.value.held:
            raise NotKnown(
                "The last sweep has another id, or holds no devices.",
                reason=Reason.SWEEP_NOT_KNOWN,
            )
        return stored

    async def _requeue_drifted(self, inventory: Inventory, attempts: _Attempts) -> Counter[str]:
        """Step 2; counts the devices by difference."""
        found: Counter[str] = Counter()
        for record in inventory.records:
            comparing = self._compare(record, inventory, found)
            await attempts.attempt(record.device, comparing, None)
        return found

    async def _compare(
        self, record: DeviceRecord, inventory: Inventory, found: Counter[str]
    ) -> None:
        drift = drift_of(record, inventory, deployment=self.deployment)
        if drift:
            found.update(drift)
            await self._requeue(record, "; ".join(drift))
        elif is_at_rest(record, inventory):
            await self._update_warnings(record, inventory)

    async def _requeue(self, record: DeviceRecord, drift: str) -> None:
        now, device = self.clock.now(), record.device
        found = entry(LogEvent.DEVICE_DRIFT_FOUND, at=now, detail=drift)

        def change(stored: DeviceRecord) -> DeviceRecord:
            seen = (record.spec.generation, record.status.observed_at)
            if (stored.spec.generation, stored.status.observed_at) != seen:
                return stored  # a request or a pass came since the inventory
            return with_drift(stored, found)

        await update_record(self.records, device, change)
        await self.queue.put(device)
        emit_warning(
            LogEvent.DEVICE_DRIFT_FOUND, hub=device.hub, device_id=device.device_id, drift=drift
        )

    async def _update_warnings(self, record: DeviceRecord, inventory: Inventory) -> None:
        def change(record: DeviceRecord) -> DeviceRecord:
            return with_warnings(record, warnings_of(record, inventory))

        if change(record) == record:
            return
        log_new_warnings(*await update_record(self.records, record.device, change))

    async def _onboard_opted_in(self, inventory: Inventory, attempts: _Attempts) -> int:
        """Step 3; counts the devices."""
        onboarded = 0
        for device in opted_in_devices(inventory, tag=OPT_IN_TAG):
            onboarded += await attempts.attempt(device, self._onboard(device), False)  # noqa: FBT003 - the default
        return onboarded

    async def _onboard(self, device: DeviceKey) -> bool:
        """Whether the device was onboarded; an invalid or forbidden tag logs a warning."""
        try:
            return await self.event_handler.onboard_if_opted_in(
                device, requested_by="sweep", by_tag_alone=True
            )
        except Invalid as refusal:
            emit_warning(
                LogEvent.DEVICE_TAG_REFUSED,
                hub=device.hub,
                device_id=device.device_id,
                reason=refusal.reason.value,
            )
            return False

    async def _revoke_gone(
        self,
        inventory: Inventory,
        last: SweepReport | None,
        attempts: _Attempts,
    ) -> tuple[int, tuple[DeviceKey, ...], frozenset[DeviceKey]]:
        """Step 4: the number of revoked devices, the held devices, and those with an error."""
        approved = set(last.approved) if last is not None else set()
        gone, unsettled = [], set[DeviceKey]()
        for device in gone_devices(inventory):
            is_gone = await attempts.attempt(device, self._is_gone(device), None)
            if is_gone is None:
                unsettled.add(device)
            elif is_gone:
                gone.append(device)
        unapproved = [device for device in gone if device not in approved]
        fleet = sum(record.was_in_hub for record in inventory.records)
        share = fleet * self.most_revokes_percent // 100
        most = max(1, share) if self.most_revokes_percent else 0  # a small fleet may lose one
        held = tuple(unapproved) if len(unapproved) > most else ()
        if held:
            emit_warning(LogEvent.SWEEP_REVOKES_HELD, devices=len(held), fleet=fleet, most=most)
        revoked = 0
        for device in gone:
            if device not in held:
                revoking = self.revoking.revoke_if_gone(device, requested_by="sweep")
                done = await attempts.attempt(device, revoking, None)
                if done is None:
                    unsettled.add(device)
                revoked += bool(done)
        return revoked, held, frozenset(unsettled)

    async def _is_gone(self, device: DeviceKey) -> bool:
        """Whether the hub no longer has the device, read directly because its queries lag."""
        return await self.hubs.twin(device) is None

    async def _drop_ledger_entries(self, inventory: Inventory, attempts: _Attempts) -> int:
        """Step 5; counts the entries."""
        if not inventory.knows_all_records:
            return 0
        before = inventory.at - _ENTRY_AGE
        dropped = 0
        for ref, ledger in inventory.ledgers.items():
            clients = clients_of(inventory, ref)
            if all(e.since >= before or key in clients for key, e in ledger.entries.items()):
                continue
            forgetting = self.membership.forget(ref, unless=clients, before=before)
            entries = await attempts.attempt(ref, forgetting, 0)
            emit_warning(
                LogEvent.SWEEP_LEDGER_REPAIRED, connected_registry=str(ref), entries=entries
            )
            dropped += entries
        return dropped

    async def _drop_tombstones(self, inventory: Inventory, attempts: _Attempts) -> None:
        """Step 6, some at each sweep: each costs a read of the hub."""
        expired = expired_tombstones(inventory, before=inventory.at - self.tombstone_age)
        for record in islice(expired, _MOST_TOMBSTONES):
            await attempts.attempt(record.device, self._drop_tombstone(record), None)

    async def _drop_tombstone(self, record: DeviceRecord) -> None:
        """Delete a tombstone, unless its device is in the hub or somebody asked meanwhile."""
        device = record.device
        if not await self._is_gone(device):
            return
        stored = await self.records.get(device)
        if stored is None or stored.value.spec != record.spec or not stored.value.is_tombstone:
            return
        await self.records.delete(device, etag=stored.etag)
        emit(LogEvent.SWEEP_TOMBSTONE_DROPPED, hub=device.hub, device_id=device.device_id)

    async def _remove_scope_maps(
        self,
        inventory: Inventory,
        unreferenced: Mapping[ScopeMapId, datetime],
        attempts: _Attempts,
    ) -> set[ScopeMapId]:
        """Step 5: the scope maps that it removed, each unreferenced in a second read too."""
        expired = {
            scope_map
            for scope_map, since in unreferenced.items()
            if scope_map.registry in inventory.registries and inventory.at - since >= SCOPE_MAP_REST
        }
        removed: set[ScopeMapId] = set()
        for registry in {scope_map.registry for scope_map in expired}:
            unused = await self._unreferenced_now(registry, inventory, attempts)
            for scope_map in sorted(expired & unused):
                if await self._remove_scope_map(registry, scope_map.name):
                    removed.add(scope_map)
        return removed

    async def _unreferenced_now(
        self, registry: RegistryId, inventory: Inventory, attempts: _Attempts
    ) -> frozenset[ScopeMapId]:
        reading = self.inventory_reader.read_again(registry, inventory)
        now = await attempts.attempt(registry.name, reading, None)
        if now is None:
            return frozenset()
        return frozenset(unreferenced_scope_maps(now, deployment=self.deployment, before={}))

    async def _remove_scope_map(self, registry: RegistryId, name: str) -> bool:
        """Whether the service removed the scope map: it refuses for one that is in use."""
        try:
            await self.registries.delete_scope_map(
                registry, name, deadline_seconds=REQUEST_DEADLINE
            )
        except FirstpullError as error:
            emit_warning(LogEvent.SWEEP_SCOPE_MAP_KEPT, name=name, reason=error.reason.value)
            return False
        emit(LogEvent.SWEEP_SCOPE_MAP_REMOVED, name=name, registry=registry.name)
        return True

    async def _store(self, report: SweepReport, before: Stored[SweepReport | None] | None) -> None:
        try:
            await self.sweeps.put(report, etag=before.etag if before is not None else None)
        except Conflict:
            emit_warning(LogEvent.SWEEP_REPORT_SUPERSEDED, report=report.id)
        for source in report.unread:
            emit_warning(LogEvent.SWEEP_SOURCE_UNREAD, source=source)
        for orphan in report.orphans:
            emit_warning(
                LogEvent.SWEEP_ORPHAN_FOUND,
                kind=orphan.kind.value,
                name=orphan.name,
                where=orphan.where,
            )
        emit(
            LogEvent.SWEEP_COMPLETED,
            devices=report.devices,
            drifted=sum(report.drifted.values()),
            onboarded=report.onboarded,
            revoked=report.revoked,
            held=len(report.held),
            orphans=len(report.orphans),
            unread=len(report.unread),
        )


@dataclass(frozen=True)
class _Attempts:
    """Continues after an error or a defect, and collects the failures for the report."""

    failures: list[str]

    async def attempt[T](
        self, subject: DeviceKey | ConnectedRegistryRef | str, work: Awaitable[T], default: T
    ) -> T:
        """The result of the work, or the default after an error, which is added to `failures`."""
        try:
            return await work
        except FirstpullError as error:
            message = error.message
        except Exception as error:
            message = MEANING[Reason.INTERNAL_ERROR]
            emit_crash(LogEvent.SWEEP_STEP_CRASHED, error, subject=_name(subject))
        self.failures.append(f"{_name(subject)}: {message}")
        return default


def _sound(stored: Stored[SweepReport | None]) -> Stored[SweepReport]:
    if stored.value is None:
        raise NotKnown(
            "The stored report of the last sweep is damaged; the next sweep writes a new one.",
            reason=Reason.SWEEP_NOT_KNOWN,
        )
    return Stored(value=stored.value, etag=stored.etag)


def _name(subject: DeviceKey | ConnectedRegistryRef | str) -> str:
    return subject.device_id if isinstance(subject, DeviceKey) else str(subject)


def _complete_at(
    attempts: _Attempts, last: SweepReport | None, *, now: datetime
) -> datetime | None:
    if not attempts.failures:
        return now
    return last.complete_at if last is not None else None


def _still_approved(
    inventory: Inventory, last: SweepReport | None, unsettled: frozenset[DeviceKey]
) -> tuple[DeviceKey, ...]:
    """The approved devices that this sweep could not read or revoke."""
    approved = last.approved if last is not None else ()
    return tuple(d for d in approved if d.hub not in inventory.twins or d in unsettled)
