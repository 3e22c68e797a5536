"""Charts as SVG, readable on a light and on a dark page.

Written by hand: three kinds of bars need no plotting library, and a change of a figure changes few
lines of a file that is under version control.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = {
    "arm": "#0969da",
    "keyVault": "#bf8700",
    "iotHub": "#1a7f37",
    "storage": "#8c959f",
    "operation": "#cfe3fb",
    "firstpull": "#0969da",
    "other": "#8c959f",
    "floor": "#d1242f",
}
_NAMES = {
    "arm": "Azure Resource Manager",
    "operation": "its operation",
    "keyVault": "Key Vault",
    "iotHub": "IoT Hub",
    "storage": "storage",
}
_WIDTH = 900
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_TEXT, _MUTED, _GRID = "#1f2328", "#59636e", "#d8dee4"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row of a waterfall: a label, whose calls, and from when to when, in seconds."""

    label: str
    service: str
    pieces: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A row of a bar chart. `text` stands behind the bar."""

    label: str
    value: float
    text: str
    is_ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart, by points."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: str = "firstpull"
    is_dashed: bool = False


def waterfall(bars: Sequence[Bar], *, title: str, ends_at: float, floor: float) -> str:
    """Rows in the order of their begin. Dashed lines mark the end, and where it could be."""
    left, top, row = 230, 92, 22
    height = top + row * len(bars) + 44
    most = max(ends_at, *(piece[1] for bar in bars for piece in bar.pieces))
    step = 0.5 if most <= 6 else 1.0
    scale = (_WIDTH - left - 110) / (math.ceil(most / step) * step)
    bottom = top + row * len(bars)
    parts = [_text(20, 30, title, size=16, weight=600)]
    parts += _legend([bar.service for bar in bars], y=54)
    for number in range(math.ceil(most / step) + 1):
        x = left + number * step * scale
        parts.append(_line(x, top - 8, x, bottom + 4, _GRID))
        parts.append(_text(x, bottom + 20, f"{number * step:g} s", anchor="middle", muted=True))
    for number, bar in enumerate(bars):
        y = top + row * number
        parts.append(_text(left - 10, y + 13, bar.label, anchor="end"))
        for began, ended in bar.pieces:
            width = max((ended - began) * scale, 1.5)
            parts.append(_rect(left + began * scale, y + 3, width, row - 8, _COLOURS[bar.service]))
        if len(bar.pieces) == 1:
            began, ended = bar.pieces[0]
            x = left + ended * scale + 5
            parts.append(_text(x, y + 13, f"{ended - began:.2f}", size=11, muted=True))
    for at, text, colour in (
        (floor, f"floor {floor:.2f} s", _MUTED),
        (ends_at, f"delivered {ends_at:.2f} s", _COLOURS["floor"]),
    ):
        x = left + at * scale
        parts.append(_line(x, top - 14, x, bottom + 4, colour, dashed=True))
        anchor = "end" if at == floor else "start"
        away = -6 if at == floor else 6
        parts.append(_text(x + away, top - 10, text, anchor=anchor, colour=colour))
    return _document(height, parts, title=title)


def bars(groups: Sequence[tuple[str, Sequence[Value]]], *, title: str) -> str:
    """Horizontal bars, in groups that have a scale each."""
    left, row = 230, 26
    parts, y = [_text(20, 30, title, size=16, weight=600)], 58
    for heading, values in groups:
        parts.append(_text(20, y + 4, heading, weight=600))
        y += 14
        most = max(value.value for value in values)
        for value in values:
            width = max(value.value / most * (_WIDTH - left - 190), 2)
            colour = _COLOURS["firstpull" if value.is_ours else "other"]
            parts.append(_text(left - 10, y + 17, value.label, anchor="end"))
            parts.append(_rect(left, y + 4, width, row - 8, colour))
            parts.append(_text(left + width + 8, y + 17, value.text, muted=not value.is_ours))
            y += row
        y += 26
    return _document(y - 6, parts, title=title)


def lines(drawn: Sequence[Line], *, title: str, across: str, up: str) -> str:
    """Lines over a grid, both axes from zero."""
    left, top, right, height = 70, 76, 30, 360
    bottom = height - 54
    widest = _round_up(max(point[0] for line in drawn for point in line.points))
    highest = _round_up(max(point[1] for line in drawn for point in line.points))
    parts = [_text(20, 30, title, size=16, weight=600)]
    for number in range(6):
        x = left + (_WIDTH - left - right) * number / 5
        y = bottom - (bottom - top) * number / 5
        parts.append(_line(x, top, x, bottom, _GRID))
        parts.append(_line(left, y, _WIDTH - right, y, _GRID))
        parts.append(_text(x, bottom + 18, f"{widest * number / 5:g}", anchor="middle", muted=True))
        parts.append(_text(left - 8, y + 4, f"{highest * number / 5:g}", anchor="end", muted=True))
    parts.append(_text(_WIDTH - right, bottom + 38, across, anchor="end", muted=True))
    parts.append(_text(20, top - 14, up, muted=True))
    for number, line in enumerate(drawn):
        points = " ".join(
            f"{left + x / widest * (_WIDTH - left - right):.1f},"
            f"{bottom - y / highest * (bottom - top):.1f}"
            for x, y in line.points
        )
        dashes = ' stroke-dasharray="5 4"' if line.is_dashed else ""
        colour = _COLOURS[line.colour]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        x = 330 + 280 * number
        parts.append(
            f'<line x1="{x}" y1="{top - 18}" x2="{x + 26}" y2="{top - 18}" stroke="{colour}" '
            f'stroke-width="2"{dashes}/>'
        )
        parts.append(_text(x + 34, top - 14, line.label))
    return _document(height, parts, title=title)


def _round_up(value: float) -> float:
    """The next value whose fifths are short."""
    magnitude = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 8, 10)
    return float(next(step for step in steps if step * magnitude >= value) * magnitude)


def _legend(services: Sequence[str], *, y: float) -> list[str]:
    parts, x = [], 20.0
    for service, name in _NAMES.items():
        if service in services:
            parts.append(_rect(x, y - 10, 12, 12, _COLOURS[service]))
            parts.append(_text(x + 18, y, name, muted=True))
            x += 40 + 7.2 * len(name)
    return parts


def _document(height: float, parts: Sequence[str], *, title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" '
        f'width="{_WIDTH}" height="{height:g}" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{_WIDTH}" height="{height:g}" rx="8" fill="#ffffff" stroke="{_GRID}"/>\n'
        f"{body}\n</svg>\n"
    )


def _text(  # noqa: PLR0913 - attributes of SVG
    x: float,
    y: float,
    text: str,
    *,
    size: float = 12,
    anchor: str = "start",
    weight: int = 400,
    muted: bool = False,
    colour: str | None = None,
) -> str:
    fill = colour or (_MUTED if muted else _TEXT)
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" '
        f'style="{_FONT};font-size:{size:g}px;font-weight:{weight}">{escape(text)}</text>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="2" fill="{fill}"/>'
    )


def _line(
    x: float, y: float, to_x: float, to_y: float, stroke: str, *, dashed: bool = False
) -> str:
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{stroke}"{dashes}/>'
    )
