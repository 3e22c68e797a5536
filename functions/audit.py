"""HTTP endpoint: who asked for what and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import azure.functions as func

from firstpull.model.clock import is_possible
from firstpull.model.errors import FieldError, Invalid
from functions.answers.audit import Audit
from functions.http_answers import json_answer
from functions.http_endpoint import http_endpoint
from functions.http_requests import parameters
from functions.runtime import runtime

blueprint = func.Blueprint()

_DEVICES_OF_A_PAGE = 200


@blueprint.function_name("get_audit")
@blueprint.route("audit", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@http_endpoint
async def get_audit(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/audit: the requests about devices, in pages of some devices each."""
    given = parameters(req)
    page = await (await runtime.application()).audit.page(
        since=_time(given, "since"),
        until=_time(given, "until"),
        after=given.get("after"),
        size=int(given.get("size", _DEVICES_OF_A_PAGE)),
    )
    return json_answer(200, Audit.of(page))


def _time(given: Mapping[str, str], name: str) -> datetime | None:
    """A time with an offset. Raises Invalid."""
    if name not in given:
        return None
    try:
        at = datetime.fromisoformat(given[name])
    except ValueError:
        at = None
    if at is None or not is_possible(at):
        problem = "is no time such as 2026-11-29T00:00:00Z"
        raise Invalid("A parameter is not valid.", errors=(FieldError(name, problem),))
    return at
