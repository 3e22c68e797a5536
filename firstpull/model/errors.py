"""The four kinds of error: Invalid, Transient, Conflict, Blocked. Each has a stable reason."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.reasons import Reason


class FirstpullError(Exception):
    """The base of all errors. `message` is for a person and holds no secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class FieldError:
    """One error in a request: `path` is a JSON pointer into its body, or a parameter."""

    path: str
    message: str


MOST_ERRORS = 50
"""Errors that an answer or a kept message has; its text has the number of all."""


class Invalid(FirstpullError):
    """The request is refused and changed nothing. `errors` are the first ones."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason = Reason.INVALID_REQUEST,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        if len(errors) > MOST_ERRORS:
            message = (
                f"{message} There are {len(errors)} errors, of which {MOST_ERRORS} are listed."
            )
        super().__init__(reason, message)
        self.errors = errors[:MOST_ERRORS]


class NotAllowed(Invalid):
    """The request is well formed, but the policy forbids it."""

    def __init__(self, message: str, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message, reason=Reason.NOT_ALLOWED, errors=errors)


class NotKnown(Invalid):
    """The request names something that does not exist here."""


class Refused(Invalid):
    """The request contradicts the device's record."""


class Transient(FirstpullError):
    """A failure that needs no person. `retry_after` is in seconds, None if none was given."""

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class InProgress(Transient):
    """A write was accepted, and its effect is still to come: observe again."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(Reason.TOKEN_NOT_ACTIVE, message, retry_after=retry_after)


class Conflict(FirstpullError):
    """Another writer came between the read and the write: observe again."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CHANGED_MEANWHILE, message)


class Blocked(FirstpullError):
    """A failure that needs a person. `remedy` says what to do."""

    def __init__(self, reason: Reason, message: str, *, remedy: str) -> None:
        super().__init__(reason, message)
        self.remedy = remedy


class NotReady(Blocked):
    """Nothing can be done for any device until a person acts."""


async def read_or_else[T](reading: Awaitable[T], default: T, errors: list[FirstpullError]) -> T:
    """The result of a read, or the default after an error, which is added to `errors`."""
    try:
        return await reading
    except FirstpullError as error:
        errors.append(error)
        return default


def record_not_readable(device: DeviceKey) -> Blocked:
    """The error for a record that is damaged or that a later version wrote."""
    return Blocked(
        Reason.RECORD_NOT_READABLE,
        f"The record of {device.device_id} at {device.hub} cannot be read.",
        remedy="Deploy the version that wrote the record, or delete the record and onboard the "
        "device again.",
    )


def record_too_large(device: DeviceKey) -> Blocked:
    """The error for a record that storage cannot hold."""
    return Blocked(
        Reason.REFUSED,
        f"The record of {device.device_id} at {device.hub} would be too large.",
        remedy="Request fewer repositories, or a site with fewer connected registries.",
    )


def records_not_found(table: str) -> NotReady:
    """The error where all records have gone. An empty table would say that no device has access."""
    return NotReady(
        Reason.RECORDS_NOT_FOUND,
        f"The storage account has no table {table}.",
        remedy="Restore it from a backup, or create it empty; then POST /api/devices:rebuild.",
    )


def record_out_of_date(device: DeviceKey, *, requested_at: datetime) -> Blocked:
    """The error for a record that misses a request: it was restored from a backup."""
    return Blocked(
        Reason.RECORD_OUT_OF_DATE,
        f"The record of {device.device_id} at {device.hub} misses a request of "
        f"{requested_at:%Y-%m-%d %H:%M:%S} UTC.",
        remedy="Rebuild it: POST /api/devices:rebuild. Or revoke the device.",
    )


def clock_off(seconds: float) -> NotReady:
    """The error of a host whose clock is wrong."""
    return NotReady(
        Reason.CLOCK_OFF,
        f"The clock of this host is {seconds:.0f} s off the storage's.",
        remedy="Set the host's clock, or replace the instance.",
    )


def connected_registry_not_found(ref: ConnectedRegistryRef) -> Blocked:
    """The error for a connected registry that the container registry does not have."""
    return Blocked(
        Reason.CONNECTED_REGISTRY_NOT_FOUND,
        f"There is no connected registry {ref}.",
        remedy="Create it, or name another one in the request.",
    )


def connected_registry_full(ref: ConnectedRegistryRef, *, capacity: int) -> Blocked:
    """The error for a connected registry with as many clients as it takes."""
    return Blocked(
        Reason.CONNECTED_REGISTRY_FULL,
        f"{ref} is full: it takes {capacity} clients.",
        remedy="Revoke devices or remove other clients, or raise `capacity` in the policy "
        "where the service allows more.",
    )


def site_full(site: str, *, used: Mapping[str, int]) -> Blocked:
    """The error for a site whose connected registries are all full."""
    counts = ", ".join(f"{ref} has {count}" for ref, count in used.items())
    return Blocked(
        Reason.SITE_FULL,
        f"No connected registry of site {site} takes another client: {counts}.",
        remedy="Add a connected registry to the site in the policy, or revoke devices; "
        "GET /api/sites shows the free room. firstpull checks again by itself.",
    )
