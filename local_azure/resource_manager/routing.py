"""The routes of Azure Resource Manager, whose paths have no case."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web


@dataclass(frozen=True)
class ArmCall:
    """The input of an operation, after the checks that all operations share.

    `variables`: the values of the route's `{names}`. `caller` is empty for an anonymous request.
    """

    path: str
    variables: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes
    caller: str

    @property
    def api_version(self) -> str:
        """One of the route's api-versions."""
        return self.query["api-version"]


Handler = Callable[[ArmCall], Awaitable[web.Response]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    `query`: its parameters besides api-version. `{subscription}` and `{group}` in a path must
    exist. `resource_type`: `registries/tokens`, say; empty for Azure Resource Manager's own
    operations. `action`: the permission that it needs, empty for none.
    """

    method: str
    path: str
    operation: str
    handler: Handler
    api_versions: tuple[str, ...]
    namespace: str = ""
    resource_type: str = ""
    action: str = ""
    query: frozenset[str] = frozenset()
    anonymous: bool = False


@dataclass(frozen=True)
class Match:
    """A route and the values of the variables in its path."""

    route: Route
    variables: Mapping[str, str]


class Router:
    """One table of routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes: dict[int, list[tuple[list[str], Route]]] = {}
        """By the number of segments in their paths."""
        for route in routes:
            template = _segments(route.path)
            self._routes.setdefault(len(template), []).append((template, route))

    def match(self, method: str, raw_path: str) -> Match | None:
        """The route of this method and path, if there is one."""
        return next((m for m in self._all(raw_path) if m.route.method == method), None)

    def knows_path(self, raw_path: str) -> bool:
        """Whether any method is served at the path."""
        return bool(self._all(raw_path))

    def api_versions_of(self, namespace: str) -> list[str]:
        """The api-versions of a provider; none for an unknown provider."""
        return sorted(
            {
                version
                for alike in self._routes.values()
                for _, route in alike
                if route.namespace.lower() == namespace.lower()
                for version in route.api_versions
            }
        )

    def _all(self, raw_path: str) -> list[Match]:
        segments = _segments(raw_path)
        alike = self._routes.get(len(segments), ())
        found = [(route, _variables(template, segments)) for template, route in alike]
        return [Match(route, variables) for route, variables in found if variables is not None]


def _segments(path: str) -> list[str]:
    # azure-cli writes two slashes where a resource has no parent.
    return [unquote(segment) for segment in re.sub("/{2,}", "/", path).split("/")]


def _variables(template: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    variables = {}
    for wanted, given in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            variables[wanted.strip("{}")] = given
        elif wanted.lower() != given.lower():
            return None
    return variables
