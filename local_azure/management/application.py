"""The management port's application, with the kernel's routes and those of the services."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import Handler
from local_azure.management.json_input import InvalidBody
from local_azure.management.routes import KernelRoutes


def create_management_application(
    kernel: Kernel, *, seed: int, routes: Iterable[web.RouteDef] = ()
) -> web.Application:
    """Serve the kernel's routes and `routes`.

    `GET /` lists every route with the first line of its handler's docstring. Handlers read
    their bodies with read_body. Calls have no faults and no latency, and are not counted.
    """
    application = web.Application(middlewares=[_errors_as_json])
    application.router.add_routes(
        [web.route("GET", "/", _index), *KernelRoutes(kernel, seed=seed).table(), *routes]
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
