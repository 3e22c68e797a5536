"""Answers a cluster's liveness and readiness probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web


async def serve_probes(port: int, *, is_ready: Callable[[], bool], host: str = "") -> None:
    """Answer on `port` until cancelled. Raises OSError if it is taken.

    `/livez` is 200 while the agent's event loop runs: a loop that hangs does not answer.
    `/readyz` is 200 if `is_ready`, else 503.
    """

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="not ready: the log says why\n")

    application = web.Application()
    application.router.add_get("/livez", live)
    application.router.add_get("/readyz", ready)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
