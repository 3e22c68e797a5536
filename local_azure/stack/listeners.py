"""aiohttp applications on ports of one loopback address, with or without TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from email.utils import format_datetime
from typing import Protocol

from aiohttp import web

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock


class Wire(Protocol):
    """What is between the clients and the services."""

    def between(
        self, listening: socket.socket, address: str, port: int
    ) -> AbstractAsyncContextManager[None]:
        """Pass what comes to a listening socket on to a port, and back."""
        ...


class Listeners:
    """Binds ports and serves on them later, because an application may need to know its port."""

    def __init__(
        self,
        *,
        address: str,
        certificates: CertificateAuthority,
        clock: Clock,
        wire: Wire | None = None,
    ) -> None:
        self._clock = clock
        self._wire = wire
        self._wires = AsyncExitStack()
        self._address = address
        self._context: ssl.SSLContext = certificates.server_context()
        self._runners: dict[socket.socket, web.AppRunner] = {}
        self._unserved: set[socket.socket] = set()

    def bind(self) -> Port:
        """Bind a free port of the address."""
        bound = socket.create_server((self._address, 0), backlog=256)
        self._unserved.add(bound)
        return Port(bound, f"{self._address}:{bound.getsockname()[1]}")

    async def serve(self, port: Port, application: web.Application, *, tls: bool = True) -> None:
        """Serve an application until the listeners are closed."""
        application.on_response_prepare.append(self._date)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners[port.socket] = runner
        self._unserved.discard(port.socket)
        context = self._context if tls else None
        served = port.socket
        if self._wire is not None:
            served = socket.create_server((self._address, 0), backlog=256)
            to_service = self._wire.between(port.socket, *served.getsockname())
            await self._wires.enter_async_context(to_service)
        await web.SockSite(runner, served, ssl_context=context).start()

    @asynccontextmanager
    async def serving(self, port: Port, application: web.Application) -> AsyncIterator[None]:
        """Serve an application with TLS while the context is open."""
        await self.serve(port, application)
        try:
            yield
        finally:
            await self._runners.pop(port.socket).cleanup()

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        """Date answers by the stack's clock: clients compare theirs with it."""
        response.headers["Date"] = format_datetime(self._clock.now(), usegmt=True)

    async def close(self) -> None:
        """Stop serving and release all ports."""
        await self._wires.aclose()
        for runner in reversed(self._runners.values()):
            await runner.cleanup()
        for bound in self._unserved:
            bound.close()


class Port:
    """A bound port; `host` is `address:port`."""

    def __init__(self, bound: socket.socket, host: str) -> None:
        self.socket = bound
        self.host = host
