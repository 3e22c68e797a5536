"""The agent's report on each delivery, in the reported properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from traceback import extract_tb
from typing import Any

SECTION = ("firstpull", "registryCredentials")  # the path in desired and in reported properties


class Reason(StrEnum):
    """Why a delivery is not logged in. The names are stable: firstpull and people use them."""

    CREDENTIALS_NOT_ACCEPTED = "CredentialsNotAccepted"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    CERTIFICATE_NOT_TRUSTED = "CertificateNotTrusted"
    CLOCK_WRONG = "ClockWrong"
    UNEXPECTED_ANSWER = "UnexpectedAnswer"
    TOKEN_SERVICE_NOT_TRUSTED = "TokenServiceNotTrusted"  # noqa: S105 - a name, no secret
    ENGINE_FAILED = "EngineFailed"
    STORAGE_FAILED = "StorageFailed"
    INVALID_DELIVERY = "InvalidDelivery"
    UNSUPPORTED_DELIVERY = "UnsupportedDelivery"
    SEAL_NOT_ACCEPTED = "SealNotAccepted"
    PLAIN_NOT_ACCEPTED = "PlainNotAccepted"
    AGENT_FAILED = "AgentFailed"
    # In a cluster only:
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    CLUSTER_FORBIDS = "ClusterForbids"
    CLUSTER_REFUSES = "ClusterRefuses"
    CLUSTER_CONFLICT = "ClusterConflict"
    FOREIGN_SECRET = "ForeignSecret"  # noqa: S105 - a name, no secret
    NAMESPACE_NOT_FOUND = "NamespaceNotFound"
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"


class State(StrEnum):
    """Whether the device is logged in with a delivery."""

    LOGGED_IN = "LoggedIn"
    FAILED = "Failed"


class Failure(Exception):
    """An attempt failed. `detail` is for people and has no secret.

    `retry_after` is in seconds: who refused the attempt wants no other one before.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


def defect(error: Exception) -> Failure:
    """The failure for an exception that nobody expected, without its text, which may be secret."""
    place = extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return Failure(Reason.AGENT_FAILED, f"{type(error).__name__} at {where}")


@dataclass(frozen=True)
class Report:
    """The outcome of one delivery. `reason` is None when logged in."""

    delivery_id: str | None
    state: State
    reason: Reason | None
    at: datetime

    def as_property(self) -> dict[str, str | None]:
        """The value of the reported property."""
        return {
            "deliveryId": self.delivery_id,
            "state": self.state.value,
            "reason": None if self.reason is None else self.reason.value,
            "at": self.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def says_the_same_as(self, reported: object) -> bool:
        """Whether a reported property has this outcome already, at whatever time."""
        if not isinstance(reported, Mapping):
            return False
        mine = self.as_property()
        # A twin has no nulls: an absent property is null here.
        return all(reported.get(key) == mine[key] for key in ("deliveryId", "state", "reason"))


def reported_entries(reported: Mapping[str, Any]) -> dict[str, Any]:
    """The reported entries by connected registry; empty if the section is not an object."""
    section: Any = reported
    for key in SECTION:
        section = section.get(key) if isinstance(section, Mapping) else None
    return dict(section) if isinstance(section, Mapping) else {}


def reported_patch(entries: Mapping[str, Report | None]) -> dict[str, Any]:
    """The patch of the reported properties for these connected registries; None removes one."""
    values = {name: entry and entry.as_property() for name, entry in entries.items()}
    return {SECTION[0]: {SECTION[1]: values}}
