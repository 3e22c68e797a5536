"""What all answers have in common: JSON, times, and fields that are left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import azure.functions as func

from firstpull.model.device_key import DeviceKey


def json_answer(
    status: int, document: dict[str, Any], *, headers: dict[str, str] | None = None
) -> func.HttpResponse:
    """A JSON document as an answer."""
    return func.HttpResponse(
        json.dumps(document), status_code=status, headers=headers, mimetype="application/json"
    )


def time_text(at: datetime | None) -> str | None:
    """A time in UTC, in ISO 8601, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def device_names(device: DeviceKey) -> dict[str, Any]:
    """A device's id and hub."""
    return {"deviceId": device.device_id, "hub": device.hub}
