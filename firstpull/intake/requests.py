"""The requests: what a caller may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from firstpull.config.fields import Name, OnboardingTarget, StrictModel
from firstpull.intake.json_input import checked, read_object
from firstpull.model.device_key import DEVICE_ID, is_device_id
from firstpull.model.errors import FieldError, Invalid

TOKEN_NAME = r"^[a-zA-Z0-9-]{5,50}$"  # noqa: S105 - a pattern, not a password
"""Names of tokens (the container registry's REST specification)."""


def _device_id(value: str) -> str:
    if not is_device_id(value):
        raise ValueError(
            "is not an IoT Hub device id: 1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ $ '"
        )
    return value


DeviceId = Annotated[
    str,
    AfterValidator(_device_id),
    Field(json_schema_extra={"pattern": f"^{DEVICE_ID.pattern}$", "examples": ["gateway-1"]}),
]


class OnboardingRequest(OnboardingTarget):
    """What `POST /api/devices` takes. Every way in takes the same document."""

    device_id: DeviceId
    hub: Name | None = None
    adopt: Annotated[str, Field(pattern=TOKEN_NAME)] | None = None
    """An existing token to take over, by its name."""


class RotationRequest(StrictModel):
    """What `POST /api/devices/{deviceId}/rotate` takes."""

    immediately: bool = False
    """Whether the password of now ends at once, whoever uses it."""


class SweepApproval(StrictModel):
    """What `POST /api/sweep/approve` takes."""

    sweep: Name
    """The id of the sweep that holds devices."""


def read_request(body: bytes, *, device_id: str | None = None) -> OnboardingRequest:
    """The request in a JSON body. `device_id` is the one of the address, where it names one.

    Raises Invalid with every error and its path; nothing of the body is repeated in it.
    """
    document = read_object(body)
    if device_id is not None and document.setdefault("deviceId", device_id) != device_id:
        error = FieldError("/deviceId", "is not the device of the address")
        raise Invalid("The body and the address name different devices.", errors=(error,))
    return checked(OnboardingRequest, document)


def read_rotation(body: bytes) -> RotationRequest:
    """The rotation that a JSON body asks for; no body asks for the usual one. Raises Invalid."""
    return checked(RotationRequest, read_object(body)) if body else RotationRequest()


def read_approval(body: bytes) -> SweepApproval:
    """The approval in a JSON body. Raises Invalid."""
    return checked(SweepApproval, read_object(body))


def request_for(target: OnboardingTarget, *, device_id: str, hub: str) -> OnboardingRequest:
    """The request that a device makes by appearing."""
    return OnboardingRequest.model_validate(
        {**dict(target), "device_id": device_id, "hub": hub}, by_name=True, by_alias=False
    )
