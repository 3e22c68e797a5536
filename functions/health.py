"""The health probe: cheap, open, and telling nothing."""

from __future__ import annotations

import json

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.function_name("healthz")
@blueprint.route("healthz", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def healthz(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/healthz: the app is loaded and its settings hold."""
    return func.HttpResponse(json.dumps({"status": "ok"}), mimetype="application/json")
