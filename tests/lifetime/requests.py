"""Requests, as the state machine makes them and as records hold them."""

from __future__ import annotations

import json
from typing import Any

from firstpull.intake.requests import OnboardingRequest, read_request
from firstpull.model.device_record import DeviceRecord
from tests.lifetime.sites import SITES


def request_of(
    device: str, where: str, what: list[str], *, adopt: str | None = None
) -> OnboardingRequest:
    """The request for a connected registry or a site, by its name."""
    kind = "site" if where in SITES else "connectedRegistry"
    body: dict[str, Any] = {"deviceId": device, "repositories": what, kind: where}
    if adopt is not None:
        body["adopt"] = adopt
    return read_request(json.dumps(body).encode())


def asks_for(request: OnboardingRequest, record: DeviceRecord) -> bool:
    """Whether the record holds this request, and not one that a tag made since."""
    target = f"site {request.site}" if request.site else request.connected_registry
    return (
        record.spec.intent.target == target
        and record.spec.intent.repositories == tuple(sorted(request.repositories))
        and record.spec.intent.adopt == request.adopt
    )
