"""The safety net: everything is read by pages, compared with the records, and seen to.

1. Take an inventory. Nothing is written; a source that does not answer is left out, and said.
2. Devices that drifted are noted as due and sent to be looked at: mending is the worker's.
   Warnings that came or went are written into the records.
3. Devices that opt in by their tag and have no record are asked for.
4. Devices that are gone from their hub are asked for there once more, one by one, and revoked;
   if they are more than a set share of the fleet, none is, and a person is asked.
5. Ledger entries that nothing explains are dropped, scope maps to which nothing has referred for
   24 hours are removed; what else is ours and has no record is reported.
6. The report is stored. A crash anywhere before leaves what was done done: the next sweep finds
   the rest, for it remembers nothing but since when scope maps are unused and what was approved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from firstpull.amending import amend
from firstpull.announcements import OPT_IN_TAG, Announcements
from firstpull.clock import Clock
from firstpull.cloud import Place, RegistryId, name_of
from firstpull.devices import DeviceKey
from firstpull.drift import (
    SCOPE_MAP_REST,
    clients_of,
    drift_of,
    gone_devices,
    is_at_rest,
    newcomers,
    unexplained,
    unreferenced_scope_maps,
    warnings_of,
)
from firstpull.errors import Conflict, FirstpullError, Invalid, NotKnown
from firstpull.events import emit, emit_warning
from firstpull.history import entry, extended
from firstpull.inventory import Inventory, Stocktaking
from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.ports import ContainerRegistries, Hubs, Records, Stored, Sweeps, WorkQueue
from firstpull.reasons import Reason
from firstpull.records import DeviceRecord
from firstpull.revoking import Revoking, was_in_hub
from firstpull.sweep_report import SweepReport
from firstpull.warned import tell_of_warnings

_ENTRY_AGE = timedelta(hours=1)
"""A younger ledger entry may be of a device whose record was written since the inventory."""


@dataclass(frozen=True, kw_only=True)
class Sweeper:
    """Sweeps. `most_revokes_percent` is the share of the fleet that one sweep may revoke."""

    deployment: str
    most_revokes_percent: int
    stocktaking: Stocktaking
    registries: ContainerRegistries
    hubs: Hubs
    records: Records
    queue: WorkQueue
    sweeps: Sweeps
    membership: Membership
    announcements: Announcements
    revoking: Revoking
    clock: Clock
    new_id: Callable[[], str]

    async def run(self) -> SweepReport:
        """One sweep. Raises what reading the records or writing the report raises."""
        started_at = self.clock.now()
        before = await self.sweeps.get()
        last = before.value if before is not None else None
        inventory = await self.stocktaking.take()
        careful = _Careful([*inventory.unread])
        drifted = await self._send_the_drifted(inventory, careful)
        onboarded = await self._ask_for_newcomers(inventory, careful)
        revoked, held, unsettled = await self._revoke_the_gone(inventory, last, careful)
        dropped = await self._drop_ledger_entries(inventory, careful)
        unreferenced = unreferenced_scope_maps(
            inventory,
            deployment=self.deployment,
            before=last.scope_maps_unreferenced if last is not None else {},
        )
        removed = await self._remove_scope_maps(inventory, unreferenced, careful)
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
            unexplained=unexplained(inventory, deployment=self.deployment),
            ledger_entries_removed=dropped,
            scope_maps_removed=len(removed),
            scope_maps_unreferenced={k: v for k, v in unreferenced.items() if k not in removed},
            unread=tuple(careful.failed),
            complete_at=_complete_at(careful, last, now=self.clock.now()),
        )
        await self._store(report, before)
        return report

    async def latest(self) -> SweepReport | None:
        """The report of the last sweep, None before the first."""
        stored = await self.sweeps.get()
        return stored.value if stored is not None else None

    async def approve(self, report_id: str) -> SweepReport:
        """Let the next sweep revoke the devices that this one held. Raises NotKnown."""
        stored = await self._held(report_id)
        approved = replace(stored.value, approved=stored.value.held)
        await self.sweeps.put(approved, etag=stored.etag)
        emit("sweep.revokes.approved", devices=len(approved.approved))
        return approved

    async def propose_approval(self, report_id: str) -> SweepReport:
        """The report whose devices an approval would let go. Writes nothing. Raises NotKnown."""
        return (await self._held(report_id)).value

    async def _held(self, report_id: str) -> Stored[SweepReport]:
        stored = await self.sweeps.get()
        if stored is None or stored.value.id != report_id or not stored.value.held:
            raise NotKnown(
                "The last sweep has another id, or holds nothing.", reason=Reason.SWEEP_NOT_KNOWN
            )
        return stored

    async def _send_the_drifted(self, inventory: Inventory, careful: _Careful) -> Counter[str]:
        """Step 2."""
        found: Counter[str] = Counter()
        for record in inventory.records:
            drift = drift_of(record, inventory, deployment=self.deployment)
            if drift:
                found.update(drift)
                await careful.with_(record.device, self._send(record, "; ".join(drift)), None)
            elif is_at_rest(record, now=inventory.at):
                await careful.with_(record.device, self._warn(record, inventory), None)
        return found

    async def _send(self, record: DeviceRecord, drift: str) -> None:
        now, device = self.clock.now(), record.device
        found = entry("device.drift.found", at=now, detail=drift)

        def change(stored: DeviceRecord) -> DeviceRecord:
            if (stored.generation, stored.observed_at) != (record.generation, record.observed_at):
                return stored  # somebody has seen to it since
            return replace(
                stored,
                due_at=min(stored.due_at, now),
                observed_at=None,
                history=extended(stored.history, [found]),
            )

        await amend(self.records, device, change)
        await self.queue.put(device)
        emit_warning(found.event, hub=device.hub, device_id=device.device_id, drift=drift)

    async def _warn(self, record: DeviceRecord, inventory: Inventory) -> None:
        def change(record: DeviceRecord) -> DeviceRecord:
            warnings = warnings_of(record, inventory)
            same = {(w.reason, w.message) for w in warnings} == {
                (w.reason, w.message) for w in record.warnings
            }
            return record if same else replace(record, warnings=warnings)

        if change(record) == record:
            return
        tell_of_warnings(*await amend(self.records, record.device, change))

    async def _ask_for_newcomers(self, inventory: Inventory, careful: _Careful) -> int:
        """Step 3."""
        asked = 0
        for device in newcomers(inventory, tag=OPT_IN_TAG):
            asked += await careful.with_(device, self._ask_for(device), False)  # noqa: FBT003 - the default
        return asked

    async def _ask_for(self, device: DeviceKey) -> bool:
        """A tag that asks for what cannot be is told of, every time."""
        try:
            return await self.announcements.appeared(
                device, requested_by="sweep", by_tag_alone=True
            )
        except Invalid as refusal:
            emit_warning(
                "device.tag.refused",
                hub=device.hub,
                device_id=device.device_id,
                reason=refusal.reason.value,
            )
            return False

    async def _revoke_the_gone(
        self,
        inventory: Inventory,
        last: SweepReport | None,
        careful: _Careful,
    ) -> tuple[int, tuple[DeviceKey, ...], frozenset[DeviceKey]]:
        """Step 4: how many were revoked, who is held as too many, and of whom it is not known."""
        approved = set(last.approved) if last is not None else set()
        gone, unsettled = [], set[DeviceKey]()
        for device in gone_devices(inventory):
            is_gone = await careful.with_(device, self._is_gone(device), None)
            if is_gone is None:
                unsettled.add(device)
            elif is_gone:
                gone.append(device)
        unasked = [device for device in gone if device not in approved]
        fleet = sum(was_in_hub(record) for record in inventory.records)
        share = fleet * self.most_revokes_percent // 100
        most = max(1, share) if self.most_revokes_percent else 0  # one of a few is no flood
        held = tuple(unasked) if len(unasked) > most else ()
        if held:
            emit_warning("sweep.revokes.held", devices=len(held), fleet=fleet, most=most)
        revoked = 0
        for device in gone:
            if device not in held:
                revoking = self.revoking.revoke_if_gone(device, requested_by="sweep")
                done = await careful.with_(device, revoking, None)
                if done is None:
                    unsettled.add(device)
                revoked += bool(done)
        return revoked, held, frozenset(unsettled)

    async def _is_gone(self, device: DeviceKey) -> bool:
        """Whether the hub has the device no more: its queries are behind what is true."""
        return await self.hubs.twin(device) is None

    async def _drop_ledger_entries(self, inventory: Inventory, careful: _Careful) -> int:
        """Step 5: room that is held for nobody is free again."""
        if not inventory.knows_all_records:
            return 0
        before = inventory.at - _ENTRY_AGE
        dropped = 0
        for place, ledger in inventory.ledgers.items():
            clients = clients_of(inventory, place)
            if all(e.since >= before or key in clients for key, e in ledger.entries.items()):
                continue
            forgetting = self.membership.forget(place, unless=clients, before=before)
            entries = await careful.with_(place, forgetting, 0)
            emit_warning("sweep.ledger.mended", place=str(place), entries=entries)
            dropped += entries
        return dropped

    async def _remove_scope_maps(
        self, inventory: Inventory, unreferenced: Mapping[str, datetime], careful: _Careful
    ) -> set[str]:
        """Step 5: those that nothing has referred to for long, and does not now either."""
        removed: set[str] = set()
        for registry, there in inventory.registries.items():
            resting = {
                scope_map_id: name
                for name in there.scope_maps
                if (scope_map_id := self.registries.scope_map_id(registry, name)) in unreferenced
                and inventory.at - unreferenced[scope_map_id] >= SCOPE_MAP_REST
            }
            if resting:
                unused = await self._unreferenced_now(registry, inventory, careful)
                for scope_map_id in sorted(resting.keys() & unused):
                    if await self._remove_scope_map(registry, resting[scope_map_id]):
                        removed.add(scope_map_id)
        return removed

    async def _unreferenced_now(
        self, registry: RegistryId, inventory: Inventory, careful: _Careful
    ) -> frozenset[str]:
        looking_again = self.stocktaking.look_again_at(registry, inventory)
        now = await careful.with_(name_of(registry), looking_again, None)
        if now is None:
            return frozenset()
        return frozenset(unreferenced_scope_maps(now, deployment=self.deployment, before={}))

    async def _remove_scope_map(self, registry: RegistryId, name: str) -> bool:
        """One that is in use after all is refused by the service, and stays."""
        try:
            await self.registries.delete_scope_map(
                registry, name, deadline_seconds=REQUEST_DEADLINE
            )
        except FirstpullError as error:
            emit_warning("sweep.scope_map.kept", name=name, reason=error.reason.value)
            return False
        emit("sweep.scope_map.removed", name=name, registry=name_of(registry))
        return True

    async def _store(self, report: SweepReport, before: Stored[SweepReport] | None) -> None:
        try:
            await self.sweeps.put(report, etag=before.etag if before is not None else None)
        except Conflict:
            emit_warning("sweep.report.superseded", report=report.id)  # another one ran meanwhile
        for source in report.unread:
            emit_warning("sweep.source.unread", source=source)
        for thing in report.unexplained:
            emit_warning(
                "sweep.unexplained.found", kind=thing.kind.value, name=thing.name, where=thing.where
            )
        emit(
            "sweep.completed",
            devices=report.devices,
            drifted=sum(report.drifted.values()),
            onboarded=report.onboarded,
            revoked=report.revoked,
            held=len(report.held),
            unexplained=len(report.unexplained),
            unread=len(report.unread),
        )


@dataclass(frozen=True)
class _Careful:
    """Goes on where one thing fails, and keeps what did."""

    failed: list[str]

    async def with_[T](self, what: DeviceKey | Place | str, doing: Awaitable[T], default: T) -> T:
        """What is done, or the default and a word on why not."""
        try:
            return await doing
        except FirstpullError as error:
            name = what.device_id if isinstance(what, DeviceKey) else str(what)
            self.failed.append(f"{name}: {error.message}")
            return default


def _complete_at(careful: _Careful, last: SweepReport | None, *, now: datetime) -> datetime | None:
    if not careful.failed:
        return now
    return last.complete_at if last is not None else None


def _still_approved(
    inventory: Inventory, last: SweepReport | None, unsettled: frozenset[DeviceKey]
) -> tuple[DeviceKey, ...]:
    """What was approved and could not be told, or not be done, this time."""
    approved = last.approved if last is not None else ()
    return tuple(d for d in approved if d.hub not in inventory.twins or d in unsettled)
