"""Requests over HTTP: their parameters and headers, and what every endpoint refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func

from firstpull.intake.json_input import check_size
from firstpull.intake.onboard import LONGEST_WAIT
from firstpull.model.errors import FieldError, Invalid
from firstpull.model.reasons import Reason
from functions.endpoints import Endpoint

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:,|;|$)", re.IGNORECASE)
_KEY = "code"
"""The query parameter that the host takes a function key from, in any case."""


class LengthRequired(Invalid):
    """The host dropped the body, because the request has no Content-Length."""

    def __init__(self) -> None:
        super().__init__(
            "The body was sent with Transfer-Encoding: chunked, and the Functions host passes no "
            "such body on. Send it whole, with Content-Length: serialize it before it is sent, "
            "unlike .NET's PostAsJsonAsync, `curl -T -`, Node.js streams and Python generators; an "
            "API gateway has to buffer it.",
            reason=Reason.LENGTH_REQUIRED,
        )


def check_length(req: func.HttpRequest, endpoint: Endpoint) -> None:
    """Raises Invalid for a body that is too large, before anything is done with it.

    Raises LengthRequired for a body that the host dropped: without it, the request differs.
    """
    check_size(req.get_body(), most=endpoint.most_bytes)
    codings = req.headers.get("transfer-encoding", "").lower().split(",")
    if "chunked" in (coding.strip() for coding in codings) and not req.get_body():
        raise LengthRequired


def check_address(req: func.HttpRequest) -> None:
    """Raises Invalid for an address that may have named something else before the host read it.

    The host passes `%2F` and `%252F` on as the same text, leaves what is no UTF-8 encoded, and
    resolves a last part of dots alone, or an empty one, to the address of the list above it.
    """
    if not fits_in_path(req.route_params.get("deviceId", "")):
        problem = FieldError("deviceId", "is not safe in a path; use the parameter `deviceId`")
    elif req.url.partition("?")[0].endswith("/"):
        problem = FieldError("", "ends with a slash, so its last part is missing")
    else:
        return
    raise Invalid(
        "The address does not carry every id as it is. Name the device by a parameter: GET, PUT or "
        "DELETE /api/devices?deviceId=, POST /api/devices:rotate?deviceId=, GET "
        "/api/devices:operation?deviceId=.",
        errors=(problem,),
    )


def fits_in_path(device_id: str) -> bool:
    """Whether every host and proxy on the way passes this id on as it is."""
    return not {"%", "/"} & set(device_id)


def check_parameters(req: func.HttpRequest, endpoint: Endpoint) -> None:
    """Raises Invalid for every parameter that is not as the endpoint describes it.

    An unknown one is refused, because it may be a misspelt `dryRun`.
    """
    values: dict[str, list[str]] = {}
    for name, value in _pairs(req):
        values.setdefault(name, []).append(value)
    problems = {name: _problem(name, values[name], endpoint) for name in sorted(values)}
    missing = [known.name for known in endpoint.query if known.required]
    problems |= {name: "is missing" for name in missing if name not in values}
    errors = tuple(FieldError(name, problem) for name, problem in problems.items() if problem)
    if errors:
        raise Invalid("A parameter is not valid; `errors` says which.", errors=errors)


def parameters(req: func.HttpRequest) -> dict[str, str]:
    """The parameters of a request that was checked, without a function key."""
    return dict(_pairs(req))


def function_keys(req: func.HttpRequest) -> tuple[str, ...]:
    """What the host may have taken as the function key: the header goes before the parameter.

    Microsoft's host 4.1037 was recorded to answer 401 to several headers, joined with commas; its
    source takes the first. So the part before a comma counts, too: a named key that is sent with
    another one keeps its name.
    """
    by_parameter = (value for name, value in _all_pairs(req) if name.lower() == _KEY)
    given = req.headers.get("x-functions-key") or next(by_parameter, "")
    return (given, given.partition(",")[0].strip()) if "," in given else (given,)


def is_dry_run(req: func.HttpRequest) -> bool:
    """Whether a request that was checked asks for a dry run."""
    return parameters(req).get("dryRun") == "true"


def check_no_body(req: func.HttpRequest) -> None:
    """Raises Invalid for a body: whoever sends one means something by it."""
    if req.get_body():
        raise Invalid("This request takes no body; parameters are in the address.")


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """`Prefer: wait=N` (RFC 7240), at most the longest wait there is."""
    found = _WAIT.search(headers.get("prefer", ""))
    return min(float(found[1]), LONGEST_WAIT) if found else None


def _pairs(req: func.HttpRequest) -> list[tuple[str, str]]:
    """The parameters in the address, without a function key."""
    return [(name, value) for name, value in _all_pairs(req) if name.lower() != _KEY]


def _all_pairs(req: func.HttpRequest) -> list[tuple[str, str]]:
    """All parameters: the host leaves those without a value out of `req.params`."""
    return parse_qsl(req.url.partition("?")[2], keep_blank_values=True)


def _problem(name: str, values: Sequence[str], endpoint: Endpoint) -> str | None:
    schema = next((known.schema for known in endpoint.query if known.name == name), None)
    if schema is None:
        misspelt = any(known.name.lower() == name.lower() for known in endpoint.query)
        if misspelt or not endpoint.takes_other_parameters:
            return "is not a parameter here"
    if "" in values:
        return "has no value"
    if schema is None:
        return None
    return _problem_with_value(values[0], schema) if len(values) == 1 else "is given more than once"


def _problem_with_value(value: str, schema: Mapping[str, Any]) -> str | None:
    if schema["type"] == "array":
        found = (_problem_with_value(part, schema["items"]) for part in value.split(","))
        return next(filter(None, found), None)
    if "enum" in schema and value not in schema["enum"]:
        return f"is none of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        least, most = schema["minimum"], schema["maximum"]
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            return f"is not a number from {least} to {most}"
    return None
