"""Records as the HTTP API shows them. No password is in a record, so none can be shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import azure.functions as func

from firstpull.actions import (
    Action,
    CreateToken,
    Deliver,
    DisableSecretVersion,
    ForgetPasswords,
    GeneratePassword,
    JoinConnectedRegistry,
    PutScopeMap,
    TakePlace,
    UpdateToken,
)
from firstpull.cloud import name_of
from firstpull.plan import Plan
from firstpull.poison import PoisonMessage
from firstpull.reasons import MEANING, Reason
from firstpull.records import Condition, DeviceRecord, State

ROUTE_PREFIX = "/api"
"""As host.json has it."""
_SOON = 2
"""Seconds: how soon a caller may look again at an operation under way."""


def device_view(record: DeviceRecord) -> dict[str, Any]:
    """A device: what is wanted, where it is, how far it is."""
    place, delivery = record.place, record.delivery
    return _without_none(
        {
            "deviceId": record.device.device_id,
            "hub": record.device.hub,
            "wants": {
                "target": record.intent.target,
                "repositories": list(record.intent.repositories),
                "actions": list(record.intent.actions),
                "requestedBy": record.intent.requested_by,
                "requestedAt": _time(record.intent.at),
            },
            "generation": record.generation,
            "observedGeneration": record.observed_generation,
            "state": record.condition.state.value,
            "condition": condition_view(record.condition),
            "containerRegistry": name_of(place.registry) if place else None,
            "connectedRegistry": place.connected_registry if place else None,
            "token": record.names.token if record.names else None,
            "secret": record.names.secret if record.names else None,
            "delivery": _without_none(
                {
                    "id": delivery.id,
                    "address": delivery.address,
                    "slot": delivery.slot.value,
                    "secretVersion": delivery.secret_version,
                    "expiresOn": _time(delivery.expires_at),
                    "deliveredAt": _time(delivery.at),
                    "acknowledgedAt": _time(record.acknowledged_at),
                }
            )
            if delivery
            else None,
            "lastRejected": {
                "reason": record.rejection.reason.value,
                "message": record.rejection.message,
                "at": _time(record.rejection.at),
            }
            if record.rejection
            else None,
            "nextLookAt": _time(record.due_at),
            "attempts": record.attempts,
        }
    )


def plan_view(record: DeviceRecord, plan: Plan) -> dict[str, Any]:
    """What would be done, step by step, and what stands in the way."""
    finding = plan.finding
    return _without_none(
        {
            "dryRun": True,
            "deviceId": record.device.device_id,
            "hub": record.device.hub,
            "actions": [_action_view(action) for action in plan.actions],
            "finding": _without_none(
                {
                    "state": finding.state.value,
                    "reason": finding.reason.value,
                    "message": finding.message,
                    "remedy": finding.remedy,
                }
            )
            if finding is not None
            else None,
        }
    )


def _action_view(action: Action) -> dict[str, Any]:
    """The action's name, what it is done to, and why."""
    view: dict[str, Any] = {"action": type(action).__name__, "why": action.why}
    match action:
        case TakePlace() | JoinConnectedRegistry():
            view["connectedRegistry"] = str(action.place)
        case PutScopeMap():
            view |= {"scopeMap": action.name, "permits": sorted(action.actions)}
        case CreateToken() | UpdateToken():
            view |= {"token": action.name, "scopeMap": action.scope_map}
        case ForgetPasswords():
            view["token"] = action.name
        case GeneratePassword():
            view |= {"slot": action.slot.value, "expiresOn": _time(action.expires_at)}
        case Deliver():
            view |= {"connectedRegistry": str(action.place), "address": action.address}
        case DisableSecretVersion():
            view |= {"secret": action.secret, "version": action.version}
    return view


def poison_view(message: PoisonMessage) -> dict[str, Any]:
    """A kept message, with why it was not taken."""
    return _without_none(
        {
            "queue": message.queue,
            "id": message.id,
            "reason": message.reason.value,
            "detail": message.detail,
            "errors": [{"path": path, "message": text} for path, text in message.errors],
            "keptAt": _time(message.kept_at),
            "message": message.message,
        }
    )


def condition_view(condition: Condition) -> dict[str, Any]:
    """Why a device is where it is, and what a person can do."""
    return _without_none(
        {
            "reason": condition.reason.value,
            "message": condition.message,
            "remedy": condition.remedy,
            "since": _time(condition.since),
        }
    )


def operation_view(record: DeviceRecord, generation: int) -> dict[str, Any]:
    """One generation as a long-running operation: a view of the record."""
    view: dict[str, Any] = {
        "id": str(generation),
        "status": _operation_status(record, generation),
        "deviceId": record.device.device_id,
        "hub": record.device.hub,
    }
    if view["status"] == "Canceled":
        reason = Reason.SUPERSEDED
        view["error"] = {"code": reason.value, "message": MEANING[reason]}
    elif view["status"] == "Failed":
        found = condition_view(record.condition)
        view["error"] = {"code": found["reason"], "message": found["message"]}
        view["condition"] = found
    elif generation == record.generation:
        view["condition"] = condition_view(record.condition)
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
    return _address(request_url, f"devices/{device}/operations/{record.generation}", record)


def json_answer(
    status: int, document: dict[str, Any], *, headers: dict[str, str] | None = None
) -> func.HttpResponse:
    """A JSON document as an answer."""
    return func.HttpResponse(
        json.dumps(document), status_code=status, headers=headers, mimetype="application/json"
    )


def _operation_status(record: DeviceRecord, generation: int) -> str:
    if generation <= record.observed_generation:
        return "Succeeded"
    if generation < record.generation:
        return "Canceled"
    if record.condition.state is State.BLOCKED:
        return "Failed"
    return "NotStarted" if record.condition.state is State.PENDING else "Running"


def _address(request_url: str, path: str, record: DeviceRecord) -> str:
    parts = urlsplit(request_url)
    hub = urlencode({"hub": record.device.hub})
    return f"{parts.scheme}://{parts.netloc}{ROUTE_PREFIX}/{path}?{hub}"


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
