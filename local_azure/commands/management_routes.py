"""The management port's routes for the hosts of the function app."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from local_azure.commands.function_hosts import AppNotStarted, FunctionHosts, Host
from local_azure.management import Body, read_body


class HostCountBody(Body):
    """How many hosts to run."""

    count: Annotated[int, Field(ge=1, le=16)]


class HostRoutes:
    """Show, kill and scale the hosts. The port serves before `hosts` is there."""

    def __init__(self) -> None:
        self.hosts: FunctionHosts | None = None

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/functionsHosts", self.list),
            web.route("PUT", "/functionsHosts", self.scale),
            web.route("POST", "/functionsHosts/{number}/kill", self.kill),
        ]

    def health(self) -> dict[str, object]:
        """The hosts, and whether all of them serve."""
        hosts = () if self.hosts is None else self.hosts.all()
        return {
            "status": "ok" if all(host.serves for host in hosts) else "degraded",
            "functionsHosts": [_view(host) for host in hosts],
        }

    async def list(self, _: web.Request) -> web.Response:
        """The hosts of the function app, with their restarts."""
        return _answer(self._started())

    async def scale(self, request: web.Request) -> web.Response:
        """Runs this many hosts: {"count": 3}."""
        body = await read_body(request, HostCountBody)
        hosts = self._started()
        try:
            await hosts.scale_to(body.count)
        except AppNotStarted as error:
            raise web.HTTPServiceUnavailable(reason=str(error)) from error
        return _answer(hosts)

    async def kill(self, request: web.Request) -> web.Response:
        """Kills a host without grace; it is started again."""
        hosts = self._started()
        number = request.match_info["number"]
        host = next((host for host in hosts.all() if str(host.number) == number), None)
        if host is None:
            raise web.HTTPNotFound(reason="there is no such host")
        host.kill()
        return web.json_response(_view(host), status=202)

    def _started(self) -> FunctionHosts:
        if self.hosts is None:
            raise web.HTTPServiceUnavailable(reason="the function app is not started")
        return self.hosts


def _answer(hosts: FunctionHosts) -> web.Response:
    return web.json_response({"functionsHosts": [_view(host) for host in hosts.all()]})


def _view(host: Host) -> dict[str, object]:
    return {
        "number": host.number,
        "url": host.url,
        "processId": None if host.process is None else host.process.pid,
        "serves": host.serves,
        "restarts": host.restarts,
        "lastExit": host.last_exit,
    }
