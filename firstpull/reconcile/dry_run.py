"""The dry run: the plan for a device, from the observer and the planner of a real pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from firstpull.model.clock import Clock
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Blocked
from firstpull.reconcile.observe import Observer
from firstpull.reconcile.plan import BlockedPlan, Plan, make_plan
from firstpull.reconcile.preconditions import blocker_from


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Observes and plans, and writes nothing."""

    observer: Observer
    clock: Clock
    validity: timedelta

    async def plan_for(self, record: DeviceRecord) -> Plan:
        """The plan for a record, stored or only proposed. Raises Transient and Conflict."""
        try:
            observed = await self.observer.observe(record)
            if observed.unread and observed.chosen is None:  # else the plan would lack a part
                raise observed.unread[0]
        except Blocked as error:
            return BlockedPlan(blocker=blocker_from(error))
        return make_plan(observed, now=self.clock.now(), validity=self.validity)
