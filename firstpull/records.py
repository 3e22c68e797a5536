"""The record of a device: what is wanted, what was made for it, and how far it is.

A record is written before anything exists in Azure, and everything that exists is named by
one. Its fields serialise by pydantic; it holds no password.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter

from firstpull.cloud import Place, Slot
from firstpull.devices import DeviceKey
from firstpull.naming import Names
from firstpull.reasons import Reason
from firstpull.repositories import scope_actions

SCHEMA_VERSION = 1


class State(StrEnum):
    """Where a device is on its way."""

    PENDING = "Pending"  # the intent is recorded
    CONVERGING = "Converging"  # a worker is at it, or it will be tried again
    WAITING = "Waiting"  # for something that comes by itself
    BLOCKED = "Blocked"  # for a person
    DELIVERED = "Delivered"  # the twin holds the credentials
    READY = "Ready"  # the device has logged in


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What is wanted. `candidates` are the places it may be put, in order of preference."""

    target: str
    candidates: tuple[Place, ...]
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    requested_by: str
    at: datetime

    def asks_the_same(self, other: Intent) -> bool:
        """Whether both want the same thing, whoever asked and whenever."""
        return self == replace(other, requested_by=self.requested_by, at=self.at)

    @property
    def scope_actions(self) -> frozenset[str]:
        """The actions of the scope map that this intent needs."""
        return scope_actions(self.repositories, self.actions)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What is in the twin. `id` is a digest of all that was delivered."""

    id: str
    slot: Slot
    secret_version: str
    address: str
    expires_at: datetime
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How far a device is, and why. `remedy` says what a person can do, where one has to."""

    state: State
    reason: Reason
    message: str
    since: datetime
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A message about a device that could not be taken; it is kept in a poison queue."""

    reason: Reason
    message: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a device. No write of `owner` is under way after `until`."""

    owner: str
    until: datetime


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """One device. `due_at` is when it wants to be looked at next: it is the schedule."""

    device: DeviceKey
    intent: Intent
    generation: int
    condition: Condition
    due_at: datetime
    observed_generation: int = 0
    place: Place | None = None
    names: Names | None = None
    slots_requested: frozenset[Slot] = frozenset()
    """Slots in which a password was asked for and not delivered: its value may be lost."""
    delivery: Delivery | None = None
    acknowledged_at: datetime | None = None
    observed_at: datetime | None = None
    """When everything was last looked at and found in order, or put in order."""
    hub_generation_id: str | None = None
    hub_device_etag: str | None = None
    attempts: int = 0
    rejection: Rejection | None = None
    claim: Claim | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def is_converged(self) -> bool:
        """Whether the twin holds what this generation wants."""
        return self.observed_generation == self.generation and self.condition.state in (
            State.DELIVERED,
            State.READY,
        )


def new_record(device: DeviceKey, intent: Intent) -> DeviceRecord:
    """The first record of a device: generation 1, due at once."""
    return DeviceRecord(
        device=device,
        intent=intent,
        generation=1,
        condition=accepted(intent.at),
        due_at=intent.at,
    )


def with_intent(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record after a request that wants something else: a new generation, due at once."""
    return replace(
        record,
        intent=intent,
        generation=record.generation + 1,
        condition=accepted(intent.at),
        due_at=intent.at,
        attempts=0,
    )


def accepted(at: datetime) -> Condition:
    """The condition of an intent that nobody has worked on."""
    return Condition(
        state=State.PENDING, reason=Reason.ACCEPTED, message="Recorded; work begins.", since=at
    )


_ADAPTER = TypeAdapter(DeviceRecord)


def to_json(record: DeviceRecord) -> str:
    """The record as text, for storage."""
    return _ADAPTER.dump_json(record, exclude_defaults=False).decode()


def from_json(text: str) -> DeviceRecord:
    """The record in a text that `to_json` made. Raises ValueError for anything else."""
    return _ADAPTER.validate_json(text)
