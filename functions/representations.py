"""Records as the HTTP API shows them. No password is in a record, so none can be shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from firstpull.model.device_record import (
    Condition,
    Delivery,
    DeviceRecord,
    DeviceWarning,
    Intent,
    Rejection,
    RetiringGrant,
    Revocation,
    Rotation,
    State,
)
from firstpull.model.history import HistoryEntry
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import NEVER
from functions.encoding import device_names, time_text, without_none

ROUTE_PREFIX = "/api"
"""As host.json has it."""
_SOON = 2
"""Seconds: how soon a caller may look again at an operation under way."""


def device_view(record: DeviceRecord) -> dict[str, Any]:
    """A device with its history."""
    return {**device_summary(record), "history": [_history_view(e) for e in record.history]}


def device_summary(record: DeviceRecord) -> dict[str, Any]:
    """A device: what is wanted, what it has and is to lose, how far it is."""
    grant, delivery = record.status.grant, record.status.delivery
    retiring = () if record.is_tombstone else record.status.retiring
    return without_none(
        {
            **device_names(record.device),
            "wants": _wants_view(record.spec.intent),
            "generation": record.spec.generation,
            "observedGeneration": record.status.observed_generation,
            "state": record.status.condition.state.value,
            "condition": condition_view(record.status.condition),
            "warnings": [_warning_view(warning) for warning in record.status.warnings] or None,
            "containerRegistry": grant.ref.registry.name if grant else None,
            "connectedRegistry": grant.ref.name if grant else None,
            "token": grant.names.token if grant else None,
            "secret": grant.names.secret if grant else None,
            "adopted": record.status.adopted or None,
            "delivery": _delivery_view(record, delivery) if delivery else None,
            "rotation": _rotation_view(record.spec.rotation) if record.spec.rotation else None,
            "leaving": [_leaving_view(grant) for grant in retiring] or None,
            "revoked": _revocation_view(record.spec.revocation) if record.spec.revocation else None,
            "lastRejected": _rejection_view(record.status.rejection)
            if record.status.rejection
            else None,
            "nextLookAt": time_text(
                record.schedule.due_at if record.schedule.due_at < NEVER else None
            ),
            "attempts": record.schedule.attempts,
        }
    )


def condition_view(condition: Condition) -> dict[str, Any]:
    """Why a device is where it is, and what a person can do."""
    return without_none(
        {
            "reason": condition.reason.value,
            "message": condition.message,
            "remedy": condition.remedy,
            "since": time_text(condition.since),
        }
    )


def operation_view(record: DeviceRecord, generation: int) -> dict[str, Any]:
    """One generation as a long-running operation: a view of the record."""
    view: dict[str, Any] = {
        "id": str(generation),
        "status": _operation_status(record, generation),
        **device_names(record.device),
    }
    if view["status"] == "Canceled":
        reason = Reason.SUPERSEDED
        view["error"] = {"code": reason.value, "message": MEANING[reason]}
    elif view["status"] == "Failed":
        found = condition_view(record.status.condition)
        view["error"] = {"code": found["reason"], "message": found["message"]}
        view["condition"] = found
    elif generation == record.spec.generation:
        view["condition"] = condition_view(record.status.condition)
    return view


def operation_retry_after(record: DeviceRecord, generation: int) -> str | None:
    """Retry-After of an operation under way, in seconds; None for one that has ended."""
    running = _operation_status(record, generation) in ("NotStarted", "Running")
    return str(_SOON) if running else None


def device_address(request_url: str, record: DeviceRecord) -> str:
    """The address of a device, on the host that was asked."""
    return _address(request_url, f"devices/{quote(record.device.device_id, safe='')}", record)


def operation_address(request_url: str, record: DeviceRecord) -> str:
    """The address of the operation that the record's generation is."""
    device = quote(record.device.device_id, safe="")
    return _address(request_url, f"devices/{device}/operations/{record.spec.generation}", record)


def _wants_view(intent: Intent) -> dict[str, Any]:
    return without_none(
        {
            "target": intent.target,
            "repositories": list(intent.repositories),
            "actions": list(intent.actions),
            "adopt": intent.adopt,
            "requestedBy": intent.requested_by,
            "requestedAt": time_text(intent.at),
        }
    )


def _delivery_view(record: DeviceRecord, delivery: Delivery) -> dict[str, Any]:
    return without_none(
        {
            "id": delivery.id,
            "address": delivery.address,
            "slot": delivery.slot.value,
            "secretVersion": delivery.secret_version,
            "expiresOn": time_text(delivery.expires_at),
            "deliveredAt": time_text(delivery.at),
            "acknowledgedAt": time_text(record.status.acknowledged_at),
        }
    )


def _rotation_view(rotation: Rotation) -> dict[str, Any]:
    return without_none(
        {
            "immediately": rotation.immediately,
            "replaces": rotation.replaces,
            "requestedBy": rotation.requested_by,
            "at": time_text(rotation.at),
        }
    )


def _leaving_view(grant: RetiringGrant) -> dict[str, Any]:
    return {
        "containerRegistry": grant.ref.registry.name,
        "connectedRegistry": grant.ref.name,
        "token": grant.names.token,
        "atOnce": grant.at_once,
    }


def _revocation_view(revocation: Revocation) -> dict[str, Any]:
    return {"requestedBy": revocation.requested_by, "at": time_text(revocation.at)}


def _rejection_view(rejection: Rejection) -> dict[str, Any]:
    return {
        "reason": rejection.reason.value,
        "message": rejection.message,
        "at": time_text(rejection.at),
    }


def _warning_view(warning: DeviceWarning) -> dict[str, Any]:
    return {
        "reason": warning.reason.value,
        "message": warning.message,
        "since": time_text(warning.since),
    }


def _history_view(entry: HistoryEntry) -> dict[str, Any]:
    return without_none(
        {
            "at": time_text(entry.at),
            "event": entry.event,
            "by": entry.by,
            "detail": entry.detail or None,
        }
    )


def _operation_status(record: DeviceRecord, generation: int) -> str:
    if record.is_superseded(generation):
        return "Canceled"
    if generation <= record.status.observed_generation:
        return "Succeeded"
    if record.status.condition.state is State.BLOCKED:
        return "Failed"
    return "NotStarted" if record.status.condition.state is State.PENDING else "Running"


def _address(request_url: str, path: str, record: DeviceRecord) -> str:
    parts = urlsplit(request_url)
    hub = urlencode({"hub": record.device.hub})
    return f"{parts.scheme}://{parts.netloc}{ROUTE_PREFIX}/{path}?{hub}"
