"""What a hostile registry answers, as the bytes that it sends."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat

Script = Callable[[], Iterator[bytes]]

BLOCK = bytes(1 << 20)
DEEP = 100_000  # brackets
_BOMB = gzip.compress(BLOCK) * 600  # 0.6 MB that become 600


def answer(
    body: bytes = b"{}", *, status: str = "200 OK", headers: Mapping[str, str] | None = None
) -> bytes:
    fields = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {text}" for name, text in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def once(*parts: bytes) -> Script:
    return lambda: iter(parts)


def without_end(start: bytes, part: bytes) -> Script:
    def script() -> Iterator[bytes]:
        yield start
        yield from repeat(part)

    return script


def now_and_then(start: bytes, part: bytes) -> Script:
    """Never silent for long, and never done."""

    def script() -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(0.1)
            yield part

    return script


def silence() -> Iterator[bytes]:
    time.sleep(30)
    yield b""


_OPEN = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OPEN + b"Transfer-Encoding: chunked\r\n\r\n"
_LONG = _OPEN + b"Content-Length: 1000000\r\n\r\n"

# Only a deadline ends these.
SLOW: dict[str, Script] = {
    "silence": silence,
    "slow status": now_and_then(b"HTTP/1.1 200 ", b"a"),
    "slow headers": now_and_then(_OPEN + b"X-A: ", b"a"),
    "slow body": now_and_then(_LONG, b" "),
    "slow chunks": now_and_then(_CHUNKED, b"1\r\n \r\n"),
    "slow interim answers": now_and_then(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}

_STATUSES = (
    "102 Processing",
    "200 OK",
    "204 No Content",
    "206 Partial Content",
    "300 Multiple Choices",
    "304 Not Modified",
    "307 Temporary Redirect",
    "400 Bad Request",
    "401 Unauthorized",
    "404 Not Found",
    "407 Proxy Authentication Required",
    "429 Too Many Requests",
    "503 Service Unavailable",
    "999 ",
    "-1 Less",
    "20 Short",
    "2000 Long",
    "\u20ac No number",
)
_HEADERS: dict[str, dict[str, str]] = {
    "no length": {"Content-Length": ""},
    "negative length": {"Content-Length": "-1"},
    "length that is no number": {"Content-Length": "\xb2"},
    "huge length": {"Content-Length": "9" * 400},
    "longer than the body": {"Content-Length": "900"},
    "shorter than the body": {"Content-Length": "1"},
    "length and chunks": {"Transfer-Encoding": "chunked"},
    "huge header": {"X-A": "a" * 100_000},
    "NUL in a header": {"X-A": "a\0b"},
    "bytes beyond ASCII in a header": {"X-A": "\xff\xfe"},
    "unknown compression": {"Content-Encoding": "gzip, \xff"},
    "many cookies": {"Set-Cookie": "a=" + "b" * 4000},
    "bad charset": {"Content-Type": "application/json; charset=\xff\0"},
    "empty challenge": {"WWW-Authenticate": "Bearer"},
    "challenge without an end": {"WWW-Authenticate": 'Bearer realm="https://'},
    "challenge of commas": {"WWW-Authenticate": "Bearer " + "," * 8000},
    "challenge beyond ASCII": {"WWW-Authenticate": 'Bearer realm="https://\xe9\x85/"'},
}
_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "half a JSON": b'{"access_token": "a',
    "not UTF-8": b'{"access_token": "\xff\xfe"}',
    "NUL": b"\0" * 100,
    "UTF-16": '{"access_token": "a"}'.encode("utf-16"),
    "arrays": b"[" * DEEP,
    "closed arrays": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"access_token":' * DEEP,
    "huge number": b'{"access_token":' + b"9" * 500_000 + b"}",
    "NaN": b'{"access_token": NaN, "layers": Infinity}',
    "many objects": b"[" + b"{}," * 300_000 + b"{}]",
    "same key": b'{"token": "a", ' + b'"token": 1, ' * 50_000 + b'"token": []}',
    **{f"top {text}": text.encode() for text in ("null", "1", "true", '"a"', "[]", "{}")},
}
# What a field can be instead of what it should be.
ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    1,
    -1,
    1e308,
    10**30,
    "",
    " ",
    "\0",
    "a\r\nX: b",
    "\u20ac",
    "\ud800",
    "a" * 100_000,
    [],
    [None],
    [[]],
    {},
    {"a": {}},
)

WRONG: dict[str, Script] = {
    "hangs up": once(b""),
    "not HTTP": once(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "HTTP of another world": once(b"HTTP/9.9 200 OK\r\n\r\n"),
    "no status": once(b"HTTP/1.1\r\n\r\n"),
    "only newlines": without_end(b"", b"\r\n" * 1000),
    "status line without an end": without_end(b"HTTP/1.1 200 ", b"a" * 1000),
    "headers without an end": without_end(_OPEN, b"X-A: a\r\n" * 1000),
    "header without an end": without_end(_OPEN + b"X-A: ", b"a" * 1000),
    "body without an end": without_end(_OPEN + b"Connection: close\r\n\r\n", BLOCK),
    "chunks without an end": without_end(_CHUNKED, b"100000\r\n" + BLOCK + b"\r\n"),
    "chunk extension without an end": without_end(_CHUNKED + b"1;", b"a" * 1000),
    "trailers without an end": without_end(_CHUNKED + b"0\r\n", b"X-A: a\r\n" * 1000),
    "chunk size that is no number": once(_CHUNKED + b"xyz\r\n{}\r\n"),
    "huge chunk size": once(_CHUNKED + b"f" * 40 + b"\r\n{}\r\n"),
    "two lengths": once(_OPEN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "gzip bomb": once(answer(_BOMB, headers={"Content-Encoding": "gzip"})),
    "deflate bomb": once(
        answer(zlib.compress(bytes(50 << 20)), headers={"Content-Encoding": "deflate"})
    ),
    **{f"status {status}": once(answer(status=status)) for status in _STATUSES},
    **{name: once(answer(headers=headers)) for name, headers in _HEADERS.items()},
    **{f"body: {name}": once(answer(body)) for name, body in _BODIES.items()},
    **{
        f"token {json.dumps(odd)[:20]}": once(answer(json.dumps({"access_token": odd}).encode()))
        for odd in ODD_VALUES
    },
    **{
        f"redirect to {to}": once(answer(status="302 Found", headers={"Location": to}))
        for to in (
            "",
            "/v2/",
            "file:///etc/passwd",
            "//[",
            "http://127.0.0.1:1/",
            "\\\\a\\b",
            "\xff",
        )
    },
}
