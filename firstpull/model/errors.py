"""What can go wrong, in four kinds. Every error carries a stable reason name."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.reasons import Reason


class FirstpullError(Exception):
    """Base of all. `message` is for a person and says what to do next; it holds no secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with a request: `path` is a JSON pointer into its body, or a parameter."""

    path: str
    message: str


class Invalid(FirstpullError):
    """Answered at once; nothing changed."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason = Reason.INVALID_REQUEST,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(reason, message)
        self.errors = errors


class NotAllowed(Invalid):
    """The request is well formed and the policy forbids it."""

    def __init__(self, message: str, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message, reason=Reason.NOT_ALLOWED, errors=errors)


class NotKnown(Invalid):
    """The request names something that no record holds."""


class Refused(Invalid):
    """The request contradicts what the record holds."""


class Transient(FirstpullError):
    """Passes by itself. `retry_after` is in seconds, None when the service named no time."""

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Conflict(FirstpullError):
    """The world changed between reading and writing: observe again."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CHANGED_MEANWHILE, message)


class Blocked(FirstpullError):
    """A person has to act. `remedy` says how."""

    def __init__(self, reason: Reason, message: str, *, remedy: str) -> None:
        super().__init__(reason, message)
        self.remedy = remedy


async def read_or_else[T](reading: Awaitable[T], default: T, errors: list[FirstpullError]) -> T:
    """What is read, or the default, and the reason why not among `errors`."""
    try:
        return await reading
    except FirstpullError as error:
        errors.append(error)
        return default


def record_not_readable(device: DeviceKey) -> Blocked:
    """The record is damaged, or of a later version."""
    return Blocked(
        Reason.RECORD_NOT_READABLE,
        f"The record of {device.device_id} at {device.hub} cannot be read.",
        remedy="Go back to the version that wrote it; or delete the record, and ask again.",
    )


def connected_registry_not_found(ref: ConnectedRegistryRef) -> Blocked:
    """The container registry has no such connected registry."""
    return Blocked(
        Reason.CONNECTED_REGISTRY_NOT_FOUND,
        f"There is no connected registry {ref}.",
        remedy="Create it, or name another one in the request.",
    )


def connected_registry_full(ref: ConnectedRegistryRef, *, capacity: int) -> Blocked:
    """The connected registry has as many clients as it takes."""
    return Blocked(
        Reason.CONNECTED_REGISTRY_FULL,
        f"{ref} has its {capacity} clients.",
        remedy="Revoke devices or remove other clients, or raise `capacity` in FIRSTPULL_POLICY "
        "where the service allows more.",
    )


def site_full(site: str, *, used: Mapping[str, int]) -> Blocked:
    """Every connected registry of a site has as many clients as it takes."""
    counts = ", ".join(f"{ref} has {count}" for ref, count in used.items())
    return Blocked(
        Reason.SITE_FULL,
        f"No connected registry of site {site} takes another client: {counts}.",
        remedy="Add a connected registry to the site in FIRSTPULL_POLICY, or revoke devices; "
        "GET /api/sites shows the room. The device is looked at again by itself.",
    )
