"""Reads Event Grid events: which device or secret changed.

Events arrive at least once, in any order, late, and with placeholder contents
(iot-hub-event-grid, delivery-and-retry). So firstpull takes only names and times from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from firstpull.intake.json_input import checked
from firstpull.model.device_key import is_device_id
from firstpull.model.errors import FieldError, Invalid

_CREATED = "Microsoft.Devices.DeviceCreated"
_DELETED = "Microsoft.Devices.DeviceDeleted"
_NEW_VERSION = "Microsoft.KeyVault.SecretNewVersionCreated"
_EXPIRY = ("Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired")


_FIRST_YEAR, _LAST_YEAR = 2000, 2200


@dataclass(frozen=True, kw_only=True)
class DeviceEvent:
    """A hub created or deleted a device. `hub_name` is the hub's short name."""

    hub_name: str
    device_id: str
    created: bool
    at: datetime | None
    """None where nothing tells it: CloudEvents may have no time."""


@dataclass(frozen=True, kw_only=True)
class SecretEvent:
    """A secret has a new or an expiring version. `vault_host` is the vault's host name."""

    vault_host: str
    secret: str
    version: str
    created: bool


@dataclass(frozen=True, kw_only=True)
class UnknownEvent:
    """An event of a kind that firstpull ignores."""

    kind: str


GridEvent = DeviceEvent | SecretEvent | UnknownEvent


def _plausible(at: datetime) -> datetime:
    """The time in UTC, as it is without an offset. Storage has no times of the first years."""
    try:
        in_utc = at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except OverflowError:
        in_utc = None
    if in_utc is None or not _FIRST_YEAR <= in_utc.year <= _LAST_YEAR:
        raise ValueError(f"is not between {_FIRST_YEAR} and {_LAST_YEAR}")
    return in_utc


class _Event(BaseModel):
    """The envelope, in either schema. Unknown fields are ignored: both schemas may grow."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    kind: Annotated[
        str, Field(min_length=1, max_length=256, validation_alias=AliasChoices("eventType", "type"))
    ]
    at: Annotated[
        Annotated[datetime, AfterValidator(_plausible)] | None,
        Field(validation_alias=AliasChoices("eventTime", "time")),
    ] = None
    data: dict[str, Any]


class _DeviceData(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    hub_name: Annotated[str, Field(alias="hubName", min_length=1, max_length=128)]
    device_id: Annotated[str, Field(alias="deviceId")]
    module_id: Annotated[str | None, Field(alias="moduleId")] = None


def _host(url: str) -> str:
    if not (host := urlsplit(url).netloc):
        raise ValueError("is not the address of a secret")
    return host


class _SecretData(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    host: Annotated[str, Field(alias="Id", max_length=512), AfterValidator(_host)]
    secret: Annotated[str, Field(alias="ObjectName", pattern=r"^[0-9A-Za-z-]{1,127}$")]
    version: Annotated[str, Field(alias="Version", max_length=64)] = ""


def read_event(document: object, *, received_at: datetime | None = None) -> GridEvent:
    """The event in a document. Raises Invalid if the document is malformed.

    `received_at` is its time if it has none.
    """
    event = checked(_Event, document)
    if event.kind in (_CREATED, _DELETED):
        return _device_event(event, received_at)
    if event.kind == _NEW_VERSION or event.kind in _EXPIRY:
        data = checked(_SecretData, event.data)
        return SecretEvent(
            vault_host=data.host,
            secret=data.secret,
            version=data.version,
            created=event.kind == _NEW_VERSION,
        )
    return UnknownEvent(kind=event.kind)


def _device_event(event: _Event, received_at: datetime | None) -> GridEvent:
    data = checked(_DeviceData, event.data)
    if data.module_id:
        return UnknownEvent(kind=f"{event.kind} of a module")
    if not is_device_id(data.device_id):
        error = FieldError("/data/deviceId", "is not an IoT Hub device id")
        raise Invalid("The event has an impossible device id.", errors=(error,))
    return DeviceEvent(
        hub_name=data.hub_name,
        device_id=data.device_id,
        created=event.kind == _CREATED,
        at=event.at or received_at,
    )
