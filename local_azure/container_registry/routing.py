"""Which operation a request asks for. Azure Resource Manager's paths have no case."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from local_azure.container_registry.models import Registry

REGISTRY_PATH = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.ContainerRegistry/registries/{registry}"
)

_CHILDREN = frozenset({"scopeMaps", "tokens", "connectedRegistries"})


@dataclass(frozen=True)
class ArmCall:
    """A request that has passed every check that is not the operation's own."""

    registry: Registry
    name: str  # of the child that the path names, or empty
    path: str
    query: Mapping[str, str]
    content: bytes
    caller: str


Handler = Callable[[ArmCall], Awaitable[web.Response]]


@dataclass(frozen=True)
class Route:
    """`path` is below the registry; `query` are the parameters it has besides api-version."""

    method: str
    path: str
    verb: str
    handler: Handler
    query: frozenset[str] = frozenset()

    @property
    def operation(self) -> str:
        """`tokens.createOrUpdate`, say."""
        return f"{self._child or 'registries'}.{self.verb}"

    @property
    def resource_type(self) -> str:
        """`registries` or `registries/tokens`, as errors name it."""
        return f"registries/{self._child}" if self._child else "registries"

    @property
    def _child(self) -> str:
        kind = self.path.split("/")[1] if self.path else ""
        return kind if kind in _CHILDREN else ""


@dataclass(frozen=True)
class Match:
    """A route, with what its path's variables stand for."""

    route: Route
    variables: Mapping[str, str]


class Router:
    """One table of routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(_segments(REGISTRY_PATH + route.path), route) for route in routes]

    def match(self, method: str, raw_path: str) -> Match | None:
        """The route of this method and path, if there is one."""
        return next((m for m in self._all(raw_path) if m.route.method == method), None)

    def knows_path(self, raw_path: str) -> bool:
        """Whether the path is served with any method."""
        return bool(self._all(raw_path))

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
