"""The gauges: figures of the whole fleet, set by a timer.

To count a fleet costs reads in proportion to it. So the gauges show what the last sweep has
counted, or they themselves within the hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.fleet.figures import DeviceCount
from firstpull.fleet.sites import Sites
from firstpull.model.clock import Clock
from firstpull.model.device_record import State
from firstpull.model.fleet_figures import FleetFigures
from firstpull.model.pagination import every_record
from firstpull.model.ports import Query, Records, Sweeps
from firstpull.observability import telemetry

_COUNTS = timedelta(minutes=75)
"""A sweep runs each hour, and takes up to eight minutes."""


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """Sets the gauges from figures counted before, else from the records and the sites."""

    records: Records
    sites: Sites
    sweeps: Sweeps
    clock: Clock
    _counted: list[FleetFigures] = field(default_factory=list)
    """The figures that this process has counted last."""

    async def measure(self) -> None:
        """Set every gauge."""
        stored, now = await self.sweeps.get(), self.clock.now()
        last = stored.value if stored is not None else None
        if last is not None and last.complete_at is not None:
            telemetry.SWEEP_AGE.set(self._seconds_since(last.complete_at))
        known = [*self._counted, *filter(None, (last.figures if last is not None else None,))]
        fresh = [figures for figures in known if now - _COUNTS < figures.at <= now]
        if fresh:
            figures = max(fresh, key=lambda figures: figures.at)
            self._set_devices(figures.states, figures.oldest_unacknowledged)
        else:
            figures = await self._count(now)
        self._set_clients(figures)

    async def _count(self, now: datetime) -> FleetFigures:
        counted = DeviceCount()
        async for record in every_record(self.records, Query()):
            counted.add(record)
        self._set_devices(counted.states, counted.oldest_unacknowledged)
        # Last: Azure Resource Manager may not answer.
        figures = counted.figures(await self.sites.view(with_retiring=False), at=now)
        self._counted[:] = [figures]
        return figures

    def _set_devices(self, states: Mapping[State, int], oldest: datetime | None) -> None:
        for state in State:
            telemetry.DEVICES.set(states.get(state, 0), {"state": state.value})
        telemetry.OLDEST_UNACKNOWLEDGED.set(self._seconds_since(oldest) if oldest else 0)

    def _set_clients(self, figures: FleetFigures) -> None:
        for site in figures.sites:
            telemetry.SITE_USED.set(site.used, {"site": site.name})
            telemetry.SITE_FREE.set(site.free, {"site": site.name})
        for room in figures.rooms:
            attributes = telemetry.RegistryAttributes(
                container_registry=room.container_registry,
                connected_registry=room.connected_registry,
            )
            telemetry.CLIENTS_USED.set(room.used, attributes)
            telemetry.CLIENTS_FREE.set(room.free, attributes)

    def _seconds_since(self, at: datetime) -> float:
        return max((self.clock.now() - at).total_seconds(), 0)
