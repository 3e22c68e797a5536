"""test.http has a request for every route of the API, and each is as the API describes it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from functions.openapi import document

from .rest_client import ROOT, Request, described, read_requests

_VALUES = {
    "$processEnv FIRSTPULL_URL": "https://contoso.azurewebsites.net",
    "$processEnv IOT_HUB_HOSTNAME": "contoso.azure-devices.net",
    "$processEnv FIRSTPULL_KEY": "a-function-key",
    "$processEnv FIRSTPULL_TOKEN": "",
    "$timestamp": "1795449600",
}
_REQUESTS = read_requests(_VALUES)
_API = document()
_OF_EVERY_REQUEST = {"x-functions-key", "authorization", "content-type"}
_APP = (ROOT / "infra/modules/app.bicep").read_text()


def _operation(request: Request) -> dict[str, Any]:
    method, path = described(request, _API["paths"])
    operation: dict[str, Any] = _API["paths"][path][method]
    return operation


def _each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("request_", _REQUESTS, ids=lambda request: request.title)


def test_every_route_has_a_request() -> None:
    routes = {(method, path) for path, item in _API["paths"].items() for method in item}
    assert {described(request, _API["paths"]) for request in _REQUESTS} == routes


@_each()
def test_its_parameters_and_headers_are_known(request_: Request) -> None:
    known = {"query": set[str](), "header": set[str](), "path": set[str]()}
    for parameter in _operation(request_)["parameters"]:
        known[parameter["in"]].add(parameter["name"].lower())
    assert {name.lower() for name in request_.parameters} <= known["query"]
    assert request_.headers.keys() - _OF_EVERY_REQUEST <= known["header"]


@_each()
def test_it_has_a_key_where_one_is_asked_for(request_: Request) -> None:
    is_open = _operation(request_).get("security") == []
    assert ("x-functions-key" in request_.headers) is not is_open


@_each()
def test_it_has_a_place_for_a_token_where_entra_is_in_front(request_: Request) -> None:
    is_behind_entra = f"'{request_.path}'" not in _APP.partition("openPaths = [")[2].split("]")[0]
    assert request_.headers.get("authorization") == ("Bearer " if is_behind_entra else None)


@_each()
def test_its_body_is_what_the_route_takes(request_: Request) -> None:
    expected = _operation(request_).get("requestBody")
    assert (request_.body is not None) is (expected is not None)
    if request_.body is not None and expected is not None:
        assert request_.headers["content-type"] == "application/json"
        schema = expected["content"]["application/json"]["schema"]
        validator = jsonschema_rs.validator_for({**schema, "components": _API["components"]})
        validator.validate(json.loads(request_.body))
