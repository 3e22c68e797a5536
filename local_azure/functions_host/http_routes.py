"""Route templates of HTTP triggers: literal segments and `{name}`, matched as ASP.NET Core does.

Literals are compared without case and go before parameters. An empty segment is a segment, but for
one at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


class InvalidRoute(Exception):
    """A template with a constraint, an optional or a catch-all parameter, or part of a segment."""


@dataclass(frozen=True)
class Route[T]:
    """The address of a function, without a leading slash. No methods means every method."""

    template: str
    methods: frozenset[str]
    target: T

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The values of the parameters when the template fits these segments."""
        segments = self.template.split("/")
        if len(segments) != len(parts):
            return None
        values: dict[str, str] = {}
        for segment, part in zip(segments, parts, strict=True):
            if (parameter := _PARAMETER.fullmatch(segment)) and part:
                values[parameter[1]] = part
            elif segment.lower() != part.lower():
                return None
        return values


class RouteTable[T]:
    """All routes of an app."""

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        """Raises InvalidRoute."""
        self._routes = sorted(routes, key=lambda route: _precedence(route.template))

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """The target of a request, by its decoded path, and the values of its parameters."""
        parts = path.removeprefix("/").removesuffix("/").split("/")
        for route in self._routes:
            if route.methods and method.upper() not in route.methods:
                continue
            values = route.match(parts)
            if values is not None:
                return route.target, values
        return None


def _precedence(template: str) -> list[bool]:
    """Templates that match the same path are tried in this order. Raises InvalidRoute."""
    segments = template.split("/")
    wrong = [s for s in segments if not _PARAMETER.fullmatch(s) and re.search("[{}]", s)]
    if wrong:
        raise InvalidRoute(f"{template}: {wrong[0]} is neither a literal nor a plain parameter")
    return [_PARAMETER.fullmatch(segment) is not None for segment in segments]
