"""Charts as shapes in numbers, which the templates draw as SVG without any style of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from firstpull.model.device_record import State
from firstpull.model.fleet_history import StateCounts

STACKED = (
    State.READY,
    State.DELIVERED,
    State.CONVERGING,
    State.PENDING,
    State.WAITING,
    State.REVOKING,
    State.BLOCKED,
)
"""The states of a bar and of the areas, in their order. Devices that are gone are in none."""
WIDTH, HEIGHT = 720, 250
LEFT, BOTTOM, TOP = 44, 24, 8
_TICKS = 4
_SPANS = tuple(timedelta(hours=hours) for hours in (6, 12, 24, 48, 96, 168, 336, 720))
_MOST_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a bar, in hundredths of its width."""

    state: State
    count: int
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Area:
    """The area of a state: the points of a polygon."""

    state: State
    points: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark at an axis."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class AreaChart:
    """Devices by state over time. `rows` are the same as figures, the latest first."""

    areas: tuple[Area, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    span: str
    rows: tuple[StateCounts, ...]


def bar(states: Mapping[State, int]) -> tuple[Part, ...]:
    """The states side by side, as shares of all devices that are not gone."""
    total = sum(states.get(state, 0) for state in STACKED)
    parts: list[Part] = []
    x = 0.0
    for state in STACKED:
        count = states.get(state, 0)
        if count:
            width = 100 * count / total
            parts.append(Part(state=state, count=count, x=round(x, 3), width=round(width, 3)))
            x += width
    return tuple(parts)


def area_chart(history: Sequence[StateCounts], now: StateCounts) -> AreaChart | None:
    """The chart of what sweeps have counted, up to now; None with nothing to compare."""
    earlier = sorted((c for c in history if c.at < now.at), key=lambda counts: counts.at)
    if not earlier:
        return None
    age = now.at - earlier[0].at
    span = next((each for each in _SPANS if age <= each), _SPANS[-1])
    points = [*earlier, now][-_MOST_POINTS:]
    most = _rounded_up(max(*map(_devices, points), 1))
    return AreaChart(
        areas=tuple(_areas(points, begin=now.at - span, span=span, most=most)),
        across=tuple(_across(now.at, span)),
        up=tuple(
            Tick(at=_y(most * n / _TICKS, most), label=f"{most * n // _TICKS:,}")
            for n in range(_TICKS + 1)
        ),
        span=_words(span),
        rows=tuple(points[::-1]),
    )


def _areas(
    points: Sequence[StateCounts], *, begin: datetime, span: timedelta, most: int
) -> list[Area]:
    below = [0] * len(points)
    areas: list[Area] = []
    xs = [LEFT + (WIDTH - LEFT) * max(p.at - begin, timedelta()) / span for p in points]
    for state in STACKED:
        above = [b + p.states.get(state, 0) for b, p in zip(below, points, strict=True)]
        if above != below:
            edge = [*zip(xs, above, strict=True), *zip(xs[::-1], below[::-1], strict=True)]
            corners = " ".join(f"{x:.1f},{_y(count, most):.1f}" for x, count in edge)
            areas.append(Area(state=state, points=corners))
        below = above
    return areas


def _devices(counts: StateCounts) -> int:
    return sum(counts.states.get(state, 0) for state in STACKED)


def _y(count: float, most: int) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * count / most, 1)


def _across(now: datetime, span: timedelta) -> list[Tick]:
    """Whole hours or days, about six of them."""
    step = next(s for s in _STEPS if span / s <= 8)
    first = now - (now - datetime(2026, 1, 1, tzinfo=UTC)) % step
    ticks: list[Tick] = []
    at = first
    while at > now - span:
        x = LEFT + (WIDTH - LEFT) * (at - (now - span)) / span
        if LEFT + 20 < x < WIDTH - 24:
            is_day = step >= timedelta(days=1) or at.hour == 0
            label = f"{at.day} {at:%b}" if is_day else f"{at:%H:%M}"
            ticks.append(Tick(at=round(x, 1), label=label))
        at -= step
    return ticks[::-1]


_STEPS = tuple(timedelta(hours=hours) for hours in (1, 2, 6, 12, 24, 48, 120))


def _rounded_up(count: int) -> int:
    """The next number that the ticks divide well."""
    step = 1
    while True:
        for nice in (4, 6, 8, 12, 16, 20, 24, 28, 36):
            if count <= nice * step and nice * step % _TICKS == 0:
                return nice * step
        step *= 10


def _words(span: timedelta) -> str:
    hours = span // timedelta(hours=1)
    return f"{hours} hours" if hours <= 24 else f"{span.days} days"
