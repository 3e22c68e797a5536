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
from local_azure.management import Body, create_management_application, read_body

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


class SyncBody(Body):
    connected_registry: str


async def sync_now(request: web.Request) -> web.Response:
    """Synchronizes a connected registry at once.

    And more that a list has no room for.
    """
    body = await read_body(request, SyncBody)
    return web.json_response({"synchronized": body.connected_registry})


@pytest.fixture(scope="module")
def keys() -> Kernel:
    return Kernel.create(seed=11, addresses=("127.0.0.1",))


@pytest.fixture
def kernel(keys: Kernel) -> Kernel:
    return replace(keys, clock=Clock(lambda: NOON), faults=Faults(), calls=CallLog())


@pytest.fixture
async def port(kernel: Kernel) -> AsyncIterator[TestClient[Any, Any]]:
    application = create_management_application(
        kernel, seed=11, routes=[web.post("/connected-registries/sync", sync_now)]
    )
    async with TestClient(TestServer(application)) as port:
        yield port


async def ask(
    port: TestClient[Any, Any], method: str, path: str, body: object = None
) -> tuple[int, Any]:
    async with port.request(method, path, json=body) as answer:
        return answer.status, await answer.json() if answer.status != 204 else None


async def test_the_root_lists_every_route_with_what_it_does(port: TestClient[Any, Any]) -> None:
    status, answer = await ask(port, "GET", "/")
    listed = {(route["method"], route["path"]): route["does"] for route in answer["routes"]}

    assert status == 200
    assert set(listed) == {
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/seed"),
        ("GET", "/clock"),
        ("POST", "/clock"),
        ("GET", "/calls"),
        ("DELETE", "/calls"),
        ("GET", "/faults"),
        ("POST", "/faults"),
        ("DELETE", "/faults"),
        ("PUT", "/latency"),
        ("GET", "/certificates/ca"),
        ("POST", "/certificates/clients"),
        ("POST", "/connected-registries/sync"),
    }
    assert all(listed.values())
    own = listed[("POST", "/connected-registries/sync")]
    assert own == "Synchronizes a connected registry at once."


async def test_routes_of_other_services_are_served_with_the_same_checks(
    port: TestClient[Any, Any],
) -> None:
    path = "/connected-registries/sync"
    assert await ask(port, "POST", path, {"connectedRegistry": "site"}) == (
        200,
        {"synchronized": "site"},
    )
    status, answer = await ask(port, "POST", path, {"connected_registry": 7})
    assert status == 400
    assert {error["field"] for error in answer["errors"]} == {
        "connectedRegistry",
        "connected_registry",
    }


async def test_what_is_not_there_is_refused_as_json(port: TestClient[Any, Any]) -> None:
    for method, path, expected in (("GET", "/clocks", 404), ("PATCH", "/clock", 405)):
        status, answer = await ask(port, method, path)
        assert status == expected
        assert path in answer["errors"][0]["message"]


async def test_health_and_seed_are_told(port: TestClient[Any, Any]) -> None:
    assert await ask(port, "GET", "/health") == (200, {"status": "ok"})
    assert await ask(port, "GET", "/seed") == (200, {"seed": 11})


async def test_the_clock_is_moved_forward_and_adds_up(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    assert await ask(port, "GET", "/clock") == (
        200,
        {"now": "2031-05-06T12:00:00.000000+00:00", "shiftSeconds": 0},
    )
    await ask(port, "POST", "/clock", {"advanceSeconds": 86400})
    assert await ask(port, "POST", "/clock", {"advanceSeconds": 0.5}) == (
        200,
        {"now": "2031-05-07T12:00:00.500000+00:00", "shiftSeconds": 86400.5},
    )
    assert kernel.clock.now() == NOON + timedelta(days=1, milliseconds=500)


@pytest.mark.parametrize(
    "body",
    [{}, {"advanceSeconds": -1}, {"advanceSeconds": "1"}, {"advanceSeconds": 1e12}, {"days": 1}, 7],
)
async def test_impossible_moves_of_the_clock_are_refused(
    kernel: Kernel, port: TestClient[Any, Any], body: object
) -> None:
    status, answer = await ask(port, "POST", "/clock", body)
    assert status == 400
    assert answer["errors"]
    assert kernel.clock.now() == NOON


async def test_calls_are_counted_listed_and_forgotten(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    for n in range(150):
        kernel.calls.add(Call("keyVault", "secrets.get", "GET", f"/secrets/{n}", 200))

    _, answer = await ask(port, "GET", "/calls")
    assert answer["counts"] == {"keyVault.secrets.get": 150}
    assert len(answer["latest"]) == 100
    assert answer["latest"][-1] == {
        "service": "keyVault",
        "operation": "secrets.get",
        "method": "GET",
        "path": "/secrets/149",
        "status": 200,
    }
    _, answer = await ask(port, "GET", "/calls?latest=1000")
    assert len(answer["latest"]) == 150
    assert (await ask(port, "GET", "/calls?latest=0"))[1]["latest"] == []
    assert (await ask(port, "GET", "/calls?latest=all"))[0] == 400

    assert await ask(port, "DELETE", "/calls") == (204, None)
    assert await ask(port, "GET", "/calls") == (200, {"counts": {}, "latest": []})


async def test_a_fault_with_every_field_is_put_in_force(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    said = {
        "operation": r"arm\.tokens\..*",
        "kind": "status",
        "status": 429,
        "code": "TooManyRequests",
        "retryAfter": "17",
        "skip": 2,
        "times": None,
    }
    status, answer = await ask(port, "POST", "/faults", said)

    assert status == 201
    assert said.items() <= answer.items()
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
    _, answer = await ask(port, "GET", "/faults")
    assert answer["rules"][0]["hits"] == 0
    assert said.items() <= answer["rules"][0].items()


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "answerLost"},
        {"kind": "reset", "times": 3},
        {"kind": "delay", "seconds": 1.5},
        {"kind": "status", "retryAfter": "Wed, 21 Oct 2026 07:28:00 GMT"},
    ],
)
async def test_faults_of_every_kind_are_taken(
    kernel: Kernel, port: TestClient[Any, Any], rule: dict[str, object]
) -> None:
    assert (await ask(port, "POST", "/faults", {"operation": "a.b", **rule}))[0] == 201
    assert kernel.faults.next_for("a.b") is not None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"operation": "("}, "operation"),
        ({"operation": ""}, "operation"),
        ({"kind": "explode"}, "kind"),
        ({"status": 200}, "status"),
        ({"status": "503"}, "status"),
        ({"code": "two words"}, "code"),
        ({"retryAfter": "soon"}, "retryAfter"),
        ({"retryAfter": "-1"}, "retryAfter"),
        ({"retryAfter": "Wed, 21 Oct 2026 07:28:00 GMT\n"}, "retryAfter"),
        ({"skip": -1}, "skip"),
        ({"times": 0}, "times"),
        ({"hits": 3}, "hits"),
        ({"retry_after": "7"}, "retry_after"),
        ({"seconds": 2.0}, ""),
        ({"kind": "delay"}, ""),
        ({"kind": "delay", "seconds": 1.0, "status": 500}, ""),
        ({"kind": "answerLost", "code": "Busy"}, ""),
    ],
)
async def test_wrong_faults_are_refused(
    kernel: Kernel, port: TestClient[Any, Any], wrong: dict[str, object], field: str
) -> None:
    status, answer = await ask(
        port, "POST", "/faults", {"operation": "a.b", "kind": "status"} | wrong
    )
    assert status == 400
    assert [error["field"] for error in answer["errors"]] == [field]
    assert kernel.faults.rules == []


