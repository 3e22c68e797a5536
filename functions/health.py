"""The health probe: cheap, open, and without any detail."""

from __future__ import annotations

import azure.functions as func

from functions.answers.service import Health
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint

blueprint = func.Blueprint()


@blueprint.function_name("healthz")
@blueprint.route("healthz", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def healthz(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/healthz: the app is loaded and its settings are valid."""
    return json_answer(200, Health(status="ok"))
