"""The HTTP API's own description, OpenAPI 3.1, served by the API."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from firstpull.reasons import Reason
from firstpull.records import State
from firstpull.requests import OnboardingRequest
from functions.representations import ROUTE_PREFIX, json_answer

blueprint = func.Blueprint()

VERSION = "0.1.0"

_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}


@blueprint.function_name("openapi")
@blueprint.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def openapi(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/openapi.json: this document."""
    return json_answer(200, document())


def document() -> dict[str, Any]:
    """The OpenAPI document of all HTTP routes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "firstpull",
            "version": VERSION,
            "description": "Gives every new device the credentials for its first image pull.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ROUTE_PREFIX}],
        "security": [{"functionKey": []}, {"functionKeyInQuery": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "functionKeyInQuery": {"type": "apiKey", "in": "query", "name": "code"},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    wait = _parameter("Prefer", "header", {"type": "string", "examples": ["wait=20"]})
    dry_run = _parameter("dryRun", "query", {"type": "string", "enum": ["true", "false"]})
    hub = _parameter("hub", "query", _TEXT)
    device = _parameter("deviceId", "path", {"type": "string", "minLength": 1})
    queue = _parameter("queue", "path", {"type": "string", "minLength": 1})
    message = _parameter("messageId", "path", {"type": "string", "minLength": 1})
    asked = {
        "200": _answer("The device has what is asked for; or, of a dry run, the plan.", _EITHER),
        "202": _answer("Recorded; Operation-Location says where to look.", _ref("Device")),
        **_problems(400, 403, 409, 503),
    }
    return {
        "/devices": {
            "post": _operation("create_device", [dry_run, wait], asked, body="OnboardingRequest"),
            "get": _operation(
                "list_devices",
                [
                    hub,
                    _parameter("deviceId", "query", _TEXT),
                    _parameter("state", "query", {"type": "string", "enum": list(State)}),
                    _parameter("connectedRegistry", "query", _TEXT),
                    _parameter("after", "query", _TEXT),
                    _parameter("size", "query", {"type": "integer", "minimum": 1, "maximum": 1000}),
                ],
                {"200": _answer("A page of devices.", _ref("DeviceList")), **_problems(400, 503)},
            ),
        },
        "/devices/{deviceId}": {
            "put": _operation(
                "put_device", [device, dry_run, wait], asked, body="OnboardingRequestOfAddress"
            ),
            "get": _operation(
                "get_device",
                [device, hub],
                {"200": _answer("The device.", _ref("Device")), **_problems(400, 403, 404, 503)},
            ),
        },
        "/devices/{deviceId}/operations/{generation}": {
            "get": _operation(
                "get_operation",
                [device, _parameter("generation", "path", {"type": "integer", "minimum": 1}), hub],
                {
                    "200": _answer("How far this request is.", _ref("Operation")),
                    **_problems(400, 403, 404, 503),
                },
            )
        },
        "/webhooks/devices": {
            "post": {
                **_operation(
                    "receive_webhook",
                    [
                        dry_run,
                        wait,
                        *(
                            _parameter(name, "header", _TEXT)
                            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
                        ),
                    ],
                    {**asked, **_problems(401)},
                    body="OnboardingRequest",
                ),
                "security": [],
            }
        },
        "/provisioning": {
            "post": _operation(
                "allocate_device",
                [dry_run],
                {
                    "200": _answer("The hub; or, of a dry run, the plan.", _ANY),
                    **_problems(400, 403, 409, 503),
                },
                body="ProvisioningRequest",
            )
        },
        "/poison": {
            "get": _operation(
                "list_poison",
                [_parameter("queue", "query", _TEXT)],
                {
                    "200": _answer("The oldest kept messages.", _ref("PoisonList")),
                    **_problems(400, 503),
                },
            )
        },
        "/poison/{queue}/{messageId}": {
            "delete": _operation(
                "discard_poison",
                [queue, message, dry_run],
                {
                    "200": _answer("Of a dry run: what would be done.", _ANY),
                    "204": {"description": "Thrown away."},
                    **_problems(400, 404, 503),
                },
            )
        },
        "/poison/{queue}/{messageId}/resend": {
            "post": _operation(
                "resend_poison",
                [queue, message, dry_run],
                {
                    "200": _answer("Sent again; or, of a dry run, what would be done.", _ANY),
                    **_problems(400, 404, 503),
                },
            )
        },
        "/healthz": {
            "get": {
                **_operation("healthz", [], {"200": _answer("The app is loaded.", _ANY)}),
                "security": [],
            }
        },
        "/openapi.json": {
            "get": {
                **_operation("openapi", [], {"200": _answer("This document.", _ANY)}),
                "security": [],
            }
        },
    }


def _schemas() -> dict[str, Any]:
    request = OnboardingRequest.model_json_schema(
        by_alias=True, ref_template="#/components/schemas/{model}"
    )
    request["oneOf"] = [
        {"required": [name], "properties": {name: _TEXT}} for name in ("connectedRegistry", "site")
    ]
    of_address = {**request, "required": [n for n in request["required"] if n != "deviceId"]}
    return {
        "OnboardingRequest": request,
        "OnboardingRequestOfAddress": of_address,
        "ProvisioningRequest": {
            "type": "object",
            "description": "What the Device Provisioning Service sends to a custom allocation.",
            "required": ["deviceRuntimeContext", "linkedHubs"],
        },
        "Condition": _object(
            {"reason": _reasons(), "message": _TEXT, "remedy": _TEXT, "since": _TIME},
            required=("reason", "message", "since"),
        ),
        "Device": _object(
            {
                "deviceId": _TEXT,
                "hub": _TEXT,
                "wants": {"type": "object"},
                "generation": _NUMBER,
                "observedGeneration": _NUMBER,
                "state": {"type": "string", "enum": list(State)},
                "condition": _ref("Condition"),
                "containerRegistry": _TEXT,
                "connectedRegistry": _TEXT,
                "token": _TEXT,
                "secret": _TEXT,
                "delivery": {"type": "object"},
                "lastRejected": {"type": "object"},
                "nextLookAt": _TIME,
                "attempts": _NUMBER,
            },
            required=("deviceId", "hub", "wants", "generation", "state", "condition"),
        ),
        "DeviceList": _object(
            {"devices": {"type": "array", "items": _ref("Device")}, "next": _TEXT},
            required=("devices",),
        ),
        "Operation": _object(
            {
                "id": _TEXT,
                "status": {
                    "type": "string",
                    "enum": ["NotStarted", "Running", "Succeeded", "Failed", "Canceled"],
                },
                "deviceId": _TEXT,
                "hub": _TEXT,
                "error": {"type": "object"},
                "condition": _ref("Condition"),
            },
            required=("id", "status", "deviceId", "hub"),
        ),
        "Plan": _object(
            {
                "dryRun": {"const": True},
                "deviceId": _TEXT,
                "hub": _TEXT,
                "actions": {"type": "array", "items": {"type": "object"}},
                "finding": {"type": "object"},
            },
            required=("dryRun", "deviceId", "hub", "actions"),
        ),
        "PoisonList": _object(
            {"messages": {"type": "array", "items": _ref("PoisonMessage")}},
            required=("messages",),
        ),
        "PoisonMessage": _object(
            {
                "queue": _TEXT,
                "id": _TEXT,
                "reason": _reasons(),
                "detail": _TEXT,
                "errors": {"type": "array", "items": {"type": "object"}},
                "keptAt": _TIME,
                "message": _TEXT,
            },
            required=("queue", "id", "reason", "detail", "errors", "message"),
        ),
        "Problem": _object(
            {
                "type": _TEXT,
                "title": _TEXT,
                "status": _NUMBER,
                "reason": _reasons(),
                "detail": _TEXT,
                "errors": {
                    "type": "array",
                    "items": _object(
                        {"path": _TEXT, "message": _TEXT}, required=("path", "message")
                    ),
                },
            },
            required=("type", "title", "status", "reason", "detail"),
        ),
    }


def _reasons() -> dict[str, Any]:
    return {"type": "string", "enum": list(Reason)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_ANY: dict[str, Any] = {"type": "object"}
_EITHER: dict[str, Any] = {"anyOf": [_ref("Device"), _ref("Plan")]}


def _object(properties: dict[str, Any], *, required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _operation(
    name: str,
    parameters: list[dict[str, Any]],
    answers: dict[str, Any],
    *,
    body: str | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "parameters": parameters,
        "responses": {"401": {"description": "The key is missing or wrong."}, **answers},
    }
    if body is not None:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_PROBLEMS = {
    400: "The request is not valid; `errors` says where.",
    401: "The signature is not valid.",
    403: "The policy does not allow it.",
    404: "There is no such thing.",
    409: "It contradicts what was asked for later, or where the device is.",
    503: "Something passing; Retry-After says when to ask again.",
}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses
    }
