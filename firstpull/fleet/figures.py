"""Counts the fleet: the states of its devices, and the room at its sites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from firstpull.fleet.sites import UNKNOWN, Room, SiteRoom, SitesView
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.fleet_figures import FleetFigures, RoomFigures, SiteFigures


class DeviceCount:
    """The states of devices, counted one by one."""

    def __init__(self, records: Iterable[DeviceRecord] = ()) -> None:
        self.states: Counter[State] = Counter(dict.fromkeys(State, 0))
        self.oldest_unacknowledged: datetime | None = None
        for record in records:
            self.add(record)

    def add(self, record: DeviceRecord) -> None:
        """Count one more device."""
        self.states[record.status.condition.state] += 1
        times = (self.oldest_unacknowledged, _unanswered_since(record))
        self.oldest_unacknowledged = min(filter(None, times), default=None)

    def figures(self, view: SitesView, *, at: datetime) -> FleetFigures:
        """All figures. Skips registries that did not answer: reporting 0 free would be wrong."""
        sites = (*view.sites, *(_alone(room) for room in view.others))
        rooms = {*view.others, *(room for site in view.sites for room in site.rooms)}
        return FleetFigures(
            at=at,
            states=dict(self.states),
            oldest_unacknowledged=self.oldest_unacknowledged,
            rooms=tuple(
                RoomFigures(
                    container_registry=room.ref.registry.name,
                    connected_registry=room.ref.name,
                    used=room.used,
                    free=room.free,
                )
                for room in rooms
                if room.state != UNKNOWN
            ),
            sites=tuple(
                SiteFigures(name=site.name, used=site.used, free=site.free)
                for site in sites
                if all(room.state != UNKNOWN for room in site.rooms)
            ),
        )


def _alone(room: Room) -> SiteRoom:
    """A connected registry in no site, as a site of its own with an unambiguous name."""
    return SiteRoom(name=str(room.ref), rooms=(room,))


def _unanswered_since(record: DeviceRecord) -> datetime | None:
    """The time of a delivery that its device has not acknowledged, else None."""
    if record.status.delivery is None or record.status.acknowledged_at is not None:
        return None
    if record.spec.revocation is not None:
        return None
    return record.status.delivery.at
