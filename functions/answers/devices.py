"""Records as the HTTP API shows them. No password is in a record, so none can be shown."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AliasPath, BeforeValidator, Field

from firstpull.model.azure_resources import Slot
from firstpull.model.device_record import DeviceRecord, Held, State, Status
from firstpull.model.ports import Page
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import NEVER
from functions.answers.base import (
    Answer,
    ConnectedRegistryName,
    ContainerRegistryName,
    Count,
    DeviceName,
    Time,
)


class Condition(Answer):
    """Why a device is in its state, since when, and what a person can do."""

    reason: Reason
    message: str
    remedy: str | None
    since: Time


class Wants(Answer):
    """What was asked for, by whom and when."""

    target: str
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    adopt: str | None
    delivery: str
    delivery_options: Annotated[
        tuple[str, ...] | None, BeforeValidator(lambda names: names or None)
    ]
    sealing_key: Annotated[
        dict[str, str] | None, BeforeValidator(lambda key: key.public if key else None)
    ]
    sealed_to: Annotated[
        str | None,
        BeforeValidator(lambda key: key.thumbprint if key else None),
        Field(validation_alias="sealing_key"),
    ]
    """The thumbprint of that key, also where a lost record came back without the key."""
    requested_by: str
    requested_at: Time = Field(validation_alias="at")


class DeviceWarning(Answer):
    """What a person should know about a device that works."""

    reason: Reason
    message: str
    since: Time


class Delivery(Answer):
    """What the twin holds. Never the password."""

    id: str
    address: str
    slot: Slot
    secret_version: str
    expires_on: Time
    delivered_at: Time
    acknowledged_at: Time | None

    @classmethod
    def of(cls, record: DeviceRecord) -> Self | None:
        """The delivery that the device uses, if there is one."""
        if (delivery := record.delivery) is None:
            return None
        used: Status | Held = record.status
        if record.status.delivery is None and record.held_grant is not None:
            _, used = record.held_grant
        return cls(
            id=delivery.id,
            address=delivery.address,
            slot=delivery.slot,
            secret_version=delivery.secret_version,
            expires_on=delivery.expires_at,
            delivered_at=delivery.at,
            acknowledged_at=used.acknowledged_at,
        )


class Rotation(Answer):
    """A password that is to be replaced: the one in the secret version `replaces`."""

    immediately: bool
    replaces: str | None
    requested_by: str
    at: Time


class RetiringGrant(Answer):
    """What a device still loses after a move."""

    container_registry: ContainerRegistryName
    connected_registry: ConnectedRegistryName
    token: str = Field(validation_alias=AliasPath("names", "token"))
    delivery: str
    at_once: bool


class Revocation(Answer):
    """Who took the device's access away, and when."""

    requested_by: str
    at: Time


class Rejection(Answer):
    """A message about the device that was refused."""

    reason: Reason
    message: str
    at: Time


class HistoryEntry(Answer):
    """Something that happened to a device, by its name in the log."""

    at: Time
    event: str
    by: str | None
    detail: Annotated[str | None, BeforeValidator(lambda detail: detail or None)]
    count: Annotated[int | None, BeforeValidator(lambda count: count if count > 1 else None)]
    first_at: Time | None


class DeviceSummary(DeviceName):
    """A device: what was asked for, what it has and is to lose, and its state."""

    wants: Wants
    generation: Count
    observed_generation: Count
    state: State
    condition: Condition
    warnings: tuple[DeviceWarning, ...] | None
    container_registry: str | None
    connected_registry: str | None
    token: str | None
    secret: str | None
    adopted: Literal[True] | None
    delivery: Delivery | None
    rotation: Rotation | None
    leaving: tuple[RetiringGrant, ...] | None
    revoked: Revocation | None
    last_rejected: Rejection | None
    next_look_at: Time | None
    attempts: Count

    @classmethod
    def of(cls, record: DeviceRecord) -> Self:
        """A record without its history."""
        spec, status, due_at = record.spec, record.status, record.schedule.due_at
        grant, retiring = status.grant, () if record.is_tombstone else status.retiring
        return cls(
            device_id=record.device.device_id,
            hub=record.device.hub,
            wants=Wants.read(spec.intent),
            generation=spec.generation,
            observed_generation=status.observed_generation,
            state=status.condition.state,
            condition=Condition.read(status.condition),
            warnings=tuple(DeviceWarning.read(w) for w in status.warnings) or None,
            container_registry=grant.ref.registry.name if grant else None,
            connected_registry=grant.ref.name if grant else None,
            token=grant.names.token if grant else None,
            secret=grant.names.secret if grant else None,
            adopted=True if status.adopted else None,
            delivery=Delivery.of(record),
            rotation=Rotation.read(spec.rotation) if spec.rotation else None,
            leaving=tuple(RetiringGrant.read(grant) for grant in retiring) or None,
            revoked=Revocation.read(spec.revocation) if spec.revocation else None,
            last_rejected=Rejection.read(status.rejection) if status.rejection else None,
            next_look_at=due_at if due_at < NEVER else None,
            attempts=record.schedule.attempts,
        )


class Device(DeviceSummary):
    """A device with its history."""

    history: tuple[HistoryEntry, ...]

    @classmethod
    def of(cls, record: DeviceRecord) -> Self:
        """A whole record."""
        summary = dict(DeviceSummary.of(record))
        return cls(**summary, history=tuple(HistoryEntry.read(entry) for entry in record.history))


class DeviceList(Answer):
    """A page of devices. `next` leads to the next page; the last one has none.

    `unreadable` are the devices on the page whose record is damaged.
    """

    devices: tuple[DeviceSummary, ...]
    unreadable: tuple[DeviceName, ...] | None
    next: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The answer for a page of records."""
        return cls(
            devices=tuple(DeviceSummary.of(record) for record in page.records),
            unreadable=tuple(DeviceName.read(device) for device in page.unreadable) or None,
            next=page.next_page,
        )


class OperationStatus(StrEnum):
    """How far a request is."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


class OperationError(Answer):
    """Why an operation failed or was canceled."""

    code: Reason
    message: str


class Operation(DeviceName):
    """A request as a long-running operation."""

    id: str
    status: OperationStatus
    error: OperationError | None
    condition: Condition | None

    @classmethod
    def of(cls, record: DeviceRecord, *, generation: int) -> Self:
        """The operation that made a generation of a record."""
        status, condition, error = _status(record, generation), record.status.condition, None
        if status is OperationStatus.CANCELED:
            error = OperationError(code=Reason.SUPERSEDED, message=MEANING[Reason.SUPERSEDED])
        elif status is OperationStatus.FAILED:
            error = OperationError(code=condition.reason, message=condition.message)
        is_latest = generation == record.spec.generation
        return cls(
            device_id=record.device.device_id,
            hub=record.device.hub,
            id=str(generation),
            status=status,
            error=error,
            condition=Condition.read(condition) if is_latest else None,
        )

    @property
    def is_under_way(self) -> bool:
        """Whether a caller should ask again."""
        return self.status in (OperationStatus.NOT_STARTED, OperationStatus.RUNNING)


def _status(record: DeviceRecord, generation: int) -> OperationStatus:
    if record.is_superseded(generation):
        return OperationStatus.CANCELED
    if generation not in record.pending:
        return OperationStatus.SUCCEEDED
    match record.status.condition.state:
        case State.BLOCKED:
            return OperationStatus.FAILED
        case State.PENDING:
            return OperationStatus.NOT_STARTED
        case _:
            return OperationStatus.RUNNING
