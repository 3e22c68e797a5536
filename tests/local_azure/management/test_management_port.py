from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from local_azure.kernel import Kernel
from local_azure.kernel.calls import Call, CallLog
from local_azure.kernel.clock import Clock
from local_azure.kernel.faults import Fault, FaultKind, Faults
from local_azure.kernel.latency import Latency
from local_azure.management import Body, create_management_application, read_body

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


class SyncBody(Body):
    connected_registry: str


async def sync_now(request: web.Request) -> web.Response:
    """Syncs a connected registry at once.

    The list of routes shows only the first line.
    """
    body = await read_body(request, SyncBody)
    return web.json_response({"synced": body.connected_registry})


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    return replace(shared_kernel, clock=Clock(lambda: NOON), faults=Faults(), calls=CallLog())


@pytest.fixture
async def port(kernel: Kernel) -> AsyncIterator[TestClient[Any, Any]]:
    application = create_management_application(
        kernel, seed=11, routes=[web.post("/connectedRegistries/sync", sync_now)]
    )
    async with TestClient(TestServer(application)) as port:
        yield port


async def call(
    port: TestClient[Any, Any], method: str, path: str, body: object = None
) -> tuple[int, Any]:
    async with port.request(method, path, json=body) as answer:
        return answer.status, await answer.json() if answer.status != 204 else None


async def test_the_root_lists_every_route_with_a_description(port: TestClient[Any, Any]) -> None:
    status, answer = await call(port, "GET", "/")
    listed = {(route["method"], route["path"]): route["does"] for route in answer["routes"]}

    assert status == 200
    assert all(listed.values())
    assert {("GET", "/"), ("POST", "/clock")} <= set(listed)
    assert listed["POST", "/connectedRegistries/sync"] == "Syncs a connected registry at once."


async def test_an_answer_names_every_wrong_field_and_unknown_paths(
    port: TestClient[Any, Any],
) -> None:
    path = "/connectedRegistries/sync"
    body: dict[str, object] = {"connectedRegistry": "site"}
    assert await call(port, "POST", path, body) == (200, {"synced": "site"})
    status, answer = await call(port, "POST", path, {"connected_registry": 7})
    fields = {error["field"] for error in answer["errors"]}
    assert (status, fields) == (400, {"connectedRegistry", "connected_registry"})
    for method, unknown, expected in (("GET", "/clocks", 404), ("PATCH", "/clock", 405)):
        status, answer = await call(port, method, unknown)
        assert status == expected
        assert unknown in answer["errors"][0]["message"]


async def test_the_clock_can_be_moved_forward(kernel: Kernel, port: TestClient[Any, Any]) -> None:
    assert await call(port, "GET", "/seed") == (200, {"seed": 11})
    assert await call(port, "GET", "/clock") == (
        200,
        {"now": "2031-05-06T12:00:00+00:00", "shiftSeconds": 0},
    )
    await call(port, "POST", "/clock", {"advanceSeconds": 86400})
    assert await call(port, "POST", "/clock", {"advanceSeconds": 0.5}) == (
        200,
        {"now": "2031-05-07T12:00:00.5+00:00", "shiftSeconds": 86400.5},
    )
    assert kernel.clock.now() == NOON + timedelta(days=1, milliseconds=500)


async def test_calls_are_counted_listed_and_reset(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    for n in range(150):
        kernel.calls.add(Call("keyVault", "secrets.get", "GET", f"/secrets/{n}", 200))

    _, answer = await call(port, "GET", "/calls")
    assert answer["counts"] == {"keyVault.secrets.get": 150}
    assert len(answer["latest"]) == 100
    assert answer["latest"][-1] == {
        "service": "keyVault",
        "operation": "secrets.get",
        "method": "GET",
        "path": "/secrets/149",
        "status": 200,
    }
    for latest, shown in (("1000", 150), ("0", 0)):
        assert len((await call(port, "GET", f"/calls?latest={latest}"))[1]["latest"]) == shown
    assert (await call(port, "GET", "/calls?latest=all"))[0] == 400

    assert await call(port, "DELETE", "/calls") == (204, None)
    assert await call(port, "GET", "/calls") == (200, {"counts": {}, "latest": []})


async def test_a_fault_with_every_field_is_added(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    given = {
        "operation": r"arm\.tokens\..*",
        "kind": "status",
        "status": 429,
        "code": "TooManyRequests",
        "retryAfter": "17",
        "skip": 2,
        "times": None,
    }
    status, answer = await call(port, "POST", "/faults", given)

    assert status == 201
    assert given.items() <= answer.items()
    assert kernel.faults.rules == [
        Fault(
            r"arm\.tokens\..*",
            FaultKind.STATUS,
            status=429,
            code="TooManyRequests",
            retry_after="17",
            skip=2,
            times=None,
        )
    ]
    _, answer = await call(port, "GET", "/faults")
    assert given.items() | {("hits", 0)} <= answer["rules"][0].items()


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "answerLost"},
        {"kind": "reset", "times": 3},
        {"kind": "delay", "seconds": 1.5},
        {"kind": "status", "retryAfter": "Wed, 21 Oct 2026 07:28:00 GMT"},
    ],
)
async def test_a_fault_of_every_kind_is_added(
    kernel: Kernel, port: TestClient[Any, Any], rule: dict[str, object]
) -> None:
    assert (await call(port, "POST", "/faults", {"operation": "a.b", **rule}))[0] == 201
    assert kernel.faults.next_for("a.b") is not None


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"operation": "("}, ["operation"]),
        ({"operation": "", "kind": "explode"}, ["operation", "kind"]),
        ({"status": 200, "times": 0, "why": ""}, ["status", "times", "why"]),
        ({"status": "503"}, ["status"]),
        ({"code": "two words"}, ["code"]),
        ({"retryAfter": "soon"}, ["retryAfter"]),
        ({"retryAfter": "-1"}, ["retryAfter"]),
        ({"retryAfter": "Wed, 21 Oct 2026 07:28:00 GMT\n"}, ["retryAfter"]),
        ({"skip": -1}, ["skip"]),
        ({"retry_after": "7", "hits": 3}, ["retry_after", "hits"]),
        ({"seconds": 2.0}, [""]),
        ({"kind": "delay"}, [""]),
        ({"kind": "delay", "seconds": 1.0, "status": 500}, [""]),
        ({"kind": "answerLost", "code": "Busy"}, [""]),
    ],
)
async def test_an_invalid_fault_is_refused(
    kernel: Kernel, port: TestClient[Any, Any], wrong: dict[str, object], fields: list[str]
) -> None:
    body = {"operation": "a.b", "kind": "status"} | wrong
    status, answer = await call(port, "POST", "/faults", body)
    assert status == 400
    assert [error["field"] for error in answer["errors"]] == fields
    assert kernel.faults.rules == []


