"""What every endpoint refuses, whatever it serves: parameters it does not know, and lost bodies.

The requests are made as Microsoft's host makes them: `params` lacks parameters without a value,
and a body in chunks arrives empty.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
import pytest

from firstpull.bootstrap import Runtime
from firstpull.model.clock import SystemClock
from firstpull.model.device_record import State
from firstpull.model.errors import FirstpullError
from firstpull.model.ports import Page, Query
from functions.endpoints import ENDPOINTS

type Function = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]

_REGISTRY = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/contoso"
)
_SETTINGS = {
    "FIRSTPULL_POLICY": json.dumps(
        {
            "hubs": ["h.azure-devices.net"],
            "containerRegistries": [_REGISTRY],
            "connectedRegistries": [{"name": "plantone"}],
        }
    ),
    "FIRSTPULL_KEY_VAULT_URL": "https://v.vault.azure.net",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
}
_IN_PATH = {"deviceId": "d", "generation": "1", "queue": "device-events", "messageId": "m"}


@pytest.fixture(scope="module")
def functions() -> dict[str, Function]:
    """All HTTP functions of the app, by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _SETTINGS.items():
            patch.setenv(name, value)
        app = importlib.import_module("function_app").app
    app.functions_bindings = {}  # an app lists its functions once
    return {f.get_function_name(): f.get_user_function() for f in app.get_functions()}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    """The queries that reached the application, which can list devices and nothing else."""
    queries: list[Query] = []

    async def page(query: Query) -> Page:
        queries.append(query)
        return Page(records=(), next_page=None)

    async def no_errors() -> list[FirstpullError]:
        return []

    async def application(_: Runtime) -> SimpleNamespace:
        return SimpleNamespace(
            onboarding=SimpleNamespace(page=page),
            ports=SimpleNamespace(clock=SystemClock()),
            readiness=SimpleNamespace(errors=no_errors),
            policy=None,
            webhook_keys=(),
        )

    monkeypatch.setattr(Runtime, "application", application)
    return queries


async def _call(
    functions: dict[str, Function],
    name: str,
    *,
    query: str = "",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> func.HttpResponse:
    method, path = ENDPOINTS[name].route.split()
    required = [known.name for known in ENDPOINTS[name].query if known.required]
    given = {key for key, _ in parse_qsl(query, keep_blank_values=True)}
    query = "&".join(filter(None, (query, *(f"{key}=d" for key in required if key not in given))))
    route = {part: _IN_PATH[part] for part in re.findall(r"{(\w+)}", path)}
    joined: dict[str, str] = {}
    for key, value in parse_qsl(query):
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    request = func.HttpRequest(
        method,
        f"http://127.0.0.1:7071/api{path.format(**route)}{query and '?'}{query}",
        headers=headers,
        params=joined,
        route_params=route,
        body=body,
    )
    return await functions[name](request)


def _check(answer: func.HttpResponse, status: int, reason: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer.get_body())
    assert (answer.status_code, document["status"], document["reason"]) == (status, status, reason)
    assert answer.mimetype == "application/problem+json"
    return document


def _refused(answer: func.HttpResponse) -> list[str]:
    """The parameters that were refused."""
    errors = _check(answer, 400, "InvalidRequest").get("errors", [])
    return [error["path"] for error in errors]


_ALL = pytest.mark.parametrize("name", ENDPOINTS)
_TAKE_OTHERS = [name for name, endpoint in ENDPOINTS.items() if endpoint.takes_other_parameters]
_KNOWN = [(name, known.name) for name, endpoint in ENDPOINTS.items() for known in endpoint.query]


@_ALL
@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("x", ["x"]),
        ("x=", ["x"]),
        ("=", [""]),
        ("y&x=", ["x", "y"]),
        ("x=1&x=", ["x"]),
        ("%78=", ["x"]),
        ("code=key&x", ["x"]),
    ],
)
async def test_a_parameter_without_a_value_is_refused(
    functions: dict[str, Function], name: str, query: str, refused: list[str]
) -> None:
    assert _refused(await _call(functions, name, query=query)) == refused


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name not in _TAKE_OTHERS])
async def test_an_unknown_parameter_is_refused(functions: dict[str, Function], name: str) -> None:
    assert _refused(await _call(functions, name, query="x=1&y=2")) == ["x", "y"]


@pytest.mark.parametrize(("name", "status"), [("receive_webhook", 401), ("allocate_device", 400)])
async def test_callers_that_cannot_choose_may_have_parameters_of_their_own(
    functions: dict[str, Function], name: str, status: int
) -> None:
    answer = await _call(functions, name, query="source=factory&tag=a&tag=b")
    assert answer.status_code == status
    assert "errors" not in json.loads(answer.get_body())


@pytest.mark.parametrize(("name", "parameter"), _KNOWN)
@pytest.mark.parametrize("query", ["{}", "{}=", "{}=true&{}=true", "{}=true&{}="])
async def test_a_known_parameter_has_one_value(
    functions: dict[str, Function], name: str, parameter: str, query: str
) -> None:
    answer = await _call(functions, name, query=query.replace("{}", parameter))
    assert _refused(answer) == [parameter]


