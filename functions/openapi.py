"""The HTTP API's own description, OpenAPI 3.1, served by the API."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from functions.encoding import json_answer
from functions.openapi_paths import paths
from functions.openapi_schemas import schemas
from functions.representations import ROUTE_PREFIX

blueprint = func.Blueprint()

VERSION = "0.1.0"


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
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "functionKeyInQuery": {"type": "apiKey", "in": "query", "name": "code"},
            },
            "schemas": schemas(),
        },
    }