async def test_latency_is_set_and_removed_with_the_faults(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    latency = {"leastSeconds": 0.1, "mostSeconds": 0.5, "operations": []}
    assert await call(port, "PUT", "/latency", latency) == (200, latency)
    assert kernel.faults.latency == Latency(least_seconds=0.1, most_seconds=0.5)
    assert (await call(port, "GET", "/faults"))[1]["latency"] == latency

    await call(port, "POST", "/faults", {"operation": "a", "kind": "reset"})
    assert await call(port, "DELETE", "/faults") == (204, None)
    assert await call(port, "GET", "/faults") == (
        200,
        {"rules": [], "latency": {"leastSeconds": 0, "mostSeconds": 0, "operations": []}},
    )


async def test_the_first_operation_that_matches_decides_how_long_a_call_takes(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    slow = {"operation": "arm[.]tokens[.].*", "leastSeconds": 2, "mostSeconds": 2}
    other = {"operation": "arm[.].*", "leastSeconds": 1, "mostSeconds": 1}
    latency = {"leastSeconds": 0, "mostSeconds": 0, "operations": [slow, other]}
    assert await call(port, "PUT", "/latency", latency) == (200, latency)

    took = {
        name: kernel.faults.latency.of(name).most_seconds
        for name in ("arm.tokens.get", "arm.scopeMaps.get", "keyVault.secrets.set")
    }
    assert took == {"arm.tokens.get": 2, "arm.scopeMaps.get": 1, "keyVault.secrets.set": 0}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/clock", {}),
        ("POST", "/clock", 7),
        ("POST", "/clock", {"advanceSeconds": -1}),
        ("POST", "/clock", {"advanceSeconds": "1"}),
        ("POST", "/clock", {"advanceSeconds": 1e12}),
        ("PUT", "/latency", {"leastSeconds": 2, "mostSeconds": 1}),
        ("PUT", "/latency", {"leastSeconds": -1, "mostSeconds": 1}),
        ("PUT", "/latency", {"leastSeconds": 0, "mostSeconds": 3600}),
        ("PUT", "/latency", {"mostSeconds": 1}),
        (
            "PUT",
            "/latency",
            {
                "leastSeconds": 0,
                "mostSeconds": 0,
                "operations": [{"operation": "(", "leastSeconds": 0, "mostSeconds": 1}],
            },
        ),
        ("POST", "/certificates/clients", {}),
        ("POST", "/certificates/clients", {"commonName": ""}),
        ("POST", "/certificates/clients", {"commonName": "x" * 65}),
    ],
)
async def test_an_invalid_body_changes_nothing(
    kernel: Kernel, port: TestClient[Any, Any], method: str, path: str, body: object
) -> None:
    status, answer = await call(port, method, path, body)
    assert status == 400
    assert answer["errors"]
    assert kernel.clock.now() == NOON
    assert kernel.faults.latency == Latency()


async def test_a_client_certificate_opens_a_connection_and_has_both_thumbprints(
    kernel: Kernel, port: TestClient[Any, Any], tmp_path: Path
) -> None:
    async with port.get("/certificates/ca") as ca:
        assert await ca.text() == kernel.certificates.ca_pem
    status, answer = await call(port, "POST", "/certificates/clients", {"commonName": "camera-7"})
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())

    assert status == 201
    sha1, sha256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 - as IoT Hub
    assert answer["sha1Thumbprint"] == certificate.fingerprint(sha1).hex().upper()
    assert answer["sha256Thumbprint"] == certificate.fingerprint(sha256).hex().upper()

    async def subject(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.json_response(request.transport.get_extra_info("peercert")["subject"])

    application = web.Application()
    application.router.add_get("/", subject)
    server = TestServer(application, scheme="https")
    await server.start_server(
        ssl=kernel.certificates.server_context(ask_for_client_certificate=True)
    )
    chain = tmp_path / "client.pem"
    chain.write_text(answer["certificate"] + answer["key"])
    context: ssl.SSLContext = kernel.certificates.client_context()
    await asyncio.to_thread(context.load_cert_chain, chain)
    async with (
        ClientSession(connector=TCPConnector(ssl=context)) as session,
        session.get(server.make_url("/")) as seen,
    ):
        assert await seen.json() == [[["commonName", "camera-7"]]]
    await server.close()


async def test_calls_of_the_management_port_have_no_faults_and_are_not_counted(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    await call(port, "POST", "/faults", {"operation": ".*", "kind": "reset", "times": None})
    await call(port, "PUT", "/latency", {"leastSeconds": 200, "mostSeconds": 200})

    assert await call(port, "GET", "/health") == (200, {"status": "ok"})
    assert kernel.calls.counts() == {}
