"""The HTTP API's own description, OpenAPI 3.1, served by the API."""

from __future__ import annotations

import json
import re
from typing import Any

import azure.functions as func
from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
    models_json_schema,
)
from pydantic_core import core_schema

from firstpull.config.roles import Role
from firstpull.fleet.batch import MOST_ROWS
from firstpull.intake.requests import (
    DeviceBatch,
    NamedDevice,
    OnboardingBatch,
    OnboardingRequest,
    RevokesApproval,
    RotationBatch,
    RotationRequest,
    SweepApproval,
)
from functions.answers.messages import Problem
from functions.endpoints import (
    ENDPOINTS,
    ROUTE_PREFIX,
    SESSION_COOKIE,
    Access,
    Answered,
    Endpoint,
    Parameter,
)
from functions.http_endpoint import http_endpoint

blueprint = func.Blueprint()

VERSION = "0.1.0"
_REF = "#/components/schemas/{model}"
_ROWS = {
    "OnboardingBatch": "OnboardingRequest",
    "DeviceBatch": "NamedDevice",
    "RotationBatch": "NamedDevice",
}
"""What each batch has rows of."""
_PROBLEMS = {
    400: "The request is not valid; `errors` says where.",
    401: "The signature is not valid.",
    403: "The policy does not allow it, or the caller lacks the role.",
    404: "There is no such thing.",
    409: "It contradicts what was asked for later, or what the device has.",
    411: "The body was sent in chunks and did not arrive; send it with Content-Length.",
    424: "Recorded, but blocked until a person acts; only with `Prefer: wait`.",
    503: "Something passing; Retry-After says when to ask again.",
}


@blueprint.function_name("openapi")
@blueprint.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def openapi(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/openapi.json: this document."""
    return func.HttpResponse(json.dumps(document()), mimetype="application/json")


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
                "fleetSession": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for function, endpoint in ENDPOINTS.items():
        method, path = endpoint.route.split()
        paths.setdefault(path, {})[method.lower()] = _operation(function, endpoint)
    return paths


def _operation(function: str, endpoint: Endpoint) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", endpoint.route)
    problems = {400, 411, *endpoint.problems}
    if endpoint.access is Access.KEY:
        problems.add(403)
    operation: dict[str, Any] = {
        "operationId": function,
        "parameters": [
            *(_parameter(_in_path(name), "path") for name in names),
            *(_parameter(parameter, "query") for parameter in endpoint.query),
            *(_parameter(parameter, "header") for parameter in endpoint.headers),
        ],
        "responses": {
            **{str(status): _problem(status, endpoint) for status in sorted(problems)},
            **{str(status): _answer(answered) for status, answered in endpoint.answers.items()},
        },
    }
    if endpoint.access is Access.KEY:
        operation["responses"]["401"] = {"description": "The key is missing or wrong."}
        operation["description"] = f"Needs the role {endpoint.role}."
        if endpoint.has_dry_run:
            operation["description"] += f" A dry run needs {Role.READER}."
    elif endpoint.access is Access.PAGE:
        operation["security"] = [{"fleetSession": []}, {}]
    else:
        operation["security"] = []
    if endpoint.body is not None:
        content = {endpoint.body_type: {"schema": _ref(endpoint.body)}}
        operation["requestBody"] = {"required": endpoint.body_required, "content": content}
    return operation


def _in_path(name: str) -> Parameter:
    is_number = name == "generation"
    return Parameter(
        name,
        {"type": "integer", "minimum": 1} if is_number else {"type": "string", "minLength": 1},
    )


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": where == "path" or parameter.required,
        "schema": parameter.schema,
        **({"explode": False} if parameter.schema["type"] == "array" else {}),
    }


def _answer(answered: Answered) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answered.description}
    refs = [_ref(model.__name__) for model in answered.models]
    if answered.media_type is not None:
        found["content"] = {answered.media_type: {"schema": {"type": "string"}}}
    elif refs:
        schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
        found["content"] = {"application/json": {"schema": schema}}
    if answered.headers:
        found["headers"] = {header.name: {"schema": header.schema} for header in answered.headers}
    return found


def _problem(status: int, endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {"application/problem+json": {"schema": _ref(Problem.__name__)}}
    if endpoint.access is Access.PAGE:
        content["text/html"] = {"schema": {"type": "string"}}
    return {"description": _PROBLEMS[status], "content": content}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}


class _SchemaGenerator(GenerateJsonSchema):
    """Writes no title that repeats a name, and no null into answers, which leave a field out."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's name
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        if self.mode == "validation":
            return super().nullable_schema(schema)
        return self.generate_inner(schema["schema"])

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,  # noqa: FBT001 - pydantic's signature
    ) -> bool:
        schema = field["schema"]
        if self.mode == "serialization" and schema["type"] == "function-before":
            schema = schema["schema"]
        is_left_out = self.mode == "serialization" and schema["type"] == "nullable"
        return not is_left_out and super().field_is_required(field, total)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if self.mode == "validation":
            return super().default_schema(schema)
        return self.generate_inner(schema["schema"])


def _schemas() -> dict[str, Any]:
    answered = [a for endpoint in ENDPOINTS.values() for a in endpoint.answers.values()]
    models: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(
        (
            *(OnboardingRequest, OnboardingBatch, NamedDevice, DeviceBatch, RotationBatch),
            *(RotationRequest, RevokesApproval, SweepApproval),
        ),
        "validation",
    )
    models |= dict.fromkeys((Problem, *(m for a in answered for m in a.models)), "serialization")
    _, found = models_json_schema(
        list(models.items()), ref_template=_REF, schema_generator=_SchemaGenerator
    )
    schemas: dict[str, Any] = found["$defs"]
    onboarding = schemas["OnboardingRequest"]
    onboarding["oneOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("connectedRegistry", "site")
    ]
    schemas["OnboardingRequestOfAddress"] = {
        **onboarding,
        "required": [name for name in onboarding["required"] if name != "deviceId"],
    }
    for batch, row in _ROWS.items():
        rows = schemas[batch]["properties"]["devices"]
        rows |= {"items": _ref(row), "minItems": 1, "maxItems": MOST_ROWS}
    schemas["ProvisioningRequest"] = {
        "type": "object",
        "description": "What the Device Provisioning Service sends to a custom allocation.",
        "required": ["deviceRuntimeContext", "linkedHubs"],
    }
    schemas["SignIn"] = {
        "type": "object",
        "description": "A function key that has a name; without one, sign out.",
        "properties": {"key": {"type": "string"}},
    }
    schemas["CorrectedMessage"] = {"description": "The message as it should have been."}
    return schemas
