"""An HTTP/1.1 server that takes, refuses and answers requests as Kestrel does.

No server from a package: each has limits and leniencies of its own, and sends no answer whose
Content-Length is wrong, which an app can bring about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus

from local_azure.functions_host.http_messages import (
    MOST_HEADER_BYTES,
    BadRequest,
    BodyTooLarge,
    Request,
    Response,
    read_request,
)

_LOG = logging.getLogger("functions_host.http")
_WITHOUT_BODY = (204, 304)
_BROKEN = (asyncio.IncompleteReadError, ConnectionError)


class HttpServer:
    """Serves `handle` on one address."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], bool] = {}
        """Each with whether it is at a request."""

    async def start(self, address: str, port: int) -> tuple[str, int]:
        """Listen; the address and the port. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, address, port, limit=MOST_HEADER_BYTES
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def stop(self, grace_seconds: float) -> bool:
        """Take no more requests; those under way have so long to end. Whether they did."""
        if self._server is not None:
            self._server.close()
        for connection, is_busy in self._connections.items():
            if not is_busy:
                connection.cancel()
        if not self._connections:
            return True
        _, late = await asyncio.wait(self._connections, timeout=grace_seconds)
        for connection in late:
            connection.cancel()
        return not late

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None  # noqa: S101 - the server runs this as a task
        self._connections[connection] = False
        try:
            while await self._serve_one(connection, reader, writer):
                self._connections[connection] = False
                if self._server is None or not self._server.is_serving():
                    return
        except (*_BROKEN, asyncio.CancelledError):
            pass  # the client, or the host, has gone
        finally:
            del self._connections[connection]
            writer.close()
            with suppress(*_BROKEN, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve_one(
        self,
        connection: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; whether another may follow."""
        try:
            request = await read_request(reader, writer)
            if request is None:
                return False
            self._connections[connection] = True
            response = await self._answer(request)
        except BadRequest as bad:
            writer.write(_head(bad.status, {"Content-Length": "0", "Connection": "close"}))
            await _finish(reader, writer)
            return False
        keeps_alive = _write(writer, request, response)
        await writer.drain()
        if keeps_alive:
            with suppress(BadRequest, BodyTooLarge):
                await request.read()  # what nobody has read, so that the next request follows
                return True
        await _finish(reader, writer)
        return False

    async def _answer(self, request: Request) -> Response:
        """What `handle` answers, 500 where it fails. Raises BadRequest for a malformed body."""
        try:
            return await self._handle(request)
        except (BadRequest, *_BROKEN):
            raise
        except BodyTooLarge:
            return Response(500)
        except Exception:
            _LOG.exception("%s %s", request.method, request.path)
            return Response(500)


async def _finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the answer, and let the client read it before unread bytes would reset the connection."""
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await reader.read(2**16):
                pass


def _write(writer: asyncio.StreamWriter, request: Request, response: Response) -> bool:
    """Write a response; whether the connection can be kept."""
    keeps_alive = request.keeps_alive()
    headers = dict(response.headers)
    body = b"" if response.status in _WITHOUT_BODY or request.method == "HEAD" else response.body
    length = next((v for n, v in headers.items() if n.lower() == "content-length"), None)
    if length is not None:
        keeps_alive = keeps_alive and length == str(len(body))
    elif not body:
        if response.status not in _WITHOUT_BODY and request.method != "HEAD":
            headers["Content-Length"] = "0"
    elif request.version == "HTTP/1.0":
        keeps_alive = False
    else:
        headers["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    if not keeps_alive:
        headers["Connection"] = "close"
    elif request.version == "HTTP/1.0":
        headers["Connection"] = "keep-alive"
    writer.write(_head(response.status, headers) + body)
    return keeps_alive


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    given = {name.lower() for name in headers}
    own = {"Date": formatdate(usegmt=True), "Server": "Kestrel"}
    own = {name: value for name, value in own.items() if name.lower() not in given}
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in (own | dict(headers)).items()]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
