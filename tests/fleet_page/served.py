"""The app's functions behind a web server in this process, on a fake cloud."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

import azure.functions as func
import pytest
from aiohttp import web

from firstpull.bootstrap import Application
from firstpull.config.roles import Role
from firstpull.config.settings import read_caller_settings
from functions.endpoints import ENDPOINTS, ROUTE_PREFIX
from tests.firstpull.harness import Harness
from tests.firstpull.test_deadlines import SETTINGS

KEY = "the key of those on call"
_NAMED_KEYS = [
    {
        "name": "on call",
        "sha256": sha256(KEY.encode()).hexdigest(),
        "roles": [Role.READER],
    }
]
type Function = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


@contextmanager
def page_on(**more: str) -> Iterator[None]:
    """The settings that turn the page on, and name a key for it."""
    with pytest.MonkeyPatch.context() as patch:
        settings = {
            **SETTINGS,
            "FIRSTPULL_FLEET_PAGE": "true",
            "FIRSTPULL_NAMED_KEYS": json.dumps(_NAMED_KEYS),
            **more,
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        read_caller_settings.cache_clear()
        try:
            yield
        finally:
            read_caller_settings.cache_clear()


@dataclass
class Served:
    """The functions of the page, on the fleet that `show` has set last."""

    functions: Mapping[str, Function]
    harness: Harness
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def show(self, harness: Harness) -> None:
        """Serve another fleet."""
        self.harness = harness

    async def call(
        self,
        method: str = "GET",
        query: str = "",
        *,
        name: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        url: str = f"https://app.example{ROUTE_PREFIX}/fleet",
    ) -> func.HttpResponse:
        """Call a function of the page as the host does; signed in, unless `headers` are given."""
        request = func.HttpRequest(
            method,
            f"{url}{query and '?'}{query}",
            headers={"x-functions-key": KEY} if headers is None else dict(headers),
            body=body,
        )
        name = name or ("fleet_page" if method == "GET" else "fleet_sign_in")
        return await self.functions[name](request)

    async def html(self, query: str = "") -> str:
        """A page, for who is signed in."""
        answer = await self.call("GET", query)
        assert answer.status_code == 200, answer.get_body()
        return answer.get_body().decode()

    async def handle(self, request: web.Request) -> web.Response:
        """A request of the browser."""
        name = next(
            (
                name
                for name, endpoint in ENDPOINTS.items()
                if endpoint.route == f"{request.method} {request.path.removeprefix(ROUTE_PREFIX)}"
            ),
            None,
        )
        self.asked.append(f"{request.method} {request.path_qs}")
        if name is None:
            return web.Response(status=404)
        answer = await self.call(
            request.method,
            request.query_string,
            name=name,
            body=await request.read(),
            headers=request.headers,
            url=f"http://{request.host}{request.path}",
        )
        kind = f"{answer.mimetype}; charset=utf-8"
        return web.Response(
            status=answer.status_code,
            body=answer.get_body(),
            headers={"Content-Type": kind, **answer.headers},
        )


@asynccontextmanager
async def served(harness: Harness, *, address: str | None = None) -> AsyncIterator[Served]:
    """The functions; with an address, behind a server at a port of it."""
    with page_on(), pytest.MonkeyPatch.context() as patch:
        app = importlib.import_module("function_app").app
        app.functions_bindings = {}
        functions = {str(f.get_function_name()): f.get_user_function() for f in app.get_functions()}
        found = Served(functions=functions, harness=harness)
        runtime = importlib.import_module("functions.runtime").runtime

        async def application() -> Application:
            return found.harness.processes[0].application

        patch.setattr(runtime, "application", application)
        if address is None:
            yield found
            return
        server = web.Application()
        server.router.add_route("*", "/{path:.*}", found.handle)
        runner = web.AppRunner(server)
        await runner.setup()
        try:
            site = web.TCPSite(runner, address, 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            found.url = f"http://{host}:{port}{ROUTE_PREFIX}/fleet"
            yield found
        finally:
            await runner.cleanup()
