"""A dry run: what would be done for a device, by the same observation and the same plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from firstpull.clock import Clock
from firstpull.observation import Observer
from firstpull.plan import Plan, make_plan
from firstpull.records import DeviceRecord


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Observes and plans; the observer cannot write."""

    observer: Observer
    clock: Clock
    validity: timedelta

    async def plan_for(self, record: DeviceRecord) -> Plan:
        """The plan for a record, stored or only proposed."""
        observed = await self.observer.observe(record)
        return make_plan(observed, now=self.clock.now(), validity=self.validity)
