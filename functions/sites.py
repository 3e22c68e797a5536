"""HTTP endpoint: how full the sites are."""

from __future__ import annotations

import azure.functions as func

from functions.answers.fleet import Sites
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("list_sites")
@blueprint.route("sites", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def list_sites(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/sites: how full the connected registries of the policy are, site by site."""
    application = await runtime.application()
    return json_answer(200, Sites.read(await application.sites.view()))
