"""Which operation a request asks for. Azure Resource Manager's paths have no case."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web


@dataclass(frozen=True)
class ArmCall:
    """A request that has passed every check that is not the operation's own.

    `variables` are what the route's `{names}` stand for; `caller` is empty for an anonymous one.
    """

    path: str
    variables: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes
    caller: str

    @property
    def api_version(self) -> str:
        """One of the route's."""
        return self.query["api-version"]


Handler = Callable[[ArmCall], Awaitable[web.Response]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """`query` are the parameters that it has besides api-version.

    `{subscription}` and `{group}` in a path have to exist. An empty `resource_type` is for what
    is Azure Resource Manager's own; `registries/tokens`, say, is a provider's. `action` is what
    the caller's roles have to give; one without asks for nothing that is anybody's.
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
    """A route, with what its path's variables stand for."""

    route: Route
    variables: Mapping[str, str]


class Router:
    """One table of routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(_segments(route.path), route) for route in routes]

    def match(self, method: str, raw_path: str) -> Match | None:
        """The route of this method and path, if there is one."""
        return next((m for m in self._all(raw_path) if m.route.method == method), None)

    def knows_path(self, raw_path: str) -> bool:
        """Whether the path is served with any method."""
        return bool(self._all(raw_path))

    def api_versions_of(self, namespace: str) -> list[str]:
        """All that a provider is served in; none for a provider that is not served."""
        return sorted(
            {
                version
                for _, route in self._routes
                if route.namespace.lower() == namespace.lower()
                for version in route.api_versions
            }
        )

    def _all(self, raw_path: str) -> list[Match]:
        segments = _segments(raw_path)
        found = [(route, _variables(template, segments)) for template, route in self._routes]
        return [Match(route, variables) for route, variables in found if variables is not None]


def _segments(path: str) -> list[str]:
    return [unquote(segment) for segment in path.split("/")]


def _variables(template: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    variables = {}
    for wanted, given in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            variables[wanted.strip("{}")] = given
        elif wanted.lower() != given.lower():
            return None
    return variables
