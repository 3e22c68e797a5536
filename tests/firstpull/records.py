"""Short ways to change a record and to narrow what a plan or a record holds."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from firstpull.model.device_record import DeviceRecord, Grant, Schedule, Spec, Status
from firstpull.reconcile.plan import BlockedPlan, Plan, ProvisionPlan
from firstpull.reconcile.preconditions import Blocker

_PARTS = {"spec": Spec, "status": Status, "schedule": Schedule}


def changed(record: DeviceRecord, **changes: Any) -> DeviceRecord:  # noqa: ANN401 - any field
    """The record with these fields changed, whichever part of it has them."""
    parts: dict[str, Any] = {}
    for name, kind in _PARTS.items():
        own = {f.name for f in fields(kind)} & changes.keys()
        parts[name] = replace(getattr(record, name), **{field: changes.pop(field) for field in own})
    return replace(record, **parts, **changes)


def grant_of(record: DeviceRecord) -> Grant:
    """The grant that a record has."""
    assert record.status.grant is not None
    return record.status.grant


def blocker_of(plan: Plan) -> Blocker | None:
    """What blocks a plan, None where nothing does."""
    return plan.blocker if isinstance(plan, BlockedPlan) else None


def provision(plan: Plan) -> ProvisionPlan:
    """The plan of a device that nothing blocks."""
    assert isinstance(plan, ProvisionPlan), plan
    return plan