async def test_all_errors_of_a_fault_are_told_at_once(port: TestClient[Any, Any]) -> None:
    _, answer = await ask(port, "POST", "/faults", {"status": 1, "times": 0, "why": ""})
    assert {error["field"] for error in answer["errors"]} == {
        "operation",
        "kind",
        "status",
        "times",
        "why",
    }


async def test_latency_is_set_and_cleared_with_the_faults(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    latency = {"leastSeconds": 0.1, "mostSeconds": 0.5}
    assert await ask(port, "PUT", "/latency", latency) == (200, latency)
    assert kernel.faults.latency_seconds == (0.1, 0.5)
    assert (await ask(port, "GET", "/faults"))[1]["latency"] == latency

    await ask(port, "POST", "/faults", {"operation": "a", "kind": "reset"})
    assert await ask(port, "DELETE", "/faults") == (204, None)
    assert await ask(port, "GET", "/faults") == (
        200,
        {"rules": [], "latency": {"leastSeconds": 0, "mostSeconds": 0}},
    )


@pytest.mark.parametrize(
    "body",
    [
        {"leastSeconds": 2, "mostSeconds": 1},
        {"leastSeconds": -1, "mostSeconds": 1},
        {"leastSeconds": 0, "mostSeconds": 3600},
        {"mostSeconds": 1},
    ],
)
async def test_impossible_latencies_are_refused(
    kernel: Kernel, port: TestClient[Any, Any], body: dict[str, float]
) -> None:
    assert (await ask(port, "PUT", "/latency", body))[0] == 400
    assert kernel.faults.latency_seconds == (0.0, 0.0)


async def test_the_certificate_authority_can_be_fetched_and_trusted(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    async with port.get("/certificates/ca") as answer:
        ca_pem = await answer.text()

    assert ca_pem == kernel.certificates.ca_pem
    x509.load_pem_x509_certificate(ca_pem.encode())


async def test_a_client_certificate_opens_a_connection_and_has_the_thumbprints_told(
    kernel: Kernel, port: TestClient[Any, Any], tmp_path: Path
) -> None:
    status, answer = await ask(port, "POST", "/certificates/clients", {"commonName": "camera-7"})
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())

    assert status == 201
    assert certificate.subject.rfc4514_string() == "CN=camera-7"
    sha1, sha256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 - what is compared
    assert answer["sha1Thumbprint"] == certificate.fingerprint(sha1).hex().upper()
    assert answer["sha256Thumbprint"] == certificate.fingerprint(sha256).hex().upper()

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.json_response(request.transport.get_extra_info("peercert")["subject"])

    application = web.Application()
    application.router.add_get("/", who)
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


@pytest.mark.parametrize("body", [{}, {"commonName": ""}, {"commonName": "x" * 65}])
async def test_client_certificates_need_a_name_that_x520_allows(
    port: TestClient[Any, Any], body: dict[str, str]
) -> None:
    assert (await ask(port, "POST", "/certificates/clients", body))[0] == 400


async def test_the_management_port_itself_is_neither_counted_nor_slowed_nor_broken(
    kernel: Kernel, port: TestClient[Any, Any]
) -> None:
    await ask(port, "POST", "/faults", {"operation": ".*", "kind": "reset", "times": None})
    await ask(port, "PUT", "/latency", {"leastSeconds": 200, "mostSeconds": 200})

    assert await asyncio.wait_for(ask(port, "GET", "/health"), 10) == (200, {"status": "ok"})
    assert kernel.calls.counts() == {}
