"""The sweep: compares everything in Azure with the records, and repairs or reports differences.

1. Take an inventory. The report names a source that does not answer; the sweep ignores it.
2. Requeue devices with drift, which a worker then repairs. Update the warnings of the others.
3. Onboard devices that opt in by their tag and have no record.
4. Read devices that seem gone from their hub once more, one by one, and revoke them. If they are
   more than a set share of the fleet, revoke none of them without approval.
5. Drop ledger entries that no record names, and remove scope maps that nothing has referred to
   for 24 hours. Report the other orphans.
6. Delete old tombstones.
7. Store the report. A sweep whose time is over stops before this, says where, and the next one
   begins there. After a crash the next sweep does the rest, in the order of the one before: only
   the times of unreferenced scope maps, the approvals, the place and the history carry over, from
   its report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from firstpull.config.policy import Policy
from firstpull.fleet.drift import (
    drift_of,
    gone_devices,
    is_at_rest,
    opted_in_devices,
    warnings_of,
)
from firstpull.fleet.figures import DeviceCount
from firstpull.fleet.inventory import Inventory, InventoryReader
from firstpull.fleet.orphans import (
    SCOPE_MAP_REST,
    clients_of,
    orphans,
    unreferenced_scope_maps,
)
from firstpull.fleet.sites import view_of
from firstpull.fleet.sweep_progress import Progress
from firstpull.fleet.tombstones import expired_tombstones
from firstpull.intake.event_handler import OPT_IN_TAG, EventHandler
from firstpull.intake.revoke import Revoking
from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, ScopeMapId
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, FirstpullError, Invalid, NotKnown, Transient
from firstpull.model.fleet_figures import FleetFigures
from firstpull.model.fleet_history import StateCounts, extended
from firstpull.model.history import entry
from firstpull.model.ports import (
    ContainerRegistries,
    Hubs,
    Records,
    Stored,
    Sweeps,
    WorkQueue,
)
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.record_update import RecordUpdates
from firstpull.model.sweep_report import Step, SweepReport
from firstpull.model.transitions import with_drift, with_warnings, woken
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.warnings import log_new_warnings

_ENTRY_AGE = timedelta(hours=1)
"""A younger ledger entry may be of a device recorded since the inventory."""

_MOST_TOMBSTONES = 100
_OVERDUE = timedelta(minutes=15)
"""The timer has found a device long before, unless the index of what is due has lost it."""


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
    updates: RecordUpdates
    queue: WorkQueue
    sweeps: Sweeps
    policy: Policy
    membership: Membership
    event_handler: EventHandler
    revoking: Revoking
    clock: Clock
    new_id: Callable[[], str]
    most_time: timedelta = timedelta(minutes=8)
    """From the beginning to the last step; less than the function may take."""
    least_time: timedelta = timedelta(minutes=1)
    """For the steps, however long the inventory took."""

    async def run(self) -> SweepReport:
        """Run one sweep, from where the last one stopped, for as long as it may take.

        Raises what reading the records or writing the report raises.
        """
        started_at = self.clock.now()
        before = await self.sweeps.get()
        last = before.value if before is not None else None
        if before is not None and last is None:
            emit_warning(LogEvent.SWEEP_REPORT_UNREADABLE)
        inventory = await self.inventory_reader.take()
        progress = Progress(
            clock=self.clock,
            give_up=max(started_at + self.most_time, self.clock.now() + self.least_time),
            begins_at=last.continues if last is not None else None,
        )
        run = _Run(
            inventory=inventory,
            last=last,
            progress=progress,
            attempts=_Attempts([*inventory.unread]),
            unreferenced=unreferenced_scope_maps(
                inventory,
                deployment=self.deployment,
                before=last.scope_maps_unreferenced if last is not None else {},
            ),
            held=last.held if last is not None else (),
        )
        for step in progress.steps():
            await self._do(step, run)
        report = run.report(self.new_id(), started_at, self.clock.now(), self.deployment)
        figures = self._figures(inventory)
        history = extended(
            last.history if last is not None else (),
            StateCounts(at=figures.at, states={s: n for s, n in figures.states.items() if n}),
            now=figures.at,
        )
        report = replace(report, figures=figures, history=history)
        await self._store(report, before)
        return report

    def _figures(self, inventory: Inventory) -> FleetFigures:
        """What the inventory has for the gauges, which then need not count."""
        listings = {r: i.connected_registries.values() for r, i in inventory.registries.items()}
        view = view_of(self.policy, listings, inventory.ledgers)
        return DeviceCount(inventory.records).figures(view, at=inventory.at)

    async def _do(self, step: Step, run: _Run) -> None:
        steps = {
            Step.DRIFT: self._requeue_drifted,
            Step.OPT_IN: self._onboard_opted_in,
            Step.GONE: self._revoke_gone,
            Step.LEDGERS: self._drop_ledger_entries,
            Step.TOMBSTONES: self._drop_tombstones,
            Step.SCOPE_MAPS: self._remove_scope_maps,
        }
        run.begun.add(step)
        await steps[step](run)

    async def latest(self) -> SweepReport | None:
        """The report of the last sweep, None before the first. Raises NotKnown if it is damaged."""
        stored = await self.sweeps.get()
        return _sound(stored).value if stored is not None else None

    async def approve(self, report_id: str, *, approved_by: str) -> SweepReport:
        """Approve the revokes that the last sweep held, for the next sweep. Raises NotKnown."""
        stored = await self._held(report_id)
        approved = replace(stored.value, approved=stored.value.held)
        await self.sweeps.put(approved, etag=stored.etag)
        emit(
            LogEvent.SWEEP_REVOKES_APPROVED,
            devices=len(approved.approved),
            approved_by=approved_by,
        )
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

    async def _requeue_drifted(self, run: _Run) -> None:
        """Step 2."""
        for record in run.progress.each(Step.DRIFT, run.inventory.records, _name_of_record):
            comparing = self._compare(record, run.inventory, run.drifted)
            await run.attempts.attempt(record.device, comparing, None)

    async def _compare(
        self, record: DeviceRecord, inventory: Inventory, found: Counter[str]
    ) -> None:
        drift = drift_of(record, inventory, deployment=self.deployment)
        if drift:
            found.update(drift)
            await self._requeue(record, "; ".join(drift))
        elif record.schedule.due_at < inventory.at - _OVERDUE:
            await self._wake(record)
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

        await self.updates.update(device, change)
        await self.queue.put(device)
        emit_warning(
            LogEvent.DEVICE_DRIFT_FOUND, hub=device.hub, device_id=device.device_id, drift=drift
        )

    async def _wake(self, record: DeviceRecord) -> None:
        """Schedule a device anew that the timer has not found: somebody has restored a table."""

        def change(stored: DeviceRecord) -> DeviceRecord:
            is_same = stored.schedule == record.schedule
            return woken(stored, self.clock.now()) if is_same else stored

        await self.updates.update(record.device, change)
        await self.queue.put(record.device)

    async def _update_warnings(self, record: DeviceRecord, inventory: Inventory) -> None:
        def change(record: DeviceRecord) -> DeviceRecord:
            return with_warnings(record, warnings_of(record, inventory))

        if change(record) == record:
            return
        log_new_warnings(*await self.updates.update(record.device, change))

    async def _onboard_opted_in(self, run: _Run) -> None:
        """Step 3."""
        found = opted_in_devices(run.inventory, tag=OPT_IN_TAG)
        for device in run.progress.each(Step.OPT_IN, found, _name_of_device):
            run.onboarded += await run.attempts.attempt(device, self._onboard(device), False)  # noqa: FBT003 - the default

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

    async def _revoke_gone(self, run: _Run) -> None:
        """Step 4. Devices that seem gone count as gone until their hub was asked for them."""
        approved = set(run.last.approved) if run.last is not None else set()
        candidates = gone_devices(run.inventory)
        fleet = sum(record.was_in_hub for record in run.inventory.records)
        share = fleet * self.most_revokes_percent // 100
        most = max(1, share) if self.most_revokes_percent else 0  # a small fleet may lose one
        are_few = len(set(candidates) - approved) <= most
        run.unsettled |= set(candidates)
        unapproved, silent = list[DeviceKey](), set[str]()
        for device in run.progress.each(Step.GONE, candidates, _name_of_device):
            is_gone = None
            if device.hub not in silent:
                is_gone = await run.attempts.attempt(device, self._is_gone(device, silent), None)
            if is_gone is False:
                run.unsettled.discard(device)
            elif is_gone and (are_few or device in approved):
                await self._revoke(device, run)
            elif is_gone:
                unapproved.append(device)
        await self._revoke_or_hold(unapproved, run, fleet=fleet, most=most)

    async def _revoke_or_hold(
        self, gone: list[DeviceKey], run: _Run, *, fleet: int, most: int
    ) -> None:
        """Hold devices that are too many, or that may be: there was no time to ask for others."""
        was_cut = run.progress.stopped_at is not None
        run.held = tuple(gone) if was_cut or len(gone) > most else ()
        if run.held:
            emit_warning(LogEvent.SWEEP_REVOKES_HELD, devices=len(run.held), fleet=fleet, most=most)
            return
        for device in gone:
            if run.progress.is_out_of_time:
                run.progress.stop(Step.GONE)
                return
            await self._revoke(device, run)

    async def _revoke(self, device: DeviceKey, run: _Run) -> None:
        revoking = self.revoking.revoke_if_gone(device, requested_by="sweep")
        done = await run.attempts.attempt(device, revoking, None)
        if done is not None:
            run.unsettled.discard(device)
        run.revoked += bool(done)

    async def _is_gone(self, device: DeviceKey, silent: set[str]) -> bool:
        """Whether the hub no longer has the device, read directly because its queries lag.

        Adds the hub to `silent` if it does not answer: to ask it for each device takes hours.
        """
        try:
            return await self.hubs.twin(device) is None
        except Transient as error:
            if error.reason is Reason.SERVICE_UNAVAILABLE:
                silent.add(device.hub)
            raise

    async def _drop_ledger_entries(self, run: _Run) -> None:
        """Step 5."""
        inventory = run.inventory
        if not inventory.knows_all_records:
            return
        before = inventory.at - _ENTRY_AGE
        for ref in run.progress.each(Step.LEDGERS, tuple(inventory.ledgers), str):
            ledger, clients = inventory.ledgers[ref], clients_of(inventory, ref)
            if all(e.since >= before or key in clients for key, e in ledger.entries.items()):
                continue
            forgetting = self.membership.forget(ref, unless=clients, before=before)
            entries = await run.attempts.attempt(ref, forgetting, 0)
            emit_warning(
                LogEvent.SWEEP_LEDGER_REPAIRED, connected_registry=str(ref), entries=entries
            )
            run.ledger_entries += entries

    async def _drop_tombstones(self, run: _Run) -> None:
        """Step 6, some at each sweep: each costs a read of the hub."""
        expired = expired_tombstones(run.inventory, before=run.inventory.at - self.tombstone_age)
        some = tuple(islice(expired, _MOST_TOMBSTONES))
        silent = set[str]()
        for record in run.progress.each(Step.TOMBSTONES, some, _name_of_record):
            if record.device.hub not in silent:
                dropping = self._drop_tombstone(record, silent)
                await run.attempts.attempt(record.device, dropping, None)

    async def _drop_tombstone(self, record: DeviceRecord, silent: set[str]) -> None:
        """Delete a tombstone, unless its device is in the hub or somebody asked meanwhile."""
        device = record.device
        if not await self._is_gone(device, silent):
            return
        stored = await self.records.get(device)
        if stored is None or stored.value.spec != record.spec or not stored.value.is_tombstone:
            return
        await self.records.delete(device, etag=stored.etag)
        emit(LogEvent.SWEEP_TOMBSTONE_DROPPED, hub=device.hub, device_id=device.device_id)

    async def _remove_scope_maps(self, run: _Run) -> None:
        """Step 5: removes the scope maps that a second read, too, finds unreferenced."""
        inventory = run.inventory
        expired = {
            scope_map
            for scope_map, since in run.unreferenced.items()
            if scope_map.registry in inventory.registries and inventory.at - since >= SCOPE_MAP_REST
        }
        registries = tuple({scope_map.registry for scope_map in expired})
        for registry in run.progress.each(Step.SCOPE_MAPS, registries, str):
            unused = await self._unreferenced_now(registry, inventory, run.attempts)
            for scope_map in sorted(expired & unused):
                if run.progress.is_out_of_time:
                    run.progress.stop(Step.SCOPE_MAPS)
                    return
                if await self._remove_scope_map(registry, scope_map.name):
                    run.scope_maps.add(scope_map)

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
        if report.continues is not None:
            place = report.continues
            emit_warning(LogEvent.SWEEP_CUT_SHORT, step=place.step.value, after=place.after)
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


@dataclass(kw_only=True)
class _Run:
    """One run of the sweep: what it goes by, and what it has done so far."""

    inventory: Inventory
    last: SweepReport | None
    progress: Progress
    attempts: _Attempts
    unreferenced: Mapping[ScopeMapId, datetime]
    held: tuple[DeviceKey, ...]
    """As the last sweep left them, until this one comes to them."""
    begun: set[Step] = field(default_factory=set)
    drifted: Counter[str] = field(default_factory=Counter)
    onboarded: int = 0
    revoked: int = 0
    unsettled: set[DeviceKey] = field(default_factory=set)
    """Devices that seem gone and were neither kept nor revoked."""
    ledger_entries: int = 0
    scope_maps: set[ScopeMapId] = field(default_factory=set)

    def report(
        self, report_id: str, started_at: datetime, now: datetime, deployment: str
    ) -> SweepReport:
        """The report of the run."""
        return SweepReport(
            id=report_id,
            started_at=started_at,
            finished_at=now,
            devices=len(self.inventory.records),
            drifted=dict(self.drifted),
            onboarded=self.onboarded,
            revoked=self.revoked,
            held=self.held,
            approved=self._still_approved(),
            orphans=orphans(self.inventory, deployment=deployment),
            ledger_entries_removed=self.ledger_entries,
            scope_maps_removed=len(self.scope_maps),
            scope_maps_unreferenced={
                k: v for k, v in self.unreferenced.items() if k not in self.scope_maps
            },
            unread=tuple(self.attempts.failures),
            continues=self.progress.stopped_at,
            complete_at=self._complete_at(now),
        )

    def _complete_at(self, now: datetime) -> datetime | None:
        if not self.attempts.failures and self.progress.stopped_at is None:
            return now
        return self.last.complete_at if self.last is not None else None

    def _still_approved(self) -> tuple[DeviceKey, ...]:
        """The approved devices that this sweep could not read or revoke."""
        approved = self.last.approved if self.last is not None else ()
        if Step.GONE not in self.begun:
            return approved
        twins = self.inventory.twins
        return tuple(d for d in approved if d.hub not in twins or d in self.unsettled)


def _name_of_device(device: DeviceKey) -> str:
    return f"{device.hub}/{device.device_id}"


def _name_of_record(record: DeviceRecord) -> str:
    return _name_of_device(record.device)
