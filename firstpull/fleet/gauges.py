"""The gauges: figures of the whole fleet, measured by a timer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from firstpull.fleet.sites import UNKNOWN, Room, SiteRoom, Sites
from firstpull.model.clock import Clock
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.pagination import every_record
from firstpull.model.ports import Query, Records, Sweeps
from firstpull.observability import telemetry


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """Measures the fleet from the records, the sites and the last sweep's report."""

    records: Records
    sites: Sites
    sweeps: Sweeps
    clock: Clock

    async def measure(self) -> None:
        """Set every gauge."""
        states: Counter[State] = Counter(dict.fromkeys(State, 0))
        oldest: datetime | None = None
        async for record in every_record(self.records, Query()):
            states[record.status.condition.state] += 1
            oldest = min(filter(None, (oldest, _unanswered_since(record))), default=None)
        for state, count in states.items():
            telemetry.DEVICES.set(count, {"state": state.value})
        age = self._seconds_since(oldest) if oldest is not None else 0
        telemetry.OLDEST_UNACKNOWLEDGED.set(age)
        await self._measure_sweep()
        await self._measure_clients()  # last: Azure Resource Manager may not answer

    async def _measure_clients(self) -> None:
        """Skip registries that did not answer: reporting 0 free would be wrong."""
        view = await self.sites.view(with_retiring=False)
        for site in (*view.sites, *(_alone(room) for room in view.others)):
            if all(room.state != UNKNOWN for room in site.rooms):
                telemetry.SITE_USED.set(site.used, {"site": site.name})
                telemetry.SITE_FREE.set(site.free, {"site": site.name})
        rooms = {*view.others, *(room for site in view.sites for room in site.rooms)}
        for room in (room for room in rooms if room.state != UNKNOWN):
            attributes = telemetry.RegistryAttributes(
                container_registry=room.ref.registry.name, connected_registry=room.ref.name
            )
            telemetry.CLIENTS_USED.set(room.used, attributes)
            telemetry.CLIENTS_FREE.set(room.free, attributes)

    async def _measure_sweep(self) -> None:
        stored = await self.sweeps.get()
        last = stored.value if stored is not None else None
        at = last.complete_at if last is not None else None
        if at is not None:
            telemetry.SWEEP_AGE.set(self._seconds_since(at))

    def _seconds_since(self, at: datetime) -> float:
        return max((self.clock.now() - at).total_seconds(), 0)


def _alone(room: Room) -> SiteRoom:
    """A connected registry in no site, as a site of its own with an unambiguous name."""
    return SiteRoom(name=str(room.ref), rooms=(room,))


def _unanswered_since(record: DeviceRecord) -> datetime | None:
    """The time of a delivery that its device has not acknowledged, else None."""
    if record.status.delivery is None or record.status.acknowledged_at is not None:
        return None
    if record.spec.revocation is not None:
        return None
    return record.status.delivery.at
