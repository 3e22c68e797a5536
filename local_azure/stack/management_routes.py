"""The management port's routes for connected registries, and for what Azure Policy changes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from aiohttp import web
from pydantic import Field

from local_azure.container_registry.backends import SyncOverride
from local_azure.container_registry.models import CloudSettings, OperationLengths
from local_azure.kernel.clock import wire_time
from local_azure.management import Body, read_body
from local_azure.management.json_input import DurationBody
from local_azure.stack.options import ConnectedRegistryOptions
from local_azure.stack.sites import Site, Sites


class SyncScheduleBody(Body):
    """Seconds between two syncs; null syncs on request only."""

    every_seconds: Annotated[float, Field(gt=0)] | None


class DeployBody(Body):
    """A connected registry to deploy."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9]{4,39}$")]
    repositories: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "hello-world",
        "sensor-gateway",
    )
    sync_every_seconds: Annotated[float, Field(gt=0)] | None = 3.0
    insecure: bool = False
    max_clients: Annotated[int, Field(ge=1)] = 50


class SiteRoutes:
    """Show, sync, disconnect and deploy connected registries."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        one = "/connectedRegistries/{name}"
        return [
            web.route("GET", "/connectedRegistries", self.list),
            web.route("POST", "/connectedRegistries", self.deploy),
            web.route("GET", one, self.show),
            web.route("POST", f"{one}/sync", self.sync),
            web.route("PUT", f"{one}/syncSchedule", self.set_schedule),
            web.route("POST", f"{one}/offline", self.go_offline),
            web.route("POST", f"{one}/online", self.go_online),
        ]

    async def list(self, _: web.Request) -> web.Response:
        """The connected registries with endpoint, last sync and synced clients."""
        return web.json_response({"connectedRegistries": [_view(s) for s in self._sites.all()]})

    async def show(self, request: web.Request) -> web.Response:
        """One connected registry."""
        return web.json_response(_view(self._site(request)))

    async def deploy(self, request: web.Request) -> web.Response:
        """Deploys one: {"name", "repositories", "syncEverySeconds", "insecure", "maxClients"}."""
        body = await read_body(request, DeployBody)
        if self._sites.get(body.name) is not None:
            raise web.HTTPConflict(reason="there is one of this name")
        site = await self._sites.deploy(ConnectedRegistryOptions(**body.model_dump()))
        return web.json_response(_view(site), status=201)

    async def sync(self, request: web.Request) -> web.Response:
        """Syncs now, unless it is offline."""
        site = self._site(request)
        site.backend.sync()
        return web.json_response(_view(site))

    async def set_schedule(self, request: web.Request) -> web.Response:
        """Sets the seconds between two syncs: {"everySeconds": 3}; null syncs on request only."""
        site = self._site(request)
        body = await read_body(request, SyncScheduleBody)
        site.backend.override = SyncOverride(body.every_seconds)
        return web.json_response(_view(site))

    async def go_offline(self, request: web.Request) -> web.Response:
        """Disconnects it from the cloud; it serves its last sync."""
        site = self._site(request)
        site.backend.go_offline()
        return web.json_response(_view(site))

    async def go_online(self, request: web.Request) -> web.Response:
        """Connects it to the cloud again."""
        site = self._site(request)
        site.backend.go_online()
        return web.json_response(_view(site))

    def _site(self, request: web.Request) -> Site:
        site = self._sites.get(request.match_info["name"])
        if site is None:
            raise web.HTTPNotFound(reason="there is no such connected registry")
        return site


class LengthsBody(Body):
    """How long the operations of changes and of deletions take, each from the change itself."""

    change: DurationBody
    deletion: DurationBody


class OperationRoutes:
    """The lengths of ARM's asynchronous operations."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/operationLengths", self.show),
            web.route("PUT", "/operationLengths", self.set),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """How long ARM's asynchronous operations take."""
        lengths = self._settings.operation_lengths
        return web.json_response(
            {
                kind: {"leastSeconds": least, "mostSeconds": most}
                for kind, (least, most) in asdict(lengths).items()
            }
        )

    async def set(self, request: web.Request) -> web.Response:
        """Sets the lengths of ARM's asynchronous operations: {"change": {…}, "deletion": {…}}."""
        body = await read_body(request, LengthsBody)
        self._settings.operation_lengths = OperationLengths(
            change=(body.change.least_seconds, body.change.most_seconds),
            deletion=(body.deletion.least_seconds, body.deletion.most_seconds),
        )
        return await self.show(request)


class PolicyBody(Body):
    """What Azure Policy changes."""

    disables_tokens: bool


class AzurePolicyRoutes:
    """An Azure Policy with the effect modify; one that denies is a fault."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/azurePolicy", self.show),
            web.route("PUT", "/azurePolicy", self.set),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """Whether Azure Policy disables every token that is written."""
        return web.json_response({"disablesTokens": self._settings.policy_disables_tokens})

    async def set(self, request: web.Request) -> web.Response:
        """Lets Azure Policy disable every token that is written: {"disablesTokens": true}."""
        body = await read_body(request, PolicyBody)
        self._settings.policy_disables_tokens = body.disables_tokens
        return await self.show(request)


def _view(site: Site) -> dict[str, object]:
    snapshot = site.backend.snapshot
    return {
        "name": site.options.name,
        "endpoint": site.endpoint,
        "insecure": site.options.insecure,
        "online": site.backend.online,
        "lastSync": wire_time(snapshot.taken_at),
        "clients": sorted(snapshot.tokens),
        "repositories": sorted(snapshot.repositories),
    }
