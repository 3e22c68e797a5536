"""The dry run: the plan for a device, from the observer and the planner of a real pass."""

from __future__ import annotations

from dataclasses import dataclass

from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Blocked
from firstpull.reconcile.actions import PlannedAction
from firstpull.reconcile.plan import BlockedPlan, ProvisionPlan
from firstpull.reconcile.preconditions import Blocker, blocker_from
from firstpull.reconcile.prepare import Preparation


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a pass would do, and what it would wait for."""

    actions: tuple[PlannedAction, ...] = ()
    finding: Blocker | None = None


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Observes and plans, and writes nothing."""

    preparation: Preparation

    async def plan_for(self, record: DeviceRecord) -> Proposal:
        """The plan for a record, stored or only proposed. Raises Transient and Conflict."""
        try:
            record = await self.preparation.taken_back(record)
            prepared = await self.preparation.prepare(record)
            change, work = prepared.change, prepared.work
            if change is not None and change.observed.unread and change.observed.chosen is None:
                raise change.observed.unread[0]  # else the plan would lack a part
        except Blocked as error:
            return Proposal(finding=blocker_from(error))
        finding = blocker_from(prepared.refusal) if prepared.refusal is not None else None
        if change is not None and isinstance(change.plan, BlockedPlan):
            finding = change.plan.blocker
        elif change is not None and isinstance(change.plan, ProvisionPlan):
            finding = change.plan.waits_for
        return Proposal(actions=tuple(work.plan.actions) if work else (), finding=finding)
