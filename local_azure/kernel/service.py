"""The aiohttp applications of the services, with latency, faults and call counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from pydantic import ValidationError

from local_azure.kernel import Kernel
from local_azure.kernel.calls import Call
from local_azure.kernel.faults import FaultKind

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorRenderer(Protocol):
    """Renders the error body of a service."""

    def __call__(self, *, status: int, code: str | None, message: str) -> web.Response:
        """The answer with this status; a `code` of None means the default of the status."""
        ...


def route_name(request: web.Request) -> str:
    """The name of a request's route, `unknown` without one."""
    return request.match_info.route.name or "unknown"


def bearer_token(request: web.Request) -> str | None:
    """The bearer token of a request, None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def describe(error: ValidationError) -> str:
    """Every wrong field with its rule, and no value: a value may be a secret."""
    return "; ".join(
        f"{'.'.join(str(step) for step in each['loc']) or 'body'}: {each['msg']}"
        for each in error.errors(include_input=False, include_context=False, include_url=False)
    )


def create_application(
    kernel: Kernel,
    *,
    service: str,
    render_error: ErrorRenderer,
    name_operation: Callable[[web.Request], str] = route_name,
) -> web.Application:
    """An application without routes, with a middleware for faults and counts.

    `service` is the prefix of its operations in counts and fault rules (`arm`, `keyVault`, …).
    `render_error` also answers unknown paths and methods.
    """

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = name_operation(request)
        status = 0  # if there is no answer
        try:
            async with kernel.latency(f"{service}.{operation}"):
                response = await serve(
                    kernel, f"{service}.{operation}", request, handler, render_error
                )
            status = response.status
            return response
        finally:
            kernel.calls.add(Call(service, operation, request.method, request.raw_path, status))

    # 16 MiB: more than the limit of any service, so that each service applies its own.
    return web.Application(middlewares=[around], client_max_size=16 * 2**20)


async def serve(
    kernel: Kernel,
    operation: str,
    request: web.Request,
    handler: Handler,
    render_error: ErrorRenderer,
) -> web.StreamResponse:
    """The answer to one call, or the fault that it meets."""
    fault = kernel.faults.next_for(operation)
    if fault is not None:
        if fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        elif fault.kind is FaultKind.RESET:
            return _break_connection(request)
        elif fault.kind is FaultKind.STATUS:
            await request.read()
            refused = render_error(
                status=fault.status, code=fault.code, message="A fault rule applies."
            )
            if fault.retry_after is not None:
                refused.headers["Retry-After"] = fault.retry_after
            return refused
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = render_error(
            status=404, code=None, message=f"Unknown path: {request.method} {request.path}"
        )
    except web.HTTPMethodNotAllowed:
        response = render_error(
            status=405, code=None, message=f"{request.method} is not served at {request.path}"
        )
    if fault is not None and fault.kind is FaultKind.ANSWER_LOST:
        return _break_connection(request)
    if kernel.oddities.change_documents:
        _change_document(kernel, response)
    return response


def _change_document(kernel: Kernel, response: web.StreamResponse) -> None:
    """Change a JSON answer as the kernel's oddities say."""
    is_json = response.content_type == "application/json" and response.status < 400
    if isinstance(response, web.Response) and is_json and response.text:
        response.text = json.dumps(kernel.oddities.changed(json.loads(response.text)))


def _break_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # never sent
