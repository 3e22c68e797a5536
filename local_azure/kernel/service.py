"""An aiohttp application per service, with the kernel's latency, faults and counts around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.calls import Call
from local_azure.kernel.faults import FaultKind

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorRenderer(Protocol):
    """How a service words an error: ARM, Key Vault, IoT Hub and the registries each differ."""

    def __call__(self, *, status: int, code: str | None, message: str) -> web.Response:
        """An answer with this status; a `code` of None means the service's own for it."""
        ...


class OperationNamer(Protocol):
    """Names what a request asks for."""

    def __call__(self, request: web.Request) -> str:
        """`tokens.createOrUpdate`, say; `unknown` for what the service does not have."""
        ...


def create_application(
    kernel: Kernel,
    *,
    service: str,
    name_operation: OperationNamer,
    render_error: ErrorRenderer,
) -> web.Application:
    """An application without routes whose middleware applies faults and counts every call.

    `service` is the prefix of its operations in counts and fault rules (`arm`, `keyVault`, …).
    Unknown paths and methods are refused in the service's own words.
    """

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = name_operation(request)
        status = 0  # of a call that was never answered
        try:
            await _latency(kernel)
            response = await _serve(
                kernel, f"{service}.{operation}", request, handler, render_error
            )
            status = response.status
            return response
        finally:
            kernel.calls.add(Call(service, operation, request.method, request.raw_path, status))

    # 16 MiB: larger than any body these services take, so that the limit is theirs to state.
    return web.Application(middlewares=[around], client_max_size=16 * 2**20)


async def _latency(kernel: Kernel) -> None:
    least, most = kernel.faults.latency_seconds
    if most > 0:
        await asyncio.sleep(kernel.random.uniform(least, most))


async def _serve(
    kernel: Kernel,
    operation: str,
    request: web.Request,
    handler: Handler,
    render_error: ErrorRenderer,
) -> web.StreamResponse:
    fault = kernel.faults.next_for(operation)
    if fault is not None:
        if fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        elif fault.kind is FaultKind.RESET:
            return _break_connection(request)
        elif fault.kind is FaultKind.STATUS:
            await request.read()
            refused = render_error(
                status=fault.status, code=fault.code, message="Refused on request of a fault rule."
            )
            if fault.retry_after is not None:
                refused.headers["Retry-After"] = fault.retry_after
            return refused
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = render_error(
            status=404, code=None, message=f"No such path here: {request.method} {request.path}"
        )
    except web.HTTPMethodNotAllowed:
        response = render_error(
            status=405, code=None, message=f"{request.method} is not served at {request.path}"
        )
    if fault is not None and fault.kind is FaultKind.ANSWER_LOST:
        return _break_connection(request)
    return response


def _break_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # never leaves: the transport is gone
