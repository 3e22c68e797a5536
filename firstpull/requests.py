"""The onboarding request: what a caller may say, read strictly, with every error at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from firstpull.devices import DEVICE_ID
from firstpull.errors import FieldError, Invalid
from firstpull.policy import ActionName, RepositoryName

MAX_BODY = 64 * 1024
"""Bytes: as much as a storage queue message holds, so that every way in takes the same."""
_MAX_REPOSITORIES = 100


def _device_id(value: str) -> str:
    if not DEVICE_ID.fullmatch(value):
        raise ValueError(
            "is not an IoT Hub device id: 1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ $ '"
        )
    return value


def _no_duplicates(values: Sequence[str]) -> Sequence[str]:
    if len(set(values)) != len(values):
        raise ValueError("names something twice")
    return values


DeviceId = Annotated[str, AfterValidator(_device_id)]
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class OnboardingRequest(BaseModel):
    """What `POST /api/devices` takes. Every way in takes the same document."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )

    device_id: DeviceId
    connected_registry: _Name | None = None
    site: _Name | None = None
    repositories: Annotated[
        tuple[RepositoryName, ...],
        Field(min_length=1, max_length=_MAX_REPOSITORIES),
        AfterValidator(_no_duplicates),
    ]
    actions: Annotated[
        tuple[ActionName, ...] | None,
        Field(min_length=1),
        AfterValidator(lambda v: v and _no_duplicates(v)),
    ] = None
    hub: _Name | None = None
    container_registry: _Name | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.connected_registry is None) == (self.site is None):
            raise ValueError("name either connectedRegistry or site")
        return self


def read_request(body: bytes, *, device_id: str | None = None) -> OnboardingRequest:
    """The request in a JSON body. `device_id` is the one of the address, where it names one.

    Raises Invalid with every error and its path; nothing of the body is repeated in it.
    """
    document = _json_object(body)
    if device_id is not None and document.setdefault("deviceId", device_id) != device_id:
        error = FieldError("/deviceId", "is not the device of the address")
        raise Invalid("The body and the address name different devices.", errors=(error,))
    try:
        return OnboardingRequest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        errors = tuple(_field_error(e["loc"], e["msg"]) for e in error.errors())
        raise Invalid("The request is not valid; `errors` says where.", errors=errors) from None


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise Invalid(f"The body is larger than {MAX_BODY} bytes.")
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Invalid("The body is not JSON in UTF-8.") from None
    if not isinstance(document, dict):
        raise Invalid("The body is not a JSON object.")
    return document


def _field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    """A JSON pointer (RFC 6901) and what is wrong there; `""` is the whole document."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return FieldError("".join(f"/{part}" for part in parts), message.removeprefix("Value error, "))
