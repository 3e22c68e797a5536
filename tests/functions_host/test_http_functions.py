from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from .hosts import RunningHost, host_running

OFF = {"AzureWebJobs__switched_off__Disabled": "true"}


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[RunningHost]:
    async with host_running("web", OFF) as running:
        yield running


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def call(
    client: aiohttp.ClientSession,
    url: str,
    method: str = "GET",
    *,
    headers: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    async with client.request(method, url, headers=headers, params=params) as response:
        return response.status, await response.read()


async def test_a_function_receives_the_request_as_it_was_sent(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    url = host.url("/v1/devices/a%25b?q=1&q=2&empty=")
    async with client.put(url, data="körper", headers={"X-Mine": "yes"}) as response:
        seen = await response.json()
    assert seen["function"] == "device"
    assert seen["method"] == "PUT"
    assert seen["url"].endswith("/v1/devices/a%25b?q=1&q=2&empty=")
    assert seen["params"] == {"q": "1,2"}
    assert seen["route"] == {"deviceId": "a%b"}
    assert seen["headers"]["x-mine"] == "yes"
    assert seen["body"] == "körper"


async def test_a_request_reaches_the_most_literal_route_that_takes_its_method(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    for method, function in (("GET", "my_device"), ("PUT", "device")):
        async with client.request(method, host.url("/v1/devices/mine")) as response:
            assert (await response.json())["function"] == function


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/unknown"),
        ("GET", "/api/devices/mine"),
        ("DELETE", "/v1/devices/mine"),
        ("GET", "/v1/off"),
    ],
)
async def test_what_no_function_serves_is_404_without_a_body(
    host: RunningHost, client: aiohttp.ClientSession, method: str, path: str
) -> None:
    assert await call(client, host.url(path), method) == (404, b"")


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/keyed", None, 401),
        ("/v1/keyed", "wrong", 401),
        ("/v1/keyed", "key-of-the-system", 401),
        ("/v1/keyed", "key-of-functions", 200),
        ("/v1/keyed", "key-of-the-master", 200),
        ("/v1/guarded", "key-of-functions", 401),
        ("/v1/guarded", "key-of-the-master", 200),
    ],
)
async def test_a_function_needs_a_key_of_its_level(
    host: RunningHost, client: aiohttp.ClientSession, path: str, key: str | None, status: int
) -> None:
    headers = {} if key is None else {"x-functions-key": key}
    by_header, body = await call(client, host.url(path), "POST", headers=headers)
    params = {} if key is None else {"code": key}
    by_query, _ = await call(client, host.url(path), "POST", params=params)
    assert (by_header, by_query) == (status, status)
    assert status == 200 or body == b""


async def test_the_header_goes_before_the_parameter_and_of_two_none_counts(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    right, url = "key-of-functions", host.url("/v1/keyed")
    for headers, code, status in (
        ([right], "wrong", 200),
        (["wrong"], right, 401),
        ([right, right], right, 401),
        ([""], right, 401),
        ([], right, 200),
    ):
        given = [("x-functions-key", key) for key in headers]
        async with client.post(url, headers=given, params={"code": code}) as response:
            assert response.status == status


async def test_an_answer_has_the_status_headers_and_bytes_of_the_function(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    async with client.get(host.url("/v1/answers/created")) as response:
        assert response.status == 201
        assert response.headers["Location"] == "/elsewhere"
        assert await response.read() == b"\x00\xff"


async def test_a_cookie_is_written_with_its_attributes_and_an_encoded_value(
    host: RunningHost, client: aiohttp.ClientSession
) -> None:
    async with client.get(host.url("/v1/answers/cookie")) as response:
        assert response.headers.getall("Set-Cookie") == [
            "one=a.b%2Fc; max-age=60; path=/api; secure; samesite=strict; httponly"
        ]


@pytest.mark.parametrize("kind", ["unknown", "no-number", "nothing"])
async def test_a_failure_or_what_is_no_http_answer_is_500_without_a_body(
    host: RunningHost, client: aiohttp.ClientSession, kind: str
) -> None:
    assert await call(client, host.url(f"/v1/answers/{kind}")) == (500, b"")


async def test_a_running_invocation_ends_before_the_host_which_has_logged_failures(
    client: aiohttp.ClientSession,
) -> None:
    async with host_running("web", {}) as host:
        await call(client, host.url("/v1/answers/unknown"))
        answer = asyncio.create_task(call(client, host.url("/v1/slow")))
        assert host.process.stdout is not None
        assert await host.process.stdout.readline() == b"slow began\n"
        code, log = await host.end()
        assert (code, await answer) == (0, (200, b"done"))
    assert 'serves {"name": "device", "trigger": "httpTrigger", "route": "/v1/devices/' in log
    assert "WARNING my.app: about to fail" in log
    assert "answer failed: LookupError: nothing of that kind" in log
    assert 'raise LookupError("nothing of that kind")' in log
    assert "key-of-functions" not in log


async def test_a_host_whose_invocation_outlasts_the_grace_time_ends_anyway(
    client: aiohttp.ClientSession,
) -> None:
    async with host_running("web", {}, "--grace-seconds", "0.05") as host:
        answer = asyncio.create_task(call(client, host.url("/v1/slow")))
        assert host.process.stdout is not None
        assert await host.process.stdout.readline() == b"slow began\n"
        code, log = await host.end()
        with pytest.raises(aiohttp.ClientError):
            await answer
    assert code == 0
    assert "functions are still running after 0.05 s" in log
