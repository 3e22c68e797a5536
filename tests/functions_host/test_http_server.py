from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from local_azure.functions_host.http_messages import Request, Response
from local_azure.functions_host.http_server import HttpServer

from .raw_http import answer_in, bytes_for, exchanged

_HEADERS = "Host: h\r\nConnection: close\r\n"


async def handle(request: Request) -> Response:
    """Answers with what came. `/ignored` is answered before its body is read."""
    if request.path == "/ignored":
        return Response(404)
    if request.path == "/broken":
        raise LookupError("a defect")
    if request.path == "/wrong-length":
        return Response(200, {"Content-Length": "99"}, b"x")
    body = await request.read()
    seen = {"method": request.method, "headers": dict(request.headers), "body": body.decode("l1")}
    return Response(200, {"Content-Type": "application/json"}, json.dumps(seen).encode())


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[str]:
    server = HttpServer(handle)
    host, port = await server.start("127.0.0.1", 0)
    yield f"http://{host}:{port}"
    await server.stop(1)


def get(more: str = "", path: str = "/x") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{_HEADERS}{more}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(path=f"/{'a' * 8000}"), 200),
        (get(path=f"/{'a' * 8200}"), 414),
        (get(path=f"/?{'a' * 40000}"), 414),
        (get(f"x: {'a' * 9000}\r\n"), 200),
        (get(f"x: {'a' * 33000}\r\n"), 431),
        (get("".join(f"x{n}: {'a' * 3000}\r\n" for n in range(11))), 431),
        (get("x: y\r\n" * 98), 200),
        (get("x: y\r\n" * 99), 431),
        (get(path="/gr\xfcn"), 400),
        (get(path="/%00"), 400),
        (get("x: gr\xfcn\r\n"), 400),
        (get("x y: z\r\n"), 400),
        (get("x : z\r\n"), 400),
        (get("no colon\r\n"), 400),
        (get("x: a\0b\r\n"), 400),
        (get("Host: second\r\n"), 400),
        (get("Content-Length: -1\r\n"), 400),
        (get("Content-Length: 0\r\nContent-Length: 0\r\n"), 400),
        (get("Transfer-Encoding: gzip\r\n"), 400),
        (get("Transfer-Encoding: chunked\r\n\r\nz\r\n"), 400),
        (get("Content-Length: 209715200\r\n"), 500),
        (get(path="http://h/x"), 200),
        (get(path="x"), 400),
        (get(path="/broken"), 500),
        (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET /x HTTP/1.0\r\n\r\n", 200),
        (b"GET /x HTTP/3.0\r\n\r\n", 505),
        (b"G@T /x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"BREW /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200),
        (b"no request\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_or_beyond_a_limit_is_refused_without_a_body(
    address: str, request_: bytes, status: int
) -> None:
    answer = await exchanged(address, request_)
    assert answer.status == status
    assert status == 200 or (answer.headers["Content-Length"], answer.body) == ("0", "")


async def test_a_body_is_passed_on_as_it_is_sent(address: str) -> None:
    packed = gzip.compress(b"text")
    head = get(f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n")
    seen = json.loads((await exchanged(address, head + packed)).body)
    assert (seen["body"].encode("l1"), seen["headers"]["content-encoding"]) == (packed, "gzip")


async def test_chunks_go_before_a_length_and_are_joined_for_who_reads_them(address: str) -> None:
    head = get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
    seen = json.loads((await exchanged(address, head + body)).body)
    assert seen["body"] == "abcde"
    assert seen["headers"]["transfer-encoding"] == "chunked"
    assert "content-length" not in seen["headers"]


@pytest.mark.parametrize(("path", "interim"), [("/x", True), ("/ignored", False)])
async def test_a_client_that_waits_is_told_to_go_on_when_its_body_is_wanted(
    address: str, path: str, *, interim: bool
) -> None:
    more = "Content-Length: 1\r\nExpect: 100-continue\r\n"
    data = await bytes_for(address, get(more, path=path) + b"x")
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\n") is interim


async def test_the_connection_of_a_client_that_was_not_told_to_go_on_is_closed(
    address: str,
) -> None:
    head = b"GET /ignored HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    data = await bytes_for(address, head)
    assert data.startswith(b"HTTP/1.1 404")
    assert b"100 Continue" not in data


async def test_a_connection_serves_one_request_after_another_whether_its_body_was_read_or_not(
    address: str,
) -> None:
    ignored = b"POST /ignored HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
    read = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\ncd"
    data = await bytes_for(address, ignored + read + get())
    first, second, third = data.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3], third[:3]) == (b"404", b"200", b"200")


async def test_a_length_that_the_app_sets_is_sent_as_it_is_and_ends_the_connection(
    address: str,
) -> None:
    data = await bytes_for(address, b"GET /wrong-length HTTP/1.1\r\nHost: h\r\n\r\n")
    answer = answer_in(data)
    assert (answer.headers["Content-Length"], answer.body) == ("99", "x")


async def test_a_head_request_gets_no_body(address: str) -> None:
    answer = await exchanged(address, get().replace(b"GET", b"HEAD"))
    assert (answer.status, answer.body) == (200, "")


async def test_a_server_that_stops_ends_what_it_has_begun_and_idle_connections() -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        began.set()
        await goes_on.wait()
        return Response(204)

    server = HttpServer(slow)
    host, port = await server.start("127.0.0.1", 0)
    idle, idle_writer = await asyncio.open_connection(host, port)
    busy = asyncio.create_task(bytes_for(f"http://{host}:{port}", get()))
    await began.wait()
    stopping = asyncio.create_task(server.stop(60))
    assert await idle.read() == b""
    goes_on.set()
    await stopping
    assert answer_in(await busy).status == 204
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(host, port)
    idle_writer.close()
