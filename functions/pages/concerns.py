"""What in the fleet needs a person, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from firstpull.fleet.overview import Around, FleetNow, Overview
from firstpull.fleet.sites import NOT_FOUND, UNKNOWN, Room, SitesView
from firstpull.model.device_record import State
from firstpull.model.reasons import MEANING, Reason

_NEARLY_FULL = 0.1
_NAMED = 5
_SWEEP_IS_LATE = timedelta(hours=3)


@dataclass(frozen=True, kw_only=True)
class Concern:
    """What is wrong, what to do about it, and where on this page there is more."""

    what: str
    do: str
    query: str | None = None
    anchor: str | None = None
    is_urgent: bool = True


def concerns(overview: Overview) -> tuple[Concern, ...]:
    """All of them."""
    found = [*_of_devices(overview.now), *_of_sites(overview.around), *_of_sweeps(overview.around)]
    found += [
        Concern(what=what, do="Try again in a while; then ask `firstpull doctor`.", is_urgent=False)
        for what in overview.around.unread
    ]
    return tuple(sorted(found, key=lambda concern: not concern.is_urgent))


def all_rooms(view: SitesView) -> tuple[Room, ...]:
    """Every connected registry of the policy once."""
    rooms = [*(room for site in view.sites for room in site.rooms), *view.others]
    return tuple({room.ref: room for room in rooms}.values())


def is_nearly_full(rooms: Sequence[Room]) -> bool:
    """Whether a site takes hardly any more client. Its connected registries are filled in turn."""
    known = [room for room in rooms if room.state not in (NOT_FOUND, UNKNOWN)]
    capacity = sum(room.capacity for room in known)
    return bool(capacity) and sum(room.free for room in known) <= capacity * _NEARLY_FULL


def _of_devices(now: FleetNow) -> Iterator[Concern]:
    for trouble in now.troubles:
        condition = trouble.longest.status.condition
        is_reported = trouble.reason is Reason.DEVICE_REPORTS_FAILURE
        if trouble.state is State.BLOCKED or is_reported:
            yield Concern(
                what=f"{_devices(trouble.devices)} blocked: {trouble.reason}"
                if not is_reported
                else f"{_devices(trouble.devices)} cannot log in",
                do=condition.remedy or MEANING[trouble.reason],
                query=urlencode({"state": trouble.state.value, "reason": trouble.reason.value}),
            )
    if now.summary.unreadable:
        yield Concern(
            what=f"{now.summary.unreadable} damaged records",
            do="Make them again: firstpull rebuild",
        )
    for warned in now.warned:
        yield Concern(
            what=f"{_devices(warned.devices)} warned: {warned.reason}",
            do=warned.message,
            is_urgent=False,
        )


def _of_sites(around: Around) -> Iterator[Concern]:
    if around.sites is not None:
        tight = [site.name for site in around.sites.sites if is_nearly_full(site.rooms)]
        tight += [room.ref.name for room in around.sites.others if is_nearly_full((room,))]
        if tight:
            yield Concern(
                what=f"{_names(tight)} {'is' if len(tight) == 1 else 'are'} nearly full",
                do="Deploy one more connected registry there, and add it to the policy.",
                anchor="sites",
                is_urgent=False,
            )
    rooms = all_rooms(around.sites) if around.sites is not None else ()
    named = {
        "is not there": [room for room in rooms if room.state == NOT_FOUND],
        "is offline": [room for room in rooms if room.state in ("Offline", "Unhealthy")],
    }
    todo = {
        "is not there": "Deploy it, or take it out of the policy.",
        "is offline": "Its devices pull what it has; no change reaches them until it syncs.",
    }
    for what, found in named.items():
        if found:
            several = f"{len(found)} connected registries {what.replace('is ', 'are ', 1)}"
            yield Concern(
                what=f"{found[0].ref.name} {what}" if len(found) == 1 else several,
                do=todo[what],
                anchor="sites",
                is_urgent=what == "is not there",
            )


def _of_sweeps(around: Around) -> Iterator[Concern]:
    sweep = around.sweep
    if around.kept_messages:
        yield Concern(
            what=f"{around.kept_messages} rejected messages", do="Look: firstpull poison list"
        )
    if sweep is None:
        return
    if sweep.held:
        yield Concern(
            what=f"{_devices(len(sweep.held))} gone from the hub, held by the sweep",
            do="Look, then approve: firstpull sweep show",
        )
    if around.at - sweep.finished_at > _SWEEP_IS_LATE:
        yield Concern(
            what="The sweep is late", do="Drift is not noticed meanwhile. Ask: firstpull doctor"
        )
    if sweep.unread:
        yield Concern(
            what=f"The sweep could not read {len(sweep.unread)} sources",
            do=sweep.unread[0],
            is_urgent=False,
        )


def _devices(count: int) -> str:
    return f"{count:,} device{'' if count == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}"
