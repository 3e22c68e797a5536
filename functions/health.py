"""Two probes, cheap, open, and without any detail: the process answers; it can do its work."""

from __future__ import annotations

import azure.functions as func

from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import MEANING
from functions.answers.messages import Problem
from functions.answers.service import Health, Readiness
from functions.http_answers import json_answer, problem_answer
from functions.http_endpoint import http_endpoint
from functions.runtime import runtime

blueprint = func.Blueprint()


@blueprint.function_name("healthz")
@blueprint.route("healthz", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def healthz(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/healthz: this process answers, whatever the services that it needs do.

    A new process would not bring them back, so nobody should end this one for their sake.
    """
    return json_answer(200, Health(status="ok"))


@blueprint.function_name("readyz")
@blueprint.route("readyz", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def readyz(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/readyz: this host can do its work."""
    try:
        errors = await (await runtime.application()).readiness.errors()
    except FirstpullError as error:
        errors = [error]
    if not errors:
        # With the policy before, this host works: to end it would end its policy, too.
        refusal = runtime.policy_refusal
        warning = refusal.reason if refusal is not None else None
        return json_answer(200, Readiness(status="ready", warning=warning))
    reason = errors[0].reason
    problem = Problem.of(503, reason, MEANING[reason])
    return problem_answer(problem, headers={"Retry-After": "5"})
