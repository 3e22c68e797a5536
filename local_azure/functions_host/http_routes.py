"""Route templates of HTTP triggers, matched as ASP.NET Core matches them.

Literals are compared without case and go before parameters; a value is percent-decoded once,
and an encoded slash stays encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote
from uuid import UUID

_PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)((?::[A-Za-z]+(?:\([^()]*\))?)*)(\??)\}")
_CONSTRAINT = re.compile(r":([A-Za-z]+)(?:\(([^()]*)\))?")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")

Check = Callable[[str], bool]


class InvalidRoute(Exception):
    """A route template that this host cannot serve."""


@dataclass(frozen=True)
class _Segment:
    """One part of a template between slashes. `rank` orders templates: the least goes first."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    checks: tuple[tuple[str, Check], ...]
    optional: bool
    catch_all: bool
    rank: int

    def match(self, text: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = dict(zip(self.names, found.groups(), strict=True))
        return values if all(check(values[name]) for name, check in self.checks) else None


@dataclass(frozen=True)
class RouteTemplate:
    """A parsed template, without a leading slash."""

    text: str
    segments: tuple[_Segment, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRoute."""
        segments = tuple(_segment(part) for part in text.strip("/").split("/") if part)
        if any(segment.optional or segment.catch_all for segment in segments[:-1]):
            raise InvalidRoute(f"{text}: only the last segment may be optional or take the rest")
        return cls(text, segments)

    @property
    def precedence(self) -> tuple[int, ...]:
        """Templates that match the same path are tried in this order."""
        return tuple(segment.rank for segment in self.segments)

    def match(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """The values of the parameters when this template fits a path split by `split_path`."""
        last = self.segments[-1] if self.segments else None
        if last is not None and last.catch_all and len(parts) >= len(self.segments) - 1:
            head, rest = parts[: len(self.segments) - 1], parts[len(self.segments) - 1 :]
            parts = (*head, "/".join(rest))
        elif last is not None and last.optional and len(parts) == len(self.segments) - 1:
            return self._match_all(self.segments[:-1], parts)
        return self._match_all(self.segments, parts)

    @staticmethod
    def _match_all(segments: tuple[_Segment, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
        if len(segments) != len(parts):
            return None
        values: dict[str, str] = {}
        for segment, part in zip(segments, parts, strict=True):
            found = segment.match(part)
            if found is None:
                return None
            values |= found
        return values


@dataclass(frozen=True)
class Route[T]:
    """Where a function is called. No methods means every method."""

    template: RouteTemplate
    methods: frozenset[str]
    target: T


class RouteTable[T]:
    """All routes of an app."""

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self._routes = sorted(routes, key=lambda route: route.template.precedence)

    def find(self, method: str, raw_path: str) -> tuple[T, dict[str, str]] | None:
        """The target of a request and the values of its route parameters."""
        parts = split_path(raw_path)
        for route in self._routes:
            if route.methods and method.upper() not in route.methods:
                continue
            values = route.template.match(parts)
            if values is not None:
                return route.target, values
        return None


def split_path(raw_path: str) -> tuple[str, ...]:
    """The decoded segments of a path as it stood in the request line."""
    return tuple(_decode(part) for part in raw_path.strip("/").split("/") if part)


def _decode(part: str) -> str:
    return unquote(re.sub("%2f", "%252F", part, flags=re.IGNORECASE))


def _segment(text: str) -> _Segment:
    parameters = list(_PARAMETER.finditer(text))
    literals = _PARAMETER.split(text)[:: _PARAMETER.groups + 1]
    if any(brace in literal for literal in literals for brace in "{}"):
        raise InvalidRoute(f"{text}: not a parameter that this host can match")
    catch_all = any(p[1] for p in parameters)
    optional = any(p[4] for p in parameters)
    if (catch_all or optional) and (len(parameters) > 1 or any(literals)):
        raise InvalidRoute(f"{text}: such a parameter needs a segment of its own")
    group = "(.*)" if catch_all else "(.+?)"
    checks = tuple((p[2], check) for p in parameters for check in _checks(p[3]))
    return _Segment(
        pattern=re.compile(group.join(map(re.escape, literals)), re.IGNORECASE | re.DOTALL),
        names=tuple(p[2] for p in parameters),
        checks=checks,
        optional=optional,
        catch_all=catch_all,
        rank=_rank(
            parameters=bool(parameters),
            mixed=any(literals),
            constrained=bool(checks),
            catch_all=catch_all,
        ),
    )


def _rank(*, parameters: bool, mixed: bool, constrained: bool, catch_all: bool) -> int:
    if not parameters:
        return 1
    if mixed:
        return 2
    return 3 + (not constrained) + 2 * catch_all


def _checks(text: str) -> list[Check]:
    return [_check(match[1].lower(), match[2]) for match in _CONSTRAINT.finditer(text)]


def _check(name: str, argument: str | None) -> Check:
    bounds = [int(part) for part in (argument or "").split(",") if part.strip().isdigit()]
    if name in _SIMPLE_CHECKS and argument is None:
        return _SIMPLE_CHECKS[name]
    if name in ("length", "range") and len(bounds) in ((1, 2) if name == "length" else (2,)):
        least, most = bounds[0], bounds[-1]
        return lambda text: least <= _measure(name, text) <= most
    if name in ("minlength", "min") and len(bounds) == 1:
        return lambda text: _measure(name, text) >= bounds[0]
    if name in ("maxlength", "max") and len(bounds) == 1:
        return lambda text: _measure(name, text) <= bounds[0]
    raise InvalidRoute(f"the route constraint {name} is not known here")


def _measure(name: str, text: str) -> float:
    """What a bound is compared with: the length, or the value (not a number: outside any)."""
    if "length" in name:
        return len(text)
    return int(text) if _is_whole(text) else float("nan")


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text, re.ASCII) is not None


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


_SIMPLE_CHECKS: dict[str, Check] = {
    "alpha": lambda text: re.fullmatch("[A-Za-z]*", text) is not None,
    "bool": lambda text: text.lower() in ("true", "false"),
    "decimal": lambda text: _NUMBER.fullmatch(text) is not None,
    "double": lambda text: _NUMBER.fullmatch(text) is not None,
    "float": lambda text: _NUMBER.fullmatch(text) is not None,
    "guid": _is_guid,
    "int": lambda text: _is_whole(text) and -(2**31) <= int(text) < 2**31,
    "long": lambda text: _is_whole(text) and -(2**63) <= int(text) < 2**63,
    "required": bool,
}
