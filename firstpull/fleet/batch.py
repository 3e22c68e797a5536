"""Many onboarding requests at once: each row stands for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firstpull.fleet.sites import NOT_FOUND, UNKNOWN, Room, Sites, SitesView
from firstpull.intake.json_input import checked
from firstpull.intake.onboard import Onboarding
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FieldError, FirstpullError, Invalid, Transient
from firstpull.model.reasons import MEANING, Reason
from firstpull.observability.log import emit_crash
from firstpull.observability.log_events import LogEvent

MOST_ROWS = 1000
_AT_ONCE = 16
"""Rows that are recorded at the same time."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of a row: its record, or the error that refused it.

    Of a dry run, `place` is the connected registry that the device would get or has, and
    `finding` says why there is none.
    """

    record: DeviceRecord | None = None
    error: FirstpullError | None = None
    place: ConnectedRegistryRef | None = None
    finding: Reason | None = None


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Records or proposes many requests."""

    onboarding: Onboarding
    sites: Sites

    async def ask(self, documents: Sequence[Any], *, requested_by: str) -> tuple[Row, ...]:
        """Record each row's request, in no order. Raises Invalid for too many rows."""
        return await self._each(documents, requested_by=requested_by, dry_run=False)

    async def propose(
        self, documents: Sequence[Any], *, requested_by: str
    ) -> tuple[tuple[Row, ...], SitesView]:
        """What `ask` would do, row by row, and the room afterwards. Writes nothing.

        Devices that wait for room already are not counted.
        """
        rows = await self._each(documents, requested_by=requested_by, dry_run=True)
        places = _Places(await self.sites.view())
        return tuple(places.placed(row) for row in rows), places.view()

    async def _each(
        self, documents: Sequence[Any], *, requested_by: str, dry_run: bool
    ) -> tuple[Row, ...]:
        if not 1 <= len(documents) <= MOST_ROWS:
            error = FieldError("/devices", f"has {len(documents)} rows, not 1 to {MOST_ROWS}")
            raise Invalid("The batch is empty or too large.", errors=(error,))
        slots, seen = asyncio.Semaphore(_AT_ONCE), set[DeviceKey]()
        onboard = self.onboarding.propose if dry_run else self.onboarding.ask

        async def one(document: Any) -> Row:  # noqa: ANN401 - any JSON
            try:
                request = self._request(document, seen)
                async with slots:
                    return Row(record=await onboard(request, requested_by=requested_by))
            except FirstpullError as error:
                return Row(error=error)
            except Exception as error:
                emit_crash(LogEvent.ENDPOINT_REQUEST_CRASHED, error)
                reason = Reason.INTERNAL_ERROR
                return Row(error=Transient(reason, MEANING[reason]))

        return tuple(await asyncio.gather(*map(one, documents)))

    def _request(self, document: Any, seen: set[DeviceKey]) -> OnboardingRequest:  # noqa: ANN401
        """The request of a row. Raises Invalid, also for a device of an earlier row."""
        if not isinstance(document, dict):
            raise Invalid("The row is not a JSON object.")
        request = checked(OnboardingRequest, document)
        hub = self.onboarding.policy.hub(request.hub)
        if hub is not None:
            device = DeviceKey(hub=hub.host, device_id=request.device_id)
            if device in seen:
                error = FieldError("/deviceId", "is in an earlier row")
                raise Invalid("A batch names a device once.", errors=(error,))
            seen.add(device)
        return request


class _Places:
    """The room of all sites while rows take it, one after the other."""

    def __init__(self, view: SitesView) -> None:
        self._view = view
        rooms = (*view.others, *(room for site in view.sites for room in site.rooms))
        self._rooms = {room.ref: room for room in rooms}

    def placed(self, row: Row) -> Row:
        """The row with its place, which is taken from now on."""
        if row.record is None:
            return row
        grant = row.record.status.grant
        if grant is not None:
            return replace(row, place=grant.ref)
        candidates = row.record.spec.intent.candidates
        rooms = [self._rooms[ref] for ref in candidates if ref in self._rooms]
        room = next((room for room in rooms if room.free), None)
        if room is None:
            site = row.record.spec.intent.site
            return replace(row, finding=_why_none(rooms, by_site=site is not None))
        self._rooms[room.ref] = replace(room, ours=room.ours + 1)
        return replace(row, place=room.ref)

    def view(self) -> SitesView:
        """The room that is left."""
        return SitesView(
            sites=tuple(
                replace(site, rooms=tuple(self._now(site.rooms))) for site in self._view.sites
            ),
            others=tuple(self._now(self._view.others)),
        )

    def _now(self, rooms: Sequence[Room]) -> Iterator[Room]:
        return (self._rooms[room.ref] for room in rooms)


def _why_none(rooms: Sequence[Room], *, by_site: bool) -> Reason:
    states = {room.state for room in rooms}
    if UNKNOWN in states:
        return Reason.SERVICE_UNAVAILABLE
    if states <= {NOT_FOUND}:
        return Reason.CONNECTED_REGISTRY_NOT_FOUND
    return Reason.SITE_FULL if by_site else Reason.CONNECTED_REGISTRY_FULL
