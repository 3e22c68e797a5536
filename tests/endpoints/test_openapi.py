"""The API's own description is valid, complete, and true."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason

from .documents import Document, allocation, request, signed
from .endpoints import ONBOARDING, Endpoints
from .ways_in import TARGET

pytestmark = pytest.mark.xdist_group("endpoints of other apps")

_OPERATIONS = (
    ("POST", "/devices"),
    ("GET", "/devices"),
    ("PUT", "/devices/{deviceId}"),
    ("GET", "/devices/{deviceId}"),
    ("DELETE", "/devices/{deviceId}"),
    ("POST", "/devices/{deviceId}/rotate"),
    ("PUT", "/devices"),
    ("DELETE", "/devices"),
    ("POST", "/devices:rotate"),
    ("GET", "/devices:operation"),
    ("POST", "/devices:batch"),
    ("POST", "/devices:batchRevoke"),
    ("POST", "/devices:batchRotate"),
    ("POST", "/devices:rebuild"),
    ("GET", "/fleet.json"),
    ("GET", "/fleet"),
    ("POST", "/fleet"),
    ("GET", "/fleet/page.css"),
    ("GET", "/fleet/page.js"),
    ("GET", "/doctor"),
    ("GET", "/audit"),
    ("GET", "/devices/{deviceId}/operations/{generation}"),
    ("GET", "/sites"),
    ("GET", "/sweep"),
    ("POST", "/sweep/approve"),
    ("GET", "/revokes"),
    ("POST", "/revokes/approve"),
    ("POST", "/webhooks/devices"),
    ("POST", "/provisioning"),
    ("GET", "/poison"),
    ("DELETE", "/poison/{queue}/{messageId}"),
    ("DELETE", "/poison/{queue}"),
    ("POST", "/poison/{queue}/{messageId}/resend"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
)
_EXAMPLES = [4, pytest.param(40, marks=pytest.mark.slow)]
_SEED = 20261123
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
async def document(reserved_doors: Endpoints) -> Document:
    answer = await reserved_doors.call("GET", "openapi.json", headers={})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.document


def _operations(document: Document) -> dict[tuple[str, str], Document]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    }


def test_it_is_valid(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def test_every_reference_leads_somewhere_and_nothing_is_described_in_vain(
    document: Document,
) -> None:
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    for name in schemas:
        assert f'"#/components/schemas/{name}"' in text, name
    used = {part.split('"', 1)[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used == set(schemas)


def test_its_routes_are_those_that_the_host_serves(
    reserved_doors: Endpoints, document: Document
) -> None:
    marker = " functions_host: serves "
    functions = [
        json.loads(line.split(marker, 1)[1]) for line in reserved_doors.lines if marker in line
    ]
    served = {
        (method, function["route"].removeprefix("/api"), function["name"])
        for function in functions
        if function["trigger"] == "httpTrigger"
        for method in function["methods"]
    }
    described = {
        (method, path, operation["operationId"])
        for (method, path), operation in _operations(document).items()
    }
    assert described == served
    assert set(_operations(document)) == set(_OPERATIONS)
    assert document["servers"] == [{"url": "/api"}]


def test_every_reason_and_every_state_is_in_it(document: Document) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Reason"]["enum"]) == set(Reason)
    assert set(schemas["State"]["enum"]) == set(State)


def test_only_the_open_endpoints_ask_for_no_key(document: Document) -> None:
    without = {name for name, found in _operations(document).items() if found.get("security") == []}
    assert without == {
        ("POST", "/webhooks/devices"),
        *(("GET", path) for path in ("/healthz", "/readyz", "/openapi.json")),
    }


# The running app against it. Schemathesis blocks, and the cloud runs in this loop: so a thread.


_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _checked(endpoints: Endpoints, case: Case[Any]) -> int:
    """Sends a request, holds the answer against the document, and returns its status."""
    case.headers["x-functions-key"] = endpoints.app.key
    answer = case.call(base_url=f"{endpoints.app.url}/api", timeout=30)
    case.validate_response(answer, checks=_CHECKS)
    return int(answer.status_code)


def _try_out(
    endpoints: Endpoints, document: Document, operation: tuple[str, str], examples: int
) -> set[int]:
    """Bounded examples of one operation, always the same ones; the statuses that came back."""
    method, path = operation
    schema = schemathesis.openapi.from_dict(document)
    statuses: set[int] = set()

    @seed(_SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def run(case: Case[Any]) -> None:
        case.headers.pop("Prefer", None)  # nobody has to wait
        statuses.add(_checked(endpoints, case))

    run()
    return statuses


@pytest.mark.parametrize("operation", _OPERATIONS, ids=" ".join)
@pytest.mark.parametrize("examples", _EXAMPLES)
async def test_no_request_gets_an_answer_that_is_not_described(
    reserved_doors: Endpoints, document: Document, operation: tuple[str, str], examples: int
) -> None:
    assert await asyncio.to_thread(_try_out, reserved_doors, document, operation, examples)


@pytest.fixture(scope="module")
async def inhabited(reserved_doors: Endpoints) -> Endpoints:
    """Devices in several states, and a kept message, so that there is something to answer."""
    endpoints = reserved_doors
    endpoints.register("described-1")
    endpoints.register("described-2")
    await endpoints.call("PUT", "devices/described-1", TARGET)
    await endpoints.call("PUT", "devices/described-2", {**TARGET, "connectedRegistry": "doorgone"})
    await endpoints.call("PUT", "devices/described-3", TARGET)
    await endpoints.until_state("described-1", "Delivered")
    await endpoints.put_message(ONBOARDING, request("described-1", repositories=["Bad", "line/a"]))
    await endpoints.until_kept(ONBOARDING)
    await endpoints.until_state("described-2", "Blocked")
    await endpoints.until_state("described-3", "Waiting")
    return endpoints


_DEVICE, _OPERATION = "/devices/{deviceId}", "/devices/{deviceId}/operations/{generation}"
_ROTATE = f"{_DEVICE}/rotate"
_KEPT = "/poison/{queue}/{messageId}"


def _device(number: int, **more: Any) -> Document:  # noqa: ANN401 - path parameters
    return {"deviceId": f"described-{number}", **more}


_TAKEN: list[tuple[str, str, Document, int]] = [
    ("POST", "/devices", {"body": request("described-1")}, 200),
    ("POST", "/devices", {"body": request("described-3")}, 202),
    ("POST", "/devices", {"body": request("described-3"), "query": {"dryRun": "true"}}, 200),
    ("POST", "/devices", {"body": request("described-3"), "headers": {"Prefer": "wait=1"}}, 202),
    ("POST", "/devices", {"body": request("described-1", site="works")}, 400),
    ("POST", "/devices", {"body": request("described-1", actions=["content/write"])}, 403),
    ("PUT", _DEVICE, {"path_parameters": _device(1), "body": TARGET}, 200),
    (
        "PUT",
        _DEVICE,
        {"path_parameters": _device(2), "body": TARGET, "query": {"dryRun": "true"}},
        200,
    ),
    ("POST", _ROTATE, {"path_parameters": _device(1)}, 202),
    ("POST", _ROTATE, {"path_parameters": _device(1), "body": {"immediately": True}}, 202),
    ("POST", _ROTATE, {"path_parameters": _device(1), "query": {"dryRun": "true"}}, 200),
    ("POST", _ROTATE, {"path_parameters": _device(3)}, 409),
    ("POST", _ROTATE, {"path_parameters": _device(9)}, 404),
    ("GET", "/fleet.json", {}, 200),
    ("GET", "/doctor", {}, 200),
    ("GET", "/audit", {"query": {"since": "2026-01-01T00:00:00Z", "size": "1"}}, 200),
    ("GET", "/audit", {"query": {"since": "yesterday"}}, 400),
    ("POST", "/devices:batch", {"body": {"devices": [request("described-1")]}}, 200),
    ("POST", "/devices:batch", {"body": {"devices": [request("described-1"), {}]}}, 207),
    (
        "POST",
        "/devices:batch",
        {"body": {"devices": [request("described-4"), {}]}, "query": {"dryRun": "true"}},
        200,
    ),
    ("POST", "/devices:batch", {"body": {"devices": []}}, 400),
    (
        "POST",
        "/devices:batchRevoke",
        {"body": {"devices": [{"deviceId": "described-1"}]}, "query": {"dryRun": "true"}},
        200,
    ),
    ("POST", "/devices:batchRevoke", {"body": {"devices": [{"deviceId": "nobody"}]}}, 207),
    ("POST", "/devices:batchRotate", {"body": {"devices": [{"deviceId": "nobody"}]}}, 207),
    ("POST", "/devices:batchRotate", {"body": {"devices": []}}, 400),
    ("POST", "/devices:rebuild", {"query": {"size": 1, "dryRun": "true"}}, 200),
    ("POST", "/devices:rebuild", {"query": {"deviceId": "described-1"}}, 200),
    ("POST", "/devices:rebuild", {"query": {"deviceId": "described-9"}}, 404),
    ("POST", "/devices:rebuild", {"query": {"after": "elsewhere"}}, 400),
    (
        "PUT",
        "/devices",
        {
            "query": {"deviceId": "described-1"},
            "body": TARGET,
            "headers": {"Prefer": "wait=20"},  # its rotation may still be under way
        },
        200,
    ),
    ("PUT", "/devices", {"body": TARGET}, 400),
    (
        "PUT",
        _DEVICE,
        {
            "path_parameters": _device(2),
            "body": {**TARGET, "connectedRegistry": "doorgone"},
            "headers": {"Prefer": "wait=20"},
        },
        424,
    ),
    ("POST", "/devices:rotate", {"query": {"deviceId": "described-9"}}, 404),
    ("DELETE", "/devices", {"query": {"deviceId": "described-9"}}, 404),
    ("GET", "/devices:operation", {"query": {"deviceId": "described-1", "generation": "1"}}, 200),
    ("GET", "/devices:operation", {"query": {"deviceId": "described-1", "generation": "0"}}, 404),
    ("GET", "/devices", {"query": {"order": "since", "state": "Blocked,Waiting"}}, 200),
    ("GET", "/devices", {"query": {"reason": "ConnectedRegistryNotFound"}}, 200),
    ("GET", "/devices", {"query": {"connectedRegistry": "nowhere"}}, 400),
    ("GET", "/sites", {}, 200),
    ("GET", "/sites", {"query": {"full": "true"}}, 400),
    ("GET", "/sweep", {}, 404),
    ("POST", "/sweep/approve", {"body": {"sweep": "x"}}, 404),
    ("POST", "/sweep/approve", {"body": {"sweep": 1}}, 400),
    ("GET", "/devices", {}, 200),
    ("GET", "/devices", {"query": {"size": 1}}, 200),
    ("GET", "/devices", {"query": {"state": "Blocked"}}, 200),
    ("GET", _DEVICE, {"path_parameters": _device(1)}, 200),
    ("GET", _DEVICE, {"path_parameters": _device(2)}, 200),
    ("GET", _DEVICE, {"path_parameters": _device(9)}, 404),
    ("GET", _DEVICE, {"path_parameters": _device(1), "query": {"hub": "stranger"}}, 404),
    ("GET", _OPERATION, {"path_parameters": _device(1, generation=1)}, 200),
    ("GET", _OPERATION, {"path_parameters": _device(2, generation=1)}, 200),
    ("GET", _OPERATION, {"path_parameters": _device(3, generation=1)}, 200),
    ("GET", _OPERATION, {"path_parameters": _device(1, generation=7)}, 404),
    ("DELETE", _DEVICE, {"path_parameters": _device(1), "query": {"dryRun": "true"}}, 200),
    ("DELETE", _DEVICE, {"path_parameters": _device(1)}, 202),
    ("DELETE", _DEVICE, {"path_parameters": _device(1), "headers": {"Prefer": "wait=20"}}, 200),
    ("DELETE", _DEVICE, {"path_parameters": _device(1)}, 200),
    ("GET", _DEVICE, {"path_parameters": _device(1)}, 200),
    ("GET", "/devices", {"query": {"state": "Revoked"}}, 200),
    ("POST", _ROTATE, {"path_parameters": _device(1)}, 409),
    ("DELETE", _DEVICE, {"path_parameters": _device(9)}, 404),
    ("POST", "/webhooks/devices", {"body": request("described-1")}, 401),
    ("POST", "/provisioning", {"body": {"linkedHubs": ["x"]}}, 400),
    ("GET", "/poison", {}, 200),
    ("DELETE", _KEPT, {"query": {"dryRun": "true"}}, 200),
    ("POST", f"{_KEPT}/resend", {"query": {"dryRun": "true"}}, 200),
    ("POST", f"{_KEPT}/resend", {}, 200),
    ("DELETE", _KEPT, {}, 204),
    ("GET", "/healthz", {}, 200),
    ("GET", "/readyz", {}, 200),
    ("GET", "/openapi.json", {}, 200),
]


@pytest.mark.parametrize(
    ("method", "path", "given_parts", "status"),
    [pytest.param(*row, id=f"{row[0]} {row[1]} {row[3]} {n}") for n, row in enumerate(_TAKEN)],
)
async def test_what_is_answered_is_what_is_described(
    inhabited: Endpoints,
    document: Document,
    method: str,
    path: str,
    given_parts: Document,
    status: int,
) -> None:
    parts = {"headers": {}, **given_parts}
    if path.startswith(_KEPT):
        message = await inhabited.until_kept(ONBOARDING)
        parts["path_parameters"] = {"queue": ONBOARDING, "messageId": message["id"]}
    schema = schemathesis.openapi.from_dict(document)
    if "body" in parts:
        parts["media_type"] = "application/json"
    case = schema[path][method].Case(**parts)
    assert await asyncio.to_thread(_checked, inhabited, case) == status


async def test_the_answers_of_the_signed_endpoint_and_of_provisioning_are_described(
    endpoints: Endpoints, document: Document
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    text = case_body = request("described-signed")
    signature = signed(json.dumps(text).encode(), key=endpoints.webhook_keys[0])
    hubs = [endpoints.stack.iot_hub_host_name]
    for path, body, headers, status in (
        ("/webhooks/devices", case_body, signature, 202),
        ("/provisioning", allocation("described-dps", hubs=hubs), {}, 200),
    ):
        case = schema[path]["POST"].Case(
            body=body, media_type="application/json", headers=dict(headers)
        )
        assert await asyncio.to_thread(_checked, endpoints, case) == status
