"""What a caller can make firstpull do is bounded: counted, not timed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import FrameType

import azure.functions as func
import pytest

from firstpull.config.policy import Policy
from firstpull.intake.requests import read_request
from firstpull.intake.webhook_signatures import SignatureNotValid
from firstpull.model.errors import MOST_ERRORS, FieldError, Invalid, NotAllowed
from firstpull.model.strict_json import repeated
from functions.endpoints import ENDPOINTS, ROUTE_PREFIX
from functions.http_answers import error_answer
from functions.http_endpoint import http_endpoint
from tests.firstpull.harness import HUB, REGISTRY, Harness


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_a_body_that_is_too_large_is_refused_before_anything_is_done_with_it(
    name: str,
) -> None:
    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        del req
        raise SignatureNotValid

    handler.__name__ = name
    endpoint = ENDPOINTS[name]
    query = "&".join(f"{known.name}=x" for known in endpoint.query if known.required)
    url = f"https://host{ROUTE_PREFIX}/x?{query}"
    for size, status in ((endpoint.most_bytes, 401), (endpoint.most_bytes + 1, 400)):
        request = func.HttpRequest(method="POST", url=url, body=b"x" * size)
        assert (await http_endpoint(handler)(request)).status_code == status


@pytest.mark.parametrize("repositories", [["A"] * 12_000, [7] * 20_000, [[]] * 12_000])
def test_of_many_errors_the_first_are_listed_and_all_are_counted(
    repositories: list[object],
) -> None:
    body = json.dumps(
        {"deviceId": "press-1", "connectedRegistry": "plantone", "repositories": repositories},
        separators=(",", ":"),
    ).encode()
    with pytest.raises(Invalid) as refused:
        read_request(body)
    assert len(refused.value.errors) == MOST_ERRORS
    assert refused.value.errors[0].path == "/repositories/0"
    assert f"{len(repositories)}" in refused.value.message
    assert len(error_answer(refused.value).get_body()) < 16 * 1024


def test_a_few_errors_are_all_listed() -> None:
    errors = tuple(FieldError(f"/{number}", "is wrong") for number in range(MOST_ERRORS))
    refused = NotAllowed("No.", errors=errors)
    assert (refused.errors, refused.message) == (errors, "No.")


def test_a_path_of_a_callers_making_is_cut() -> None:
    key = "k" * 60_000
    with pytest.raises(Invalid) as refused:
        read_request(json.dumps({key: 1}).encode())
    assert all(len(error.path) < 1000 for error in refused.value.errors)


def large_policy(size: int) -> Policy:
    names = [f"plant{number:05}" for number in range(size)]
    return Policy.model_validate_json(
        json.dumps(
            {
                "hubs": [HUB],
                "containerRegistries": [str(REGISTRY)],
                "connectedRegistries": [
                    {"name": name, "repositories": ["plant/app", "plant/*"]} for name in names
                ],
                "sites": [{"name": "plant", "connectedRegistries": names}],
            }
        )
    )


def calls_of_a_site_request(size: int) -> int:
    """How many Python functions a dry request for a site of this size calls."""
    harness, policy = Harness(), large_policy(size)
    onboarding = replace(harness.processes[0].onboarding, policy=policy)
    request = harness.request(connectedRegistry=None, site="plant")
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        intent = onboarding._intent(request, requested_by="a test", at=harness.clock.now())
        entries = [policy.entry_for(ref) for ref in intent.candidates]
    finally:
        sys.setprofile(None)
    assert len(entries) == size
    assert None not in entries
    return calls


def test_a_site_request_costs_by_the_size_of_the_policy_and_not_by_its_square() -> None:
    assert calls_of_a_site_request(400) < 5 * calls_of_a_site_request(100)


def test_names_that_are_there_twice_are_found_without_comparing_each_with_each() -> None:
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    names = [Name(number) for number in range(1000)]
    assert repeated([*names, *names[:2]]) == ("0", "1")
    assert compared < 2 * len(names)


def test_a_policy_is_checked_at_a_cost_by_its_size() -> None:
    def calls(size: int) -> int:
        found = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            del frame, argument
            nonlocal found
            found += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            large_policy(size)
        finally:
            sys.setprofile(None)
        return found

    assert calls(400) < 5 * calls(100)
