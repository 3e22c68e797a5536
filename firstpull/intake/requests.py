"""The requests that callers may send."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from firstpull.config.fields import Name, OnboardingTarget, StrictModel
from firstpull.intake.json_input import checked, read_object
from firstpull.model.device_key import DEVICE_ID, is_device_id
from firstpull.model.errors import FieldError, Invalid
from firstpull.model.sealing import SealingKey, read_sealing_key

TOKEN_NAME = r"^[a-zA-Z0-9-]{5,50}$"  # noqa: S105 - a pattern, not a password
"""Token names that a container registry allows (its REST specification)."""
LONGEST_BATCH = 1024 * 1024
"""Bytes of a batch: a thousand rows of a kilobyte."""


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


def _sealing_key(value: object) -> object:
    if value is None or isinstance(value, SealingKey):
        return value
    if not isinstance(value, dict):
        raise ValueError("is no JWK, which is an object")  # noqa: TRY004 - pydantic takes these
    return read_sealing_key(value)


SealingJwk = Annotated[
    SealingKey,
    BeforeValidator(_sealing_key),
    WithJsonSchema(
        {
            "type": "object",
            "description": "A public key as a JWK: EC with P-256, P-384 or P-521, or RSA with 2,048"
            " to 4,096 bits.",
            "required": ["kty"],
            "properties": {
                "kty": {"enum": ["EC", "RSA"]},
                "crv": {"enum": ["P-256", "P-384", "P-521"]},
                **{name: {"type": "string"} for name in ("x", "y", "n", "e")},
            },
        }
    ),
]


class OnboardingRequest(OnboardingTarget):
    """The body of `POST /api/devices`, which every other trigger takes too."""

    device_id: DeviceId
    hub: Name | None = None
    adopt: Annotated[str, Field(pattern=TOKEN_NAME)] | None = None
    """The name of an existing token to adopt."""
    sealing_key: SealingJwk | None = None
    """The device's public key as a JWK (EC or RSA), to which its password is sealed."""


class RotationRequest(StrictModel):
    """The body of `POST /api/devices/{deviceId}/rotate`."""

    immediately: bool = False
    """Whether the current password ends at once, even if the device uses it."""


class OnboardingBatch(StrictModel):
    """The body of `POST /api/devices:batch`. Each row is checked by itself."""

    devices: tuple[Any, ...]
    """Up to 1,000 bodies of `POST /api/devices`."""


class NamedDevice(StrictModel):
    """A row of a batch about devices that firstpull knows."""

    device_id: str
    hub: str | None = None
    """Its host name; the policy's first without it."""


class DeviceBatch(StrictModel):
    """The body of `POST /api/devices:batchRevoke`. Each row is checked by itself."""

    devices: tuple[Any, ...]
    """Up to 1,000 devices."""


class RotationBatch(DeviceBatch):
    """The body of `POST /api/devices:batchRotate`. Each row is checked by itself."""

    immediately: bool = False
    """As in `POST /api/devices/{deviceId}/rotate`, for every row."""


class SweepApproval(StrictModel):
    """The body of `POST /api/sweep/approve`."""

    sweep: Name
    """The id of the sweep that holds devices."""


class RevokesApproval(StrictModel):
    """The body of `POST /api/revokes/approve`."""

    revokes: Annotated[int, Field(ge=1, le=100_000)]
    """How many devices the API may revoke beyond its limit, within the hour."""


def read_request(body: bytes, *, device_id: str | None = None) -> OnboardingRequest:
    """The request in a JSON body. `device_id` is the one in the address, if there is one.

    Raises Invalid with every error and its path.
    """
    document = read_object(body)
    if device_id is not None and document.setdefault("deviceId", device_id) != device_id:
        error = FieldError("/deviceId", "is not the device in the address")
        raise Invalid("The body and the address name different devices.", errors=(error,))
    return checked(OnboardingRequest, document)


def read_rotation(body: bytes) -> RotationRequest:
    """The request in a JSON body; the default request without a body. Raises Invalid."""
    return checked(RotationRequest, read_object(body)) if body else RotationRequest()


def read_batch(body: bytes) -> OnboardingBatch:
    """The rows in a JSON body of at most 1 MiB. Raises Invalid."""
    return checked(OnboardingBatch, read_object(body, most=LONGEST_BATCH))


def read_revoke_batch(body: bytes) -> DeviceBatch:
    """The devices in a JSON body of at most 1 MiB. Raises Invalid."""
    return checked(DeviceBatch, read_object(body, most=LONGEST_BATCH))


def read_rotation_batch(body: bytes) -> RotationBatch:
    """The devices in a JSON body of at most 1 MiB. Raises Invalid."""
    return checked(RotationBatch, read_object(body, most=LONGEST_BATCH))


def read_approval(body: bytes) -> SweepApproval:
    """The approval in a JSON body. Raises Invalid."""
    return checked(SweepApproval, read_object(body))


def read_revokes_approval(body: bytes) -> RevokesApproval:
    """The approval in a JSON body. Raises Invalid."""
    return checked(RevokesApproval, read_object(body))


def request_for(target: OnboardingTarget, *, device_id: str, hub: str) -> OnboardingRequest:
    """The onboarding request of a device that opts in to a target."""
    return OnboardingRequest.model_validate(
        {**dict(target), "device_id": device_id, "hub": hub}, by_name=True, by_alias=False
    )
