"""Sites and sweeps as the HTTP API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from firstpull.fleet.rebuild import Rebuild as RebuildReport
from firstpull.fleet.summary import FleetSummary
from firstpull.intake.revoke_limit import RevokeLimit
from firstpull.model.azure_resources import ScopeMapId
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.model.revoke_count import RevokeCount
from firstpull.model.sweep_report import Kind, Step
from functions.answers.base import (
    Answer,
    ConnectedRegistryName,
    ContainerRegistryName,
    Count,
    DeviceName,
    Time,
)


class Room(Answer):
    """How full a connected registry is. `leaving` are among `ours`."""

    connected_registry: ConnectedRegistryName
    container_registry: ContainerRegistryName
    capacity: Count
    used: Count
    ours: Count
    leaving: Count = Field(validation_alias="retiring")
    foreign: Count
    free: Count
    state: str | None
    last_sync: Time | None = Field(validation_alias="last_sync_at")
    address: str | None


class Site(Answer):
    """How full a site is. Its connected registries are filled in this order."""

    name: str
    used: Count
    free: Count
    connected_registries: tuple[Room, ...] = Field(validation_alias="rooms")


class Sites(Answer):
    """All sites, and the connected registries that are in none."""

    sites: tuple[Site, ...]
    connected_registries: tuple[Room, ...] = Field(validation_alias="others")


class SiteDevices(Answer):
    """The devices of a site by state. Without a name: those of no site."""

    name: str | None
    devices: Count
    states: dict[State, Count]


class OldestWait(DeviceName):
    """The device that is longest without its credentials, and why."""

    state: State
    reason: Reason
    since: Time


class NextExpiry(DeviceName):
    """The device whose delivered password expires next."""

    expires_on: Time


class Fleet(Answer):
    """The whole fleet. `devices` are those without a tombstone."""

    at: Time
    devices: Count
    states: dict[State, Count]
    reasons: dict[Reason, Count]
    sites: tuple[SiteDevices, ...]
    oldest_wait: OldestWait | None
    next_expiry: NextExpiry | None
    unreadable: Count

    @classmethod
    def of(cls, summary: FleetSummary) -> Self:
        """The answer for a summary."""
        wait, expiry = summary.oldest_wait, summary.next_expiry
        return cls(
            at=summary.at,
            devices=summary.devices,
            states=dict(summary.states),
            reasons=dict(summary.reasons),
            sites=tuple(
                SiteDevices(name=name, devices=sum(states.values()), states=dict(states))
                for name, states in summary.sites.items()
            ),
            oldest_wait=OldestWait(
                device_id=wait.device.device_id,
                hub=wait.device.hub,
                state=wait.state,
                reason=wait.reason,
                since=wait.since,
            )
            if wait is not None
            else None,
            next_expiry=NextExpiry(
                device_id=expiry.device.device_id,
                hub=expiry.device.hub,
                expires_on=expiry.expires_at,
            )
            if expiry is not None
            else None,
            unreadable=summary.unreadable,
        )


class Orphan(Answer):
    """Something of this deployment that no record names."""

    kind: Kind
    name: str
    where: str


class RebuiltDevice(DeviceName):
    """A device whose record was made again. `state` says whether it has access or loses it."""

    state: State
    generation: Count


class NotRebuiltDevice(DeviceName):
    """A device of which no record could be made, and why."""

    message: str


class Rebuild(Answer):
    """What became of the records. `next` leads to the next page; the last one has none."""

    dry_run: Literal[True] | None
    rebuilt: tuple[RebuiltDevice, ...]
    current: Count
    not_rebuilt: tuple[NotRebuiltDevice, ...]
    unexplained: tuple[Orphan, ...]
    unread: tuple[str, ...]
    next: str | None

    @classmethod
    def of(cls, found: RebuildReport, *, dry_run: bool) -> Self:
        """The answer for a page."""
        return cls(
            dry_run=True if dry_run else None,
            rebuilt=tuple(
                RebuiltDevice(
                    device_id=record.device.device_id,
                    hub=record.device.hub,
                    state=record.status.condition.state,
                    generation=record.spec.generation,
                )
                for record in found.rebuilt
            ),
            current=found.current,
            not_rebuilt=tuple(
                NotRebuiltDevice(
                    device_id=one.device.device_id, hub=one.device.hub, message=one.message
                )
                for one in found.not_rebuilt
            ),
            unexplained=tuple(map(Orphan.read, found.unexplained)),
            unread=found.unread,
            next=found.next_page,
        )


class UnreferencedScopeMap(Answer):
    """A scope map of this deployment, by its ARM id, and since when nothing refers to it."""

    id: str
    since: Time


def _listed(since: Mapping[ScopeMapId, datetime]) -> tuple[UnreferencedScopeMap, ...]:
    return tuple(UnreferencedScopeMap(id=str(id_), since=at) for id_, at in since.items())


class SweepPosition(Answer):
    """Where a sweep stopped, whose time was over."""

    step: Step
    after: str


class Revokes(Answer):
    """How many devices the API revoked within an hour, and how many more it may."""

    limit: Count
    revoked: Count
    approved: Count
    approved_until: Time | None
    approved_by: str | None
    room: Count

    @classmethod
    def of(cls, limit: RevokeLimit, count: RevokeCount) -> Self:
        """The answer for what counts now."""
        approval = count.approval
        return cls(
            limit=limit.most_per_hour,
            revoked=len(count.revoked_at),
            approved=approval.revokes if approval is not None else 0,
            approved_until=approval.until if approval is not None else None,
            approved_by=approval.approved_by if approval is not None else None,
            room=limit.room(count),
        )


class Sweep(Answer):
    """The report of a sweep."""

    id: str
    started_at: Time
    finished_at: Time
    devices: Count
    drifted: dict[str, Count]
    onboarded: Count
    revoked: Count
    held: tuple[DeviceName, ...]
    approved: tuple[DeviceName, ...]
    unexplained: tuple[Orphan, ...] = Field(validation_alias="orphans")
    ledger_entries_removed: Count
    scope_maps_removed: Count
    scope_maps_unreferenced: Annotated[tuple[UnreferencedScopeMap, ...], BeforeValidator(_listed)]
    unread: tuple[str, ...]
    continues: SweepPosition | None
    complete_at: Time | None