@pytest.mark.parametrize("name", [name for name, parameter in _KNOWN if parameter == "dryRun"])
@pytest.mark.parametrize("query", ["dryrun=true", "DryRun=true", "dryRun=True", "dryRun=1"])
async def test_what_only_looks_like_a_dry_run_is_refused(
    functions: dict[str, Function], name: str, query: str
) -> None:
    assert _refused(await _call(functions, name, query=query)) == [query.partition("=")[0]]


@pytest.mark.parametrize("key", ["code", "CODE", "Code"])
async def test_a_function_key_is_no_parameter(
    functions: dict[str, Function], asked: list[Query], key: str
) -> None:
    for name in ("list_devices", "healthz", "readyz", "openapi"):
        assert (await _call(functions, name, query=f"{key}=key")).status_code == 200
    assert asked == [Query(tombstones=False)]


async def test_parameters_are_read_from_the_address(
    functions: dict[str, Function], asked: list[Query]
) -> None:
    query = "state=Ready,Blocked&size=7&hub=H%2B&deviceId=a%26b+c"
    assert (await _call(functions, "list_devices", query=query)).status_code == 200
    (found,) = asked
    assert (found.size, found.hub, found.device_id) == (7, "H+", "a&b c")
    assert found.states == {State.READY, State.BLOCKED}


@pytest.mark.parametrize("query", ["state=Ready,", "state=Ready,Asleep", "state=,", "order=state"])
async def test_a_value_that_is_none_of_a_parameters_is_refused(
    functions: dict[str, Function], query: str
) -> None:
    answer = await _call(functions, "list_devices", query=query)
    assert _refused(answer) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    ("query", "shown"),
    [("", False), ("tombstones=true", True), ("state=Revoked", True), ("state=Ready", False)],
)
async def test_tombstones_are_shown_to_those_who_ask_for_them(
    functions: dict[str, Function], asked: list[Query], query: str, *, shown: bool
) -> None:
    assert (await _call(functions, "list_devices", query=query)).status_code == 200
    assert [found.tombstones for found in asked] == [shown]


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name.endswith("_by_parameter")])
async def test_a_device_that_neither_path_nor_parameter_names_is_asked_for(
    functions: dict[str, Function], name: str
) -> None:
    method, path = ENDPOINTS[name].route.split()
    request = func.HttpRequest(method, f"http://127.0.0.1:7071/api{path}", body=b"")
    required = [known.name for known in ENDPOINTS[name].query if known.required]
    assert _refused(await functions[name](request)) == required
    assert required[0] == "deviceId"


@pytest.mark.parametrize("name", [name for name, e in ENDPOINTS.items() if "{deviceId}" in e.route])
@pytest.mark.parametrize("device_id", ["a%2Fb", "a%2fb", "a/b", "%FF", "%", "a%b", "a%41", "%2E"])
async def test_an_id_that_a_path_does_not_carry_is_refused_there(
    functions: dict[str, Function], name: str, device_id: str
) -> None:
    method, path = ENDPOINTS[name].route.split()
    route = {"deviceId": device_id, "generation": "1"}
    url = f"http://127.0.0.1:7071/api{path.format(**route)}"
    request = func.HttpRequest(method, url, route_params=route, body=b"")
    answer = await functions[name](request)
    assert _refused(answer) == ["deviceId"]
    assert "/api/devices?deviceId=" in json.loads(answer.get_body())["detail"]


@_ALL
@pytest.mark.parametrize("query", ["", "?dryRun=true", "?deviceId=d"])
async def test_an_address_whose_last_part_is_lost_is_not_the_one_above(
    functions: dict[str, Function], asked: list[Query], name: str, query: str
) -> None:
    """The host resolves `devices/.` to `devices/`, and serves it like `devices`."""
    method, path = ENDPOINTS[name].route.split()
    route = {part: _IN_PATH[part] for part in re.findall(r"{(\w+)}", path)}
    url = f"http://127.0.0.1:7071/api{path.format(**route)}/{query}"
    request = func.HttpRequest(method, url, route_params=route, body=b"")
    assert _refused(await functions[name](request)) == [""]
    assert asked == []


@_ALL
@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked"])
async def test_a_body_in_chunks_that_did_not_arrive_is_asked_for_again(
    functions: dict[str, Function], name: str, coding: str
) -> None:
    headers = {"Transfer-Encoding": coding}
    for query in ("", "dryRun=true", "x"):
        answer = await _call(functions, name, query=query, headers=headers)
        assert "Content-Length" in _check(answer, 411, "LengthRequired")["detail"]


@pytest.mark.parametrize(("coding", "body"), [("chunked", b"{}"), ("identity", b"")])
async def test_only_a_lost_body_is_asked_for_again(
    functions: dict[str, Function], coding: str, body: bytes
) -> None:
    headers = {"Transfer-Encoding": coding}
    answer = await _call(functions, "list_devices", body=body, headers=headers)
    assert answer.status_code == 200
