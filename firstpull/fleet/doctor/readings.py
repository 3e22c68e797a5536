"""What the doctor read: each source's answer, or the error instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.config.policy import ConnectedRegistryPolicy, Policy
from firstpull.fleet.doctor.needs import Kind
from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, RegistryId
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Blocked, FirstpullError
from firstpull.model.governance import (
    AzureResource,
    EventSubscription,
    ManagementLock,
    Permission,
    PolicyAssignment,
    ResourceId,
)
from firstpull.model.ledger import Ledger
from firstpull.model.sweep_report import SweepReport

type Read[T] = T | FirstpullError


def known[T](read: Read[T], otherwise: T) -> T:
    """What was read, or a default where it could not be."""
    return otherwise if isinstance(read, FirstpullError) else read


@dataclass(frozen=True, kw_only=True)
class AppState:
    """The app as its own process knows it. `name` and `group` are None outside Azure.

    `disabled` are the settings that switch functions off, `unresolved` those whose secret could
    not be read. `policy_setting` names where the policy is, `policy_place` the blob or file.
    """

    name: str | None
    group: str | None
    uses_identity_for_storage: bool
    password_validity: timedelta
    resource_ids: tuple[ResourceId, ...]
    policy_setting: str
    policy_place: str | None
    disabled: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResourceReading:
    """One resource. `tried` are the errors of the requests that firstpull's work consists of."""

    id: ResourceId
    kind: Kind
    tried: tuple[FirstpullError, ...]
    resource: Read[AzureResource | None]
    permissions: Read[tuple[Permission, ...]]
    locks: Read[tuple[ManagementLock, ...]] = ()
    policies: Read[tuple[PolicyAssignment, ...]] = ()
    events: Read[tuple[EventSubscription, ...]] = ()

    @property
    def errors(self) -> tuple[FirstpullError, ...]:
        """Why some of it is not known."""
        found = (self.resource, self.permissions, self.locks, self.policies, self.events)
        return tuple(each for each in found if isinstance(each, FirstpullError))


@dataclass(frozen=True, kw_only=True)
class ConnectedReading:
    """One connected registry of the policy. `synced` are the scope actions that it syncs."""

    ref: ConnectedRegistryRef
    entry: ConnectedRegistryPolicy
    connected: ConnectedRegistry | None
    ledger: Read[Ledger]
    synced: Read[frozenset[str] | None]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Everything. `unnamed` are resources whose ARM id the settings lack, with what they are."""

    at: datetime
    app: AppState
    policy: Policy
    policy_refusal: Blocked | None
    clock_offset: timedelta
    principal: str | None
    resources: tuple[ResourceReading, ...]
    unnamed: Mapping[str, tuple[FirstpullError, ...]]
    listings: Mapping[RegistryId, Read[tuple[ConnectedRegistry, ...]]]
    connected: tuple[ConnectedReading, ...]
    records: FirstpullError | None
    """Why the records cannot be read."""
    overdue: tuple[DeviceKey, ...] = ()
    oldest_due: datetime | None = None
    kept: Mapping[str, Read[tuple[int, bool]]] = field(default_factory=dict)
    """By queue: how many rejected messages are seen, and whether storage delivers all of them."""
    sweep: Read[SweepReport | None] = None

    def of_kind(self, kind: Kind) -> tuple[ResourceReading, ...]:
        """The resources of a kind."""
        return tuple(each for each in self.resources if each.kind is kind)
