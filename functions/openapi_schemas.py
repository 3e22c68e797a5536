"""The schemas of the OpenAPI document: what is taken, and what is answered."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from firstpull.intake.requests import OnboardingRequest, RotationRequest, SweepApproval
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0}
ANY: dict[str, Any] = {"type": "object"}
_FLAG = {"type": "boolean"}
_TIME = {"type": "string", "format": "date-time"}
_REASON = {"type": "string", "enum": list(Reason)}
_STATE = {"type": "string", "enum": list(State)}


def schemas() -> dict[str, Any]:
    """All schemas, by name."""
    return {**_taken(), **_devices(), **_operations(), **_fleet(), **_messages()}


def ref(name: str) -> dict[str, Any]:
    """A reference to a schema of this document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _taken() -> dict[str, Any]:
    request = _model(OnboardingRequest)
    request["oneOf"] = [
        {"required": [name], "properties": {name: TEXT}} for name in ("connectedRegistry", "site")
    ]
    of_address = {**request, "required": [n for n in request["required"] if n != "deviceId"]}
    return {
        "OnboardingRequest": request,
        "OnboardingRequestOfAddress": of_address,
        "RotationRequest": _model(RotationRequest),
        "SweepApproval": _model(SweepApproval),
        "ProvisioningRequest": {
            "type": "object",
            "description": "What the Device Provisioning Service sends to a custom allocation.",
            "required": ["deviceRuntimeContext", "linkedHubs"],
        },
    }


def _devices() -> dict[str, Any]:
    summary = {
        "deviceId": TEXT,
        "hub": TEXT,
        "wants": _object(
            {
                "target": TEXT,
                "repositories": _list(TEXT),
                "actions": _list(TEXT),
                "adopt": TEXT,
                "requestedBy": TEXT,
                "requestedAt": _TIME,
            },
            optional=("adopt",),
        ),
        "generation": NUMBER,
        "observedGeneration": NUMBER,
        "state": _STATE,
        "condition": ref("Condition"),
        "warnings": _list(_object({"reason": _REASON, "message": TEXT, "since": _TIME})),
        "containerRegistry": TEXT,
        "connectedRegistry": TEXT,
        "token": TEXT,
        "secret": TEXT,
        "adopted": {"const": True},
        "delivery": _object(
            {
                "id": TEXT,
                "address": TEXT,
                "slot": TEXT,
                "secretVersion": TEXT,
                "expiresOn": _TIME,
                "deliveredAt": _TIME,
                "acknowledgedAt": _TIME,
            },
            optional=("acknowledgedAt",),
        ),
        "rotation": _object(
            {"immediately": _FLAG, "replaces": TEXT, "requestedBy": TEXT, "at": _TIME},
            optional=("replaces",),
        ),
        "leaving": _list(
            _object(
                {
                    "containerRegistry": TEXT,
                    "connectedRegistry": TEXT,
                    "token": TEXT,
                    "atOnce": _FLAG,
                }
            )
        ),
        "revoked": _object({"requestedBy": TEXT, "at": _TIME}),
        "lastRejected": _object({"reason": _REASON, "message": TEXT, "at": _TIME}),
        "nextLookAt": _TIME,
        "attempts": NUMBER,
    }
    optional = (
        *("warnings", "containerRegistry", "connectedRegistry", "token", "secret", "adopted"),
        *("delivery", "rotation", "leaving", "revoked", "lastRejected", "nextLookAt"),
    )
    happened = _object(
        {"at": _TIME, "event": TEXT, "by": TEXT, "detail": TEXT}, optional=("by", "detail")
    )
    return {
        "Condition": _object(
            {"reason": _REASON, "message": TEXT, "remedy": TEXT, "since": _TIME},
            optional=("remedy",),
        ),
        "Device": _object({**summary, "history": _list(happened)}, optional=optional),
        "DeviceSummary": _object(summary, optional=optional),
        "DeviceList": _object(
            {"devices": _list(ref("DeviceSummary")), "next": TEXT}, optional=("next",)
        ),
    }


def _operations() -> dict[str, Any]:
    statuses = ["NotStarted", "Running", "Succeeded", "Failed", "Canceled"]
    return {
        "Operation": _object(
            {
                "id": TEXT,
                "status": {"type": "string", "enum": statuses},
                "deviceId": TEXT,
                "hub": TEXT,
                "error": _object({"code": _REASON, "message": TEXT}),
                "condition": ref("Condition"),
            },
            optional=("error", "condition"),
        ),
        "Plan": _object(
            {
                "dryRun": {"const": True},
                "deviceId": TEXT,
                "hub": TEXT,
                "actions": _list({**ANY, "required": ["action", "why"]}),
                "finding": _object(
                    {"state": _STATE, "reason": _REASON, "message": TEXT, "remedy": TEXT},
                    optional=("remedy",),
                ),
            },
            optional=("finding",),
        ),
        "Intended": _object(
            {"dryRun": {"const": True}, "actions": _list({**ANY, "required": ["action"]})}
        ),
    }


def _fleet() -> dict[str, Any]:
    device = _object({"deviceId": TEXT, "hub": TEXT})
    kind = {"type": "string", "enum": list(Kind)}
    return {
        "Sites": _object(
            {
                "sites": _list(
                    _object(
                        {
                            "name": TEXT,
                            "used": NUMBER,
                            "free": NUMBER,
                            "connectedRegistries": _list(ref("Room")),
                        }
                    )
                ),
                "connectedRegistries": _list(ref("Room")),
            }
        ),
        "Room": _object(
            {
                "connectedRegistry": TEXT,
                "containerRegistry": TEXT,
                "capacity": NUMBER,
                "used": NUMBER,
                "ours": NUMBER,
                "leaving": NUMBER,
                "foreign": NUMBER,
                "free": NUMBER,
                "state": TEXT,
                "lastSync": _TIME,
                "address": TEXT,
            },
            optional=("state", "lastSync", "address"),
        ),
        "Sweep": _object(
            {
                "id": TEXT,
                "startedAt": _TIME,
                "finishedAt": _TIME,
                "devices": NUMBER,
                "drifted": {"type": "object", "additionalProperties": NUMBER},
                "onboarded": NUMBER,
                "revoked": NUMBER,
                "held": _list(device),
                "approved": _list(device),
                "unexplained": _list(_object({"kind": kind, "name": TEXT, "where": TEXT})),
                "ledgerEntriesRemoved": NUMBER,
                "scopeMapsRemoved": NUMBER,
                "scopeMapsUnreferenced": _list(_object({"id": TEXT, "since": _TIME})),
                "unread": _list(TEXT),
                "completeAt": _TIME,
            },
            optional=("completeAt",),
        ),
    }


def _messages() -> dict[str, Any]:
    error = _object({"path": TEXT, "message": TEXT})
    return {
        "PoisonList": _object({"messages": _list(ref("PoisonMessage"))}),
        "PoisonMessage": _object(
            {
                "queue": TEXT,
                "id": TEXT,
                "reason": _REASON,
                "detail": TEXT,
                "errors": _list(error),
                "keptAt": _TIME,
                "message": TEXT,
            },
            optional=("keptAt",),
        ),
        "Problem": _object(
            {
                "type": TEXT,
                "title": TEXT,
                "status": NUMBER,
                "reason": _REASON,
                "detail": TEXT,
                "errors": _list(error),
            },
            optional=("errors",),
        ),
    }


def _model(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
