"""The routes of the OpenAPI document: parameters, bodies and answers."""

from __future__ import annotations

from typing import Any

from firstpull.model.device_record import State
from functions.openapi_schemas import ANY, NUMBER, TEXT, ref

_NAME = {"type": "string", "minLength": 1}
_OPEN: dict[str, Any] = {"security": []}


def paths() -> dict[str, Any]:
    """All routes, by their path below the server's."""
    return {**_devices(), **_ways_in(), **_fleet(), **_poison(), **_open_doors()}


def _parameter(name: str, ref: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": ref, "required": ref == "path", "schema": schema}


_WAIT = _parameter("Prefer", "header", {"type": "string", "examples": ["wait=20"]})
_DRY_RUN = _parameter("dryRun", "query", {"type": "string", "enum": ["true", "false"]})
_HUB = _parameter("hub", "query", TEXT)
_DEVICE = _parameter("deviceId", "path", _NAME)


def _devices() -> dict[str, Any]:
    asked, of_one = _asked(), _problems(400, 404, 503)
    generation = _parameter("generation", "path", {"type": "integer", "minimum": 1})
    return {
        "/devices": {
            "post": _operation("create_device", [_DRY_RUN, _WAIT], asked, body="OnboardingRequest"),
            "get": _operation(
                "list_devices",
                [
                    _HUB,
                    _parameter("deviceId", "query", TEXT),
                    _parameter("state", "query", {"type": "string", "enum": list(State)}),
                    _parameter("connectedRegistry", "query", TEXT),
                    _parameter("after", "query", TEXT),
                    _parameter("size", "query", {"type": "integer", "minimum": 1, "maximum": 1000}),
                ],
                {"200": _answer("A page of devices.", ref("DeviceList")), **_problems(400, 503)},
            ),
        },
        "/devices/{deviceId}": {
            "put": _operation(
                "put_device", [_DEVICE, _DRY_RUN, _WAIT], asked, body="OnboardingRequestOfAddress"
            ),
            "get": _operation(
                "get_device",
                [_DEVICE, _HUB],
                {"200": _answer("The device.", ref("Device")), **of_one},
            ),
            "delete": _operation(
                "revoke_device",
                [_DEVICE, _HUB, _DRY_RUN, _WAIT],
                {
                    "200": _answer("Its access is gone; or, of a dry run, the plan.", _EITHER),
                    "202": _RECORDED,
                    **of_one,
                },
            ),
        },
        "/devices/{deviceId}/rotate": {
            "post": _operation(
                "rotate_device",
                [_DEVICE, _HUB, _DRY_RUN, _WAIT],
                {**asked, **_problems(404)},
                body="RotationRequest",
                body_required=False,
            )
        },
        "/devices/{deviceId}/operations/{generation}": {
            "get": _operation(
                "get_operation",
                [_DEVICE, generation, _HUB],
                {"200": _answer("How far this request is.", ref("Operation")), **of_one},
            )
        },
    }


def _ways_in() -> dict[str, Any]:
    signature = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "/webhooks/devices": {
            "post": {
                **_operation(
                    "receive_webhook",
                    [_DRY_RUN, _WAIT, *(_parameter(name, "header", TEXT) for name in signature)],
                    {**_asked(), **_problems(401)},
                    body="OnboardingRequest",
                ),
                **_OPEN,
            }
        },
        "/provisioning": {
            "post": _operation(
                "allocate_device",
                [_DRY_RUN],
                {
                    "200": _answer("The hub; or, of a dry run, the plan.", ANY),
                    **_problems(400, 403, 409, 503),
                },
                body="ProvisioningRequest",
            )
        },
    }


def _fleet() -> dict[str, Any]:
    approved = {"anyOf": [ref("Sweep"), ref("Intended")]}
    return {
        "/sites": {
            "get": _operation(
                "list_sites",
                [],
                {"200": _answer("How full the sites are.", ref("Sites")), **_problems(400, 503)},
            )
        },
        "/sweep": {
            "get": _operation(
                "get_sweep",
                [],
                {
                    "200": _answer("What the last sweep found.", ref("Sweep")),
                    **_problems(400, 404, 503),
                },
            )
        },
        "/sweep/approve": {
            "post": _operation(
                "approve_sweep",
                [_DRY_RUN],
                {
                    "200": _answer("Approved; or, of a dry run, what would be done.", approved),
                    **_problems(400, 404, 503),
                },
                body="SweepApproval",
            )
        },
    }


def _poison() -> dict[str, Any]:
    message = [_parameter("queue", "path", _NAME), _parameter("messageId", "path", _NAME), _DRY_RUN]
    resent = {"anyOf": [ref("PoisonMessage"), ref("Intended")]}
    return {
        "/poison": {
            "get": _operation(
                "list_poison",
                [_parameter("queue", "query", TEXT)],
                {
                    "200": _answer("The oldest kept messages.", ref("PoisonList")),
                    **_problems(400, 503),
                },
            )
        },
        "/poison/{queue}/{messageId}": {
            "delete": _operation(
                "discard_poison",
                message,
                {
                    "200": _answer("Of a dry run: what would be done.", ref("Intended")),
                    "204": {"description": "Thrown away."},
                    **_problems(400, 404, 503),
                },
            )
        },
        "/poison/{queue}/{messageId}/resend": {
            "post": _operation(
                "resend_poison",
                message,
                {
                    "200": _answer("Sent again; or, of a dry run, what would be done.", resent),
                    **_problems(400, 404, 503),
                },
            )
        },
    }


def _open_doors() -> dict[str, Any]:
    loaded = {"200": _answer("The app is loaded.", ANY)}
    described = {"200": _answer("This document.", ANY)}
    return {
        "/healthz": {"get": {**_operation("healthz", [], loaded), **_OPEN}},
        "/openapi.json": {"get": {**_operation("openapi", [], described), **_OPEN}},
    }


def _asked() -> dict[str, Any]:
    return {
        "200": _answer("The device has what is asked for; or, of a dry run, the plan.", _EITHER),
        "202": _RECORDED,
        **_problems(400, 403, 409, 503),
    }


def _operation(
    name: str,
    parameters: list[dict[str, Any]],
    answers: dict[str, Any],
    *,
    body: str | None = None,
    body_required: bool = True,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "parameters": parameters,
        "responses": {"401": {"description": "The key is missing or wrong."}, **answers},
    }
    if body is not None:
        content = {"application/json": {"schema": ref(body)}}
        operation["requestBody"] = {"required": body_required, "content": content}
    return operation


def _answer(
    description: str,
    schema: dict[str, Any],
    headers: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    found = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers is not None:
        found["headers"] = {name: {"schema": of} for name, of in headers.items()}
    return found


_EITHER: dict[str, Any] = {"anyOf": [ref("Device"), ref("Plan")]}
_RECORDED = _answer(
    "Recorded; Operation-Location says where to look.",
    ref("Device"),
    headers={"Operation-Location": TEXT, "Location": TEXT, "Retry-After": NUMBER},
)

_PROBLEMS = {
    400: "The request is not valid; `errors` says where.",
    401: "The signature is not valid.",
    403: "The policy does not allow it.",
    404: "There is no such thing.",
    409: "It contradicts what was asked for later, or what the device has.",
    503: "Something passing; Retry-After says when to ask again.",
}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {
        str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses
    }
