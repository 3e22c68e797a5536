"""What all endpoints of the HTTP API do: check the request, and answer whatever goes wrong."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import azure.functions as func

from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason
from firstpull.observability import telemetry
from firstpull.observability.log import emit_crash
from firstpull.observability.log_events import LogEvent
from functions.answers.messages import Problem
from functions.callers import check_role
from functions.deadlines import within_deadline
from functions.endpoints import ENDPOINTS, Access
from functions.http_answers import error_answer, problem_answer
from functions.http_requests import check_length, check_parameters

HttpHandler = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]

_UNKNOWN = "Something went wrong here; nothing is known to be lost. Ask again later."


def http_endpoint(handler: HttpHandler) -> HttpHandler:
    """The function of the endpoint that has the handler's name.

    It refuses a request that the endpoint does not take, and answers what the handler raises with
    a problem document. It runs in the trace of the caller; open endpoints are not traced.
    """
    name = handler.__name__
    endpoint = ENDPOINTS[name]
    is_open = endpoint.access is Access.NOTHING

    @functools.wraps(handler)
    async def answer(req: func.HttpRequest) -> func.HttpResponse:
        with nullcontext() if is_open else telemetry.span(name, after=req.headers):
            try:
                check_length(req, endpoint)
                check_parameters(req, endpoint)
                check_role(req, endpoint)
                async with within_deadline(name):
                    return await handler(req)
            except FirstpullError as error:
                return error_answer(error)
            except Exception as error:
                emit_crash(LogEvent.ENDPOINT_REQUEST_CRASHED, error)
                return problem_answer(Problem.of(500, Reason.INTERNAL_ERROR, _UNKNOWN))

    return answer
