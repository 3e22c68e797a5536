"""Many requests at once: each row stands for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firstpull.fleet.sites import NOT_FOUND, UNKNOWN, Room, Sites, SitesView
from firstpull.intake.json_input import checked
from firstpull.intake.onboard import Onboarding
from firstpull.intake.requests import NamedDevice, OnboardingRequest
from firstpull.intake.revoke import Revoking
from firstpull.intake.rotate import Rotating
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
    revoking: Revoking
    rotating: Rotating
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

    async def revoke(
        self, documents: Sequence[Any], *, requested_by: str, dry_run: bool
    ) -> tuple[Row, ...]:
        """Record each row's revoke, as far as the limit of an hour lets it; or propose it."""
        seen, revoking = set[DeviceKey](), self.revoking

        async def record(document: Any) -> DeviceRecord:  # noqa: ANN401 - any JSON
            device = self._device(document, seen)
            return await revoking.revoke_within_limit(device, requested_by=requested_by)

        if not dry_run:
            return await _all(documents, record)
        take = await revoking.limit.rehearsal()

        async def propose(document: Any) -> DeviceRecord:  # noqa: ANN401 - any JSON
            device = self._device(document, seen)
            proposed, counts = await revoking.propose(device, requested_by=requested_by)
            if counts:
                take()
            return proposed

        return await _all(documents, propose)

    async def rotate(
        self, documents: Sequence[Any], *, immediately: bool, requested_by: str, dry_run: bool
    ) -> tuple[Row, ...]:
        """Record, or propose, that each row's password is replaced."""
        seen = set[DeviceKey]()
        rotate = self.rotating.propose if dry_run else self.rotating.rotate

        async def one(document: Any) -> DeviceRecord:  # noqa: ANN401 - any JSON
            device = self._device(document, seen)
            return await rotate(device, immediately=immediately, requested_by=requested_by)

        return await _all(documents, one)

    async def _each(
        self, documents: Sequence[Any], *, requested_by: str, dry_run: bool
    ) -> tuple[Row, ...]:
        seen = set[DeviceKey]()
        onboard = self.onboarding.propose if dry_run else self.onboarding.ask

        async def one(document: Any) -> DeviceRecord:  # noqa: ANN401 - any JSON
            return await onboard(self._request(document, seen), requested_by=requested_by)

        return await _all(documents, one)

    def _request(self, document: Any, seen: set[DeviceKey]) -> OnboardingRequest:  # noqa: ANN401
        """The request of a row. Raises Invalid, also for a device of an earlier row."""
        request = checked(OnboardingRequest, _object(document))
        hub = self.onboarding.policy.hub(request.hub)
        if hub is not None:
            _once(DeviceKey(hub=hub.host, device_id=request.device_id), seen)
        return request

    def _device(self, document: Any, seen: set[DeviceKey]) -> DeviceKey:  # noqa: ANN401
        """The device of a row. Raises Invalid, also for a device of an earlier row."""
        named = checked(NamedDevice, _object(document))
        device = self.onboarding.device(named.device_id, hub=named.hub)
        _once(device, seen)
        return device


async def _all(
    documents: Sequence[Any], work: Callable[[Any], Awaitable[DeviceRecord]]
) -> tuple[Row, ...]:
    """What becomes of each document, a few at a time, so that none stops another."""
    if not 1 <= len(documents) <= MOST_ROWS:
        error = FieldError("/devices", f"has {len(documents)} rows, not 1 to {MOST_ROWS}")
        raise Invalid("The batch is empty or too large.", errors=(error,))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(document: Any) -> Row:  # noqa: ANN401 - any JSON
        try:
            async with slots:
                return Row(record=await work(document))
        except FirstpullError as error:
            return Row(error=error)
        except Exception as error:
            emit_crash(LogEvent.ENDPOINT_REQUEST_CRASHED, error)
            reason = Reason.INTERNAL_ERROR
            return Row(error=Transient(reason, MEANING[reason]))

    return tuple(await asyncio.gather(*map(one, documents)))


def _object(document: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(document, dict):
        raise Invalid("The row is not a JSON object.")
    return document


def _once(device: DeviceKey, seen: set[DeviceKey]) -> None:
    if device in seen:
        error = FieldError("/deviceId", "is in an earlier row")
        raise Invalid("A batch names a device once.", errors=(error,))
    seen.add(device)


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
