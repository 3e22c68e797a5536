"""The log events: their names, when firstpull logs each, and the fields it has.

A name is never reused. docs/observability.md lists the events from this enumeration.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

_DEVICE = ("hub", "device_id")
_RECORDED = ("a request changed the record's spec", *_DEVICE, "generation", "requested_by")
_PASS = (*_DEVICE, "generation", "reason", "attempts")
_ENDED = ("a pass ended in this state; a warning for `blocked`", *_PASS)


class LogEvent(StrEnum):
    """A log event by its name: `when` firstpull logs it, and the names of its `fields`."""

    when: str
    fields: tuple[str, ...]

    def __new__(cls, name: str, when: str, *fields: str) -> Self:
        """Make a member."""
        event = str.__new__(cls, name)
        event._value_ = name
        event.when = when
        event.fields = fields
        return event

    DEVICE_INTENT_RECORDED = "device.intent.recorded", *_RECORDED, "wants"
    DEVICE_REVOKE_RECORDED = "device.revoke.recorded", *_RECORDED
    DEVICE_ROTATION_RECORDED = "device.rotation.recorded", *_RECORDED, "immediately"
    DEVICE_SCOPE_MAP_WRITTEN = "device.scope_map.written", "step 5", *_DEVICE, "scope_map"
    DEVICE_TOKEN_CREATED = "device.token.created", "step 5", *_DEVICE, "token"
    DEVICE_TOKEN_UPDATED = "device.token.updated", "step 5", *_DEVICE, "token"
    DEVICE_PASSWORD_GENERATED = "device.password.generated", "step 6", *_DEVICE, "token", "slot"
    DEVICE_PASSWORDS_REMOVED = "device.passwords.removed", "step 6", *_DEVICE, "token"
    DEVICE_CREDENTIAL_STORED = "device.credential.stored", "step 6", *_DEVICE, "secret", "version"
    MEMBERSHIP_LIST_WRITTEN = (
        "membership.list.written",
        "a group commit wrote the list of clients",
        "connected_registry",
        "clients",
    )
    DEVICE_MEMBERSHIP_JOINED = "device.membership.joined", "step 6", *_DEVICE, "connected_registry"
    DEVICE_CREDENTIAL_DELIVERED = (
        "device.credential.delivered",
        "step 7",
        *_DEVICE,
        "delivery",
        "address",
    )
    DEVICE_SECRET_DISABLED = (
        "device.secret.disabled",
        "step 8, or 7 of a teardown",
        *_DEVICE,
        "version",
    )
    DEVICE_SECRET_TAGGED = "device.secret.tagged", "step 8 or teardown", *_DEVICE, "secret"
    DEVICE_RECORD_REBUILT = (
        "device.record.rebuilt",
        "a record was made again; a warning",
        *_DEVICE,
        "generation",
    )
    DEVICE_TOKEN_DISABLED = "device.token.disabled", "teardown", *_DEVICE, "token"
    DEVICE_MEMBERSHIP_LEFT = "device.membership.left", "teardown", *_DEVICE, "connected_registry"
    DEVICE_CREDENTIAL_REMOVED = (
        "device.credential.removed",
        "teardown",
        *_DEVICE,
        "connected_registries",
    )
    DEVICE_TOKEN_DELETED = "device.token.deleted", "teardown", *_DEVICE, "token"
    DEVICE_ACCESS_REVOKED = "device.access.revoked", "nothing of the device is left", *_DEVICE
    DEVICE_CREDENTIAL_ACKNOWLEDGED = (
        "device.credential.acknowledged",
        "the device has logged in with the delivered credentials",
        *_DEVICE,
    )
    DEVICE_DRIFT_FOUND = (
        "device.drift.found",
        "the sweep found that something differs; a warning",
        *_DEVICE,
        "drift",
    )
    DEVICE_WARNING_RAISED = (
        "device.warning.raised",
        "the record has a new warning; a warning",
        *_DEVICE,
        "reason",
    )
    DEVICE_TAG_REFUSED = (
        "device.tag.refused",
        "a tag asks for something invalid or forbidden; a warning at every sweep",
        *_DEVICE,
        "reason",
    )
    DEVICE_RECONCILE_PENDING = "device.reconcile.pending", *_ENDED
    DEVICE_RECONCILE_CONVERGING = "device.reconcile.converging", *_ENDED
    DEVICE_RECONCILE_WAITING = "device.reconcile.waiting", *_ENDED
    DEVICE_RECONCILE_BLOCKED = (
        "device.reconcile.blocked",
        "a pass ended in this state; a warning for `blocked`",
        *_PASS,
    )
    DEVICE_RECONCILE_DELIVERED = "device.reconcile.delivered", *_ENDED
    DEVICE_RECONCILE_READY = "device.reconcile.ready", *_ENDED
    DEVICE_RECONCILE_REVOKING = "device.reconcile.revoking", *_ENDED
    DEVICE_RECONCILE_REVOKED = "device.reconcile.revoked", *_ENDED
    DEVICE_RECORD_UNREADABLE = (
        "device.record.unreadable",
        "a pass could not read the device's record; a warning",
        *_DEVICE,
    )
    DEVICE_RECONCILE_CRASHED = (
        "device.reconcile.crashed",
        "a defect in a pass; an error",
        *_DEVICE,
        "error",
        "at",
    )
    HOST_CLOCK_OFF = (
        "host.clock.off",
        "a host left a device to others, because its clock is off; a warning",
        *_DEVICE,
        "seconds",
    )
    SETTINGS_REFERENCE_UNRESOLVED = (
        "settings.reference.unresolved",
        "an app started without a secret that it cannot read; a warning",
        "setting",
    )
    POLICY_CHANGED = "policy.changed", "a host took a changed policy over", "setting"
    POLICY_REFUSED = (
        "policy.refused",
        "a host keeps its policy, as the changed one is wrong or missing; a warning",
        "setting",
        "reason",
        "message",
    )
    ENDPOINT_REQUEST_CRASHED = (
        "endpoint.request.crashed",
        "an HTTP request met a defect; an error",
        "error",
        "at",
    )
    ENDPOINT_REQUEST_FAILED = (
        "endpoint.request.failed",
        "an HTTP request got a 500 because a service failed; a warning",
        "reason",
        "message",
    )
    DEVICE_ALLOCATION_ANSWERED = (
        "device.allocation.answered",
        "the provisioning service got a hub",
        "hub",
        "onboarding",
    )
    DEVICE_ALLOCATION_NOT_RECORDED = (
        "device.allocation.not_recorded",
        "the provisioning service got a hub, but no request was recorded; a warning",
        "hub",
        "reason",
    )
    EVENT_IGNORED = "event.ignored", "an event is of another kind, hub or vault", "kind"
    MESSAGE_REJECTED = (
        "message.rejected",
        "a message went to a poison queue; a warning",
        "queue",
        "reason",
    )
    SWEEP_COMPLETED = (
        "sweep.completed",
        "a sweep ended",
        "devices",
        "drifted",
        "onboarded",
        "revoked",
        "held",
        "orphans",
        "unread",
    )
    SWEEP_CUT_SHORT = (
        "sweep.cut.short",
        "a sweep's time was over; the next one continues in this step, after this item",
        "step",
        "after",
    )
    SWEEP_STEP_CRASHED = (
        "sweep.step.crashed",
        "a defect in the sweep's step for one device or resource; an error",
        "subject",
        "error",
        "at",
    )
    SWEEP_REVOKES_HELD = (
        "sweep.revokes.held",
        "too many devices are gone to revoke them without approval; a warning",
        "devices",
        "fleet",
        "most",
    )
    SWEEP_REVOKES_APPROVED = (
        "sweep.revokes.approved",
        "a person approved held revokes",
        "devices",
        "approved_by",
    )
    REVOKES_HELD = (
        "revokes.held",
        "the API refused a revoke: it reached the limit of an hour; a warning",
        "most",
    )
    REVOKES_APPROVED = (
        "revokes.approved",
        "a person approved revokes beyond the limit of an hour",
        "revokes",
        "approved_by",
    )
    MESSAGE_RESENT = (
        "message.resent",
        "a person put a rejected message back into its queue",
        "queue",
        "requested_by",
    )
    MESSAGE_DISCARDED = (
        "message.discarded",
        "a person discarded rejected messages",
        "queue",
        "messages",
        "requested_by",
    )
    RECORDS_REBUILT = (
        "records.rebuilt",
        "a person had records made again, a page at a time",
        "records",
        "requested_by",
    )
    SWEEP_ORPHAN_FOUND = (
        "sweep.orphan.found",
        "one warning for each thing of this deployment that no record names",
        "kind",
        "name",
        "where",
    )
    SWEEP_SOURCE_UNREAD = (
        "sweep.source.unread",
        "one warning for each source that could not be read",
        "source",
    )
    SWEEP_LEDGER_REPAIRED = (
        "sweep.ledger.repaired",
        "the sweep dropped ledger entries that no record names; a warning",
        "connected_registry",
        "entries",
    )
    SWEEP_SCOPE_MAP_REMOVED = (
        "sweep.scope_map.removed",
        "the sweep removed an unused scope map",
        "name",
        "registry",
    )
    SCHEDULE_ENTRY_KEPT = (
        "schedule.entry.kept",
        "an entry of the schedule that no record names could not be removed; a warning",
        "reason",
    )
    SWEEP_SCOPE_MAP_KEPT = (
        "sweep.scope_map.kept",
        "the service refused to remove a scope map that seemed unused; a warning",
        "name",
        "reason",
    )
    SWEEP_TOMBSTONE_DROPPED = (
        "sweep.tombstone.dropped",
        "the sweep deleted the record of a device that was revoked long ago",
        "hub",
        "device_id",
    )
    SWEEP_REPORT_SUPERSEDED = (
        "sweep.report.superseded",
        "two sweeps ran at once and the other one's report is kept; a warning",
        "report",
    )
    SWEEP_REPORT_UNREADABLE = (
        "sweep.report.unreadable",
        "the last report was damaged, its approvals are void; a warning",
    )
    SCHEDULE_OVERDUE_REQUEUED = (
        "schedule.overdue.requeued",
        "the timer requeued overdue devices; a warning",
        "devices",
    )
    SCHEDULE_TIMER_FAILED = (
        "schedule.timer.failed",
        "a timer's run failed and the next one tries again; a warning",
        "timer",
        "reason",
        "message",
    )
    SCHEDULE_TIMER_CRASHED = (
        "schedule.timer.crashed",
        "a defect in a timer's run; an error",
        "timer",
        "error",
        "at",
    )
