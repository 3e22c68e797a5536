"""The management port's application, with the kernel's routes and those of the services."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import Handler
from local_azure.management.json_input import InvalidBody
from local_azure.management.routes import KernelRoutes


class Extension(Protocol):
    """What a command adds to the management port of its stack."""

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        ...

    def health(self) -> Mapping[str, object]:
        """Fields of `GET /health`, which replace those of the same name."""
        ...


def create_management_application(
    kernel: Kernel,
    *,
    seed: int,
    routes: Iterable[web.RouteDef] = (),
    extensions: Sequence[Extension] = (),
) -> web.Application:
    """Serve the kernel's routes, `routes` and those of the extensions.

    `GET /` lists every route with the first line of its handler's docstring. Handlers read
    their bodies with read_body. Calls have no faults and no latency, and are not counted.
    """
    application = web.Application(middlewares=[_errors_as_json])
    kernel_routes = KernelRoutes(
        kernel, seed=seed, more_health=[extension.health for extension in extensions]
    )
    application.router.add_routes(
        [
            web.route("GET", "/", _index),
            *kernel_routes.table(),
            *routes,
            *(route for extension in extensions for route in extension.table()),
        ]
    )
    return application


async def _index(request: web.Request) -> web.Response:
    """This list."""
    return web.json_response(
        {
            "routes": [
                {
                    "method": route.method,
                    "path": route.resource.canonical,
                    "does": (inspect.getdoc(route.handler) or "").partition("\n")[0],
                }
                for route in request.app.router.routes()
                if route.resource is not None and route.method != "HEAD"
            ]
        }
    )


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidBody as error:
        return web.json_response({"errors": error.errors}, status=400)
    except web.HTTPException as error:
        message = f"{request.method} {request.path}: {error.reason}. GET / lists all routes."
        return web.json_response({"errors": [{"message": message}]}, status=error.status)
