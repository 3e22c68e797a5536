"""Azure Resource Manager as an aiohttp application, with the routes of its providers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import create_application
from local_azure.resource_manager.checks import (
    Guard,
    RequestChecks,
    add_headers,
    render_error,
    render_refusal,
)
from local_azure.resource_manager.directory import Directory
from local_azure.resource_manager.exceptions import ArmError
from local_azure.resource_manager.routing import Route, Router
from local_azure.resource_manager.throttling import RateLimits, Throttle


def create_arm_application(
    kernel: Kernel,
    *,
    routes: Sequence[Route],
    directory: Directory,
    audiences: Collection[str],
    authority: str = "https://login.windows.net/common",
    throttle: Throttle | None = None,
    guard: Guard | None = None,
) -> web.Application:
    """The service `arm`.

    `audiences`: of the bearer tokens that it accepts. `authority`: the address in a 401 where
    clients get one. Without `throttle` the documented rate limits apply. `guard` is asked last.
    """
    router = Router(routes)
    checks = RequestChecks(
        directory=directory,
        tokens=kernel.tokens,
        access=kernel.access,
        audiences=audiences,
        throttle=throttle or Throttle(clock=kernel.clock, limits=RateLimits()),
        router=router,
        guard=guard,
    )

    def name_operation(request: web.Request) -> str:
        match = router.match(request.method, request.rel_url.raw_path)
        return match.route.operation if match else "unknown"

    async def serve(request: web.Request) -> web.Response:
        try:
            route, call = await checks.admit(request)
            return await route.handler(call)
        except ArmError as error:
            return render_refusal(error, authority=authority)

    application = create_application(
        kernel, service="arm", name_operation=name_operation, render_error=render_error
    )
    application.on_response_prepare.append(add_headers)
    application.router.add_route("*", "/{path:.*}", serve)
    return application
