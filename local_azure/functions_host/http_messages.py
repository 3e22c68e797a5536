"""Requests as they come in and responses as they go out, by the rules and limits of Kestrel."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from local_azure.functions_host.http_address import BadPath, decode_path

MOST_HEADER_BYTES = 32 * 2**10
_LONGEST_LINE = 8 * 2**10
_MOST_HEADERS = 100
_LARGEST_BODY = 100 * 2**20
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE = re.compile(rf"({_TOKEN.pattern}) ([\x21-\x7e]+) (HTTP/\d\.\d)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class BadRequest(Exception):
    """What is no request, or one beyond a limit. It is answered and the connection closed."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status


class BodyTooLarge(Exception):
    """A body beyond the limit; reading it failed inside the host, as an error of its own."""


@dataclass(frozen=True)
class Response:
    """An answer. It has a length if its headers say so or it is empty, else it goes in chunks."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def text(cls, status: int, text: str, content_type: str = "text/plain") -> Response:
        """A text of the host's own."""
        body = text.encode()
        headers = {
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Length": str(len(body)),
        }
        return cls(status, headers, body)

    @classmethod
    def json(cls, value: object) -> Response:
        """JSON of the host's own, with 200."""
        return cls.text(200, json.dumps(value), "application/json")


class Request:
    """A request whose head was read. `path` is decoded, `raw_query` is not; header names are lower.

    Headers of one name are joined by commas.
    """

    def __init__(
        self, *, method: str, target: str, version: str, headers: Mapping[str, str], body: _Body
    ) -> None:
        self.method = method
        self.version = version
        self.headers = headers
        raw_path, _, self.raw_query = target.partition("?")
        try:
            self.path = decode_path(raw_path)
        except BadPath:
            raise BadRequest from None
        self._body = body

    @property
    def content_length(self) -> int:
        """The announced length; 0 without one, as with a body in chunks."""
        return self._body.length or 0

    @property
    def query(self) -> str:
        """The query with its question mark, empty without one."""
        return f"?{self.raw_query}" if self.raw_query else ""

    async def read(self) -> bytes:
        """The body, also one in chunks. Raises BodyTooLarge and BadRequest."""
        return await self._body.read()

    def keeps_alive(self) -> bool:
        """Whether the connection may serve another request after the answer."""
        if self._body.ends_connection:
            return False
        wishes = {word.strip() for word in self.headers.get("connection", "").lower().split(",")}
        if self.version == "HTTP/1.0":
            return "keep-alive" in wishes
        return "close" not in wishes


class _Body:
    """The body behind a head. `length` is None for one in chunks.

    `is_held_back`: the client sends it only when it is told to.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        length: int | None,
        is_held_back: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.length = length
        self._is_held_back = is_held_back
        self._data: bytes | None = None

    @property
    def ends_connection(self) -> bool:
        """Whether nobody can tell where the next request would begin."""
        return self._is_held_back or (self.length or 0) > _LARGEST_BODY

    async def read(self) -> bytes:
        """All of it. Raises BodyTooLarge and BadRequest."""
        if self._data is None:
            if (self.length or 0) > _LARGEST_BODY:
                raise BodyTooLarge
            if self._is_held_back:
                self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._is_held_back = False
            if self.length is None:
                self._data = await self._read_chunks()
            else:
                self._data = await self._reader.readexactly(self.length)
        return self._data

    async def _read_chunks(self) -> bytes:
        data = bytearray()
        while True:
            found = _CHUNK_SIZE.fullmatch(await _read_line(self._reader, too_long=400))
            if found is None:
                raise BadRequest
            size = int(found[1], 16)
            if size == 0:
                break
            if len(data) + size > _LARGEST_BODY:
                self.length = len(data) + size  # what is known of it, and enough to end with it
                raise BodyTooLarge
            data += await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise BadRequest
        while await _read_line(self._reader, too_long=431) != b"\r\n":
            pass  # trailers
        return bytes(data)


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    """The next request; None where the connection has ended. Raises BadRequest."""
    try:
        line = await _read_line(reader, too_long=414, longest=_LONGEST_LINE)
    except asyncio.IncompleteReadError:
        return None
    method, target, version = _request_line(line)
    headers = await _read_headers(reader)
    length = _body_length(headers, version)
    joined = {name: ",".join(values) for name, values in headers.items()}
    if length is None:
        joined.pop("content-length", None)
    waits = version == "HTTP/1.1" and joined.get("expect", "").lower() == "100-continue"
    body = _Body(reader, writer, length=length, is_held_back=waits)
    return Request(method=method, target=target, version=version, headers=joined, body=body)


def _request_line(line: bytes) -> tuple[str, str, str]:
    """Raises BadRequest."""
    try:
        found = _LINE.fullmatch(line.decode("ascii").removesuffix("\r\n"))
    except UnicodeDecodeError:
        raise BadRequest from None
    if found is None:
        raise BadRequest
    method, target, version = found.groups()
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(505)
    if not target.startswith("/"):
        absolute = re.match(r"https?://[^/?]+", target, re.IGNORECASE)
        if absolute is None:
            raise BadRequest
        target = f"/{target[absolute.end() :].removeprefix('/')}"
    return method, target, version


async def _read_headers(reader: asyncio.StreamReader) -> Mapping[str, Sequence[str]]:
    """By lower name. Raises BadRequest."""
    headers: dict[str, list[str]] = {}
    left, count = MOST_HEADER_BYTES, 0
    while (line := await _read_line(reader, too_long=431, longest=left)) != b"\r\n":
        left, count = left - len(line), count + 1
        if count > _MOST_HEADERS:
            raise BadRequest(431)
        try:
            name, colon, value = line.decode("ascii").removesuffix("\r\n").partition(":")
        except UnicodeDecodeError:
            raise BadRequest from None
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\0\r\n]", value):
            raise BadRequest
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    return headers


def _body_length(headers: Mapping[str, Sequence[str]], version: str) -> int | None:
    """None for a body in chunks, which goes before a length. Raises BadRequest."""
    hosts = headers.get("host", ())
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1"):
        raise BadRequest
    codings = ",".join(headers.get("transfer-encoding", ())).lower()
    if codings:
        if codings.rpartition(",")[2].strip() != "chunked":
            raise BadRequest
        return None
    lengths = headers.get("content-length", ("0",))
    if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise BadRequest
    return int(lengths[0])


async def _read_line(
    reader: asyncio.StreamReader, *, too_long: int, longest: int = MOST_HEADER_BYTES
) -> bytes:
    """A line with its end. Raises BadRequest, and IncompleteReadError where there is no more."""
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise BadRequest(too_long) from None
    if len(line) > longest:
        raise BadRequest(too_long)
    return line
