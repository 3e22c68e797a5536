"""HTTP endpoint: what is wrong around firstpull, and the command that mends it."""

from __future__ import annotations

import azure.functions as func

from functions.answers.doctor import Doctor
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("get_doctor")
@blueprint.route("doctor", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_doctor(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/doctor: look at everything that firstpull needs, with its own identity."""
    return json_answer(200, Doctor.of(await (await runtime.doctor()).diagnosis()))
