"""HTTP as bytes: what no client would send, and answers as they are on the wire."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """An answer; its body without the marks of chunks."""

    status: int
    headers: dict[str, str]
    body: str


async def exchanged(address: str, request: bytes) -> Answer:
    """The answer to these bytes, after which the server has to close the connection."""
    return answer_in(await bytes_for(address, request))


async def bytes_for(address: str, request: bytes) -> bytes:
    """All that comes back for these bytes until the server closes the connection."""
    server = urlsplit(address)
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def answer_in(data: bytes) -> Answer:
    """The one answer in these bytes."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    if headers.get("Transfer-Encoding") == "chunked":
        body = _joined(body)
    return Answer(int(first.split()[1]), headers, body.decode("latin-1"))


def _joined(chunks: bytes) -> bytes:
    size, _, rest = chunks.partition(b"\r\n")
    length = int(size, 16)
    return rest[:length] + _joined(rest[length + 2 :]) if length else b""
