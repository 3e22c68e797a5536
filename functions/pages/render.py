"""Pages of templates and values. Every value is escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from firstpull.fleet.overview import LATELY, Overview
from firstpull.fleet.sites import NOT_FOUND, UNKNOWN
from firstpull.model.device_record import State
from firstpull.model.fleet_history import StateCounts
from firstpull.model.reasons import MEANING
from functions.answers.devices import Device, DeviceList
from functions.answers.messages import Problem
from functions.endpoints import ROUTE_PREFIX
from functions.pages import charts
from functions.pages.concerns import all_rooms, concerns, is_nearly_full

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
ADDRESS = f"{ROUTE_PREFIX}/fleet"
_LIVE_SECONDS = 5
_CALM_SECONDS = 30
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What all pages have around them. `refresh` is for browsers without JavaScript."""

    deployment: str
    viewer: str
    can_sign_out: bool
    now: datetime
    refresh: str | None = None


def overview_page(overview: Overview, frame: Frame) -> str:
    """The fleet at a glance."""
    now, around = overview.now, overview.around
    summary = now.summary
    history = around.sweep.history if around.sweep is not None else ()
    states = {state: count for state, count in summary.states.items() if count}
    latest = StateCounts(at=summary.at, states=states)
    is_busy = now.under_way.left > 0
    return _render(
        "overview.html",
        frame,
        fleet=now,
        around=around,
        summary=summary,
        concerns=concerns(overview),
        states=[(state, summary.states.get(state, 0)) for state in State],
        bar=charts.bar(summary.states),
        chart=charts.area_chart(history, latest),
        rooms=all_rooms(around.sites) if around.sites is not None else (),
        is_nearly_full=is_nearly_full,
        lately=int(LATELY / timedelta(minutes=1)),
        every=_LIVE_SECONDS if is_busy else _CALM_SECONDS,
    )


def devices_page(devices: DeviceList, filters: Mapping[str, str], frame: Frame) -> str:
    """A page of devices."""
    return _render(
        "devices.html", frame, devices=devices, filters=filters, states=State, every=_CALM_SECONDS
    )


def device_page(device: Device, frame: Frame) -> str:
    """One device, with its timeline."""
    return _render("device.html", frame, device=device, every=_LIVE_SECONDS)


def problem_page(problem: Problem, frame: Frame) -> str:
    """What stands in the way of a page."""
    return _render("problem.html", frame, problem=problem, every=0)


def sign_in_page(*, is_wrong: bool, has_keys: bool, entra: str | None) -> str:
    """The form that asks for a key, or the way to sign in with Entra."""
    page = _environment().get_template("sign-in.html")
    return page.render(is_wrong=is_wrong, has_keys=has_keys, entra=entra, every=0)


@cache
def asset(name: str) -> bytes:
    """A style sheet or script."""
    return (HERE / "assets" / name).read_bytes()


@cache
def _asset_address(name: str) -> str:
    """It changes with the content, so that browsers may keep that."""
    digest = hashlib.sha256(asset(name)).hexdigest()[:16]
    return f"{ADDRESS}/{name}?v={digest}"


def _render(template: str, frame: Frame, **values: Any) -> str:  # noqa: ANN401 - what it shows
    page = _environment().get_template(template)
    return page.render(frame=frame, ago=partial(_ago, frame.now), **values)


@cache
def _environment() -> Environment:
    # Here, because a host needs no template until somebody looks.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        address=ADDRESS,
        asset=_asset_address,
        link=_link,
        meaning=MEANING,
        unknown_states=(NOT_FOUND, UNKNOWN),
        width=charts.WIDTH,
        height=charts.HEIGHT,
        left=charts.LEFT,
        bottom=charts.BOTTOM,
        stacked=charts.STACKED,
    )
    environment.filters.update(
        number=lambda count: f"{count:,}",
        iso=lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        clock=lambda at: at.astimezone(UTC).strftime("%H:%M:%S"),
        day=lambda at: at.astimezone(UTC).strftime("%Y-%m-%d"),
        event=_event,
        kind=_kind,
    )
    return environment


def _link(**query: str | None) -> str:
    """The address of the page with these parameters."""
    given = {name: value for name, value in query.items() if value}
    return f"{ADDRESS}?{urlencode(given)}" if given else ADDRESS


def _ago(now: datetime, at: datetime) -> str:
    """How long ago, or in how long, in its largest unit."""
    seconds = (now - at).total_seconds()
    size, unit = next((u for u in _UNITS if abs(seconds) >= u[0]), _UNITS[-1])
    count = f"{abs(seconds) // size:.0f} {unit}"
    return f"{count} ago" if seconds >= 0 else f"in {count}"


def _event(name: str) -> str:
    """An event's name in words."""
    words = name.removeprefix("device.").removeprefix("reconcile.")
    return words.replace(".", " ").replace("_", " ")


def _kind(name: str) -> str:
    """What an event is to the eye: done, wrong, asked for, or a step."""
    if name.endswith((".blocked", ".refused", ".found", ".raised")):
        return "bad"
    if name.endswith((".ready", ".delivered", ".acknowledged", ".revoked")):
        return "good"
    return "asked" if name.endswith(".recorded") else "step"
