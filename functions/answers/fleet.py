"""Sites and sweeps as the HTTP API shows them."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from firstpull.fleet import sites as fleet
from firstpull.model.sweep_report import Kind, SweepReport
from functions.answers.base import Answer, Count, DeviceName, Time


class Room(Answer):
    """How full a connected registry is. `leaving` are among `ours`."""

    connected_registry: str
    container_registry: str
    capacity: Count
    used: Count
    ours: Count
    leaving: Count
    foreign: Count
    free: Count
    state: str | None = None
    last_sync: Time | None = None
    address: str | None = None

    @classmethod
    def of(cls, room: fleet.Room) -> Self:
        """The answer for a connected registry's room."""
        return cls(
            connected_registry=room.ref.name,
            container_registry=room.ref.registry.name,
            capacity=room.capacity,
            used=room.used,
            ours=room.ours,
            leaving=room.retiring,
            foreign=room.foreign,
            free=room.free,
            state=room.state,
            last_sync=room.last_sync_at,
            address=room.address,
        )


class Site(Answer):
    """How full a site is. Its connected registries are filled in this order."""

    name: str
    used: Count
    free: Count
    connected_registries: tuple[Room, ...]

    @classmethod
    def of(cls, site: fleet.SiteRoom) -> Self:
        """The answer for a site's room."""
        return cls(
            name=site.name,
            used=site.used,
            free=site.free,
            connected_registries=tuple(Room.of(room) for room in site.rooms),
        )


class Sites(Answer):
    """All sites, and the connected registries that are in none."""

    sites: tuple[Site, ...]
    connected_registries: tuple[Room, ...]

    @classmethod
    def of(cls, view: fleet.SitesView) -> Self:
        """The answer for all that the policy lists."""
        return cls(
            sites=tuple(Site.of(site) for site in view.sites),
            connected_registries=tuple(Room.of(room) for room in view.others),
        )


class Orphan(Answer):
    """Something of this deployment that no record names."""

    kind: Kind
    name: str
    where: str


class UnreferencedScopeMap(Answer):
    """A scope map of this deployment, by its ARM id, and since when nothing refers to it."""

    id: str
    since: Time


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
    orphans: tuple[Orphan, ...] = Field(serialization_alias="unexplained")
    ledger_entries_removed: Count
    scope_maps_removed: Count
    scope_maps_unreferenced: tuple[UnreferencedScopeMap, ...]
    unread: tuple[str, ...]
    complete_at: Time | None = None

    @classmethod
    def of(cls, report: SweepReport) -> Self:
        """The answer for a report."""
        return cls(
            id=report.id,
            started_at=report.started_at,
            finished_at=report.finished_at,
            devices=report.devices,
            drifted=dict(report.drifted),
            onboarded=report.onboarded,
            revoked=report.revoked,
            held=tuple(DeviceName.from_fields(device) for device in report.held),
            approved=tuple(DeviceName.from_fields(device) for device in report.approved),
            orphans=tuple(Orphan.from_fields(orphan) for orphan in report.orphans),
            ledger_entries_removed=report.ledger_entries_removed,
            scope_maps_removed=report.scope_maps_removed,
            scope_maps_unreferenced=tuple(
                UnreferencedScopeMap(id=str(scope_map), since=since)
                for scope_map, since in report.scope_maps_unreferenced.items()
            ),
            unread=report.unread,
            complete_at=report.complete_at,
        )
