"""The rules for every request: authentication, api-versions, throttling, faults, strictness."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ScopeMapPropertiesUpdateParameters,
    ScopeMapUpdateParameters,
)

from local_azure.kernel.buckets import BucketSize
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.resource_manager.throttling import RateLimits

from .arm_harness import READ_HELLO, WHERE, Arm, LocalCredential, code_of

Client = ContainerRegistryManagementClient
HELLO_READERS = "/scopeMaps/hello-readers"


async def send(
    arm: Arm,
    method: str,
    url: str,
    body: Mapping[str, Any] | str | None = None,
    credential: LocalCredential | None = None,
) -> tuple[ClientResponse, str]:
    """The answer and its error code, or an empty one."""
    headers = await arm.headers(credential)
    content: dict[str, Any] = {"json": body} if isinstance(body, Mapping) else {"data": body}
    if isinstance(body, str):
        headers["Content-Type"] = "application/json"
    async with arm.session.request(method, url, headers=headers, **content) as answer:
        text = await answer.text()
        code: str = (await answer.json()).get("error", {}).get("code", "") if text else ""
        return answer, code


def actions(*given: object) -> dict[str, Any]:
    return {"properties": {"actions": list(given)}}


def connected_registry(*, message_ttl: str) -> dict[str, Any]:
    sync = {"tokenId": "x", "messageTtl": message_ttl}
    return {"properties": {"mode": "ReadOnly", "parent": {"syncProperties": sync}}}


async def test_the_registry_can_be_read_in_any_case(client: Client, arm: Arm) -> None:
    registry = await client.registries.get("FLEET", "ContosoFleet")
    assert registry.properties
    assert registry.name == "contosofleet"
    assert registry.sku.name == "Premium"
    assert registry.properties.login_server == "contosofleet.azurecr.io"
    assert registry.properties.data_endpoint_enabled
    path = str(arm.registry.registry_id).upper()
    answer, _ = await send(arm, "GET", f"{arm.endpoint}{path}?api-version=2025-11-01")
    assert answer.status == 200


async def test_a_request_without_a_token_is_challenged(arm: Arm) -> None:
    async with arm.session.get(arm.url()) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "AuthenticationFailed"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")


@pytest.mark.parametrize(
    ("audience", "lifetime"),
    [
        ("https://vault.azure.net", timedelta(hours=1)),
        ("https://management.azure.com/", timedelta(0)),
    ],
)
async def test_a_token_for_another_audience_or_an_expired_one_is_refused(
    arm: Arm, audience: str, lifetime: timedelta
) -> None:
    credential = LocalCredential(arm.kernel, audience=audience, lifetime=lifetime)
    answer, code = await send(arm, "GET", arm.url(), credential=credential)
    assert (answer.status, code) == (401, "InvalidAuthenticationToken")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("api-version=latest", "InvalidApiVersionParameter"),
        ("api-version=2019-05-01", "NoRegisteredProviderFound"),
        ("api-version=2025-11-01&$top=5", "InvalidQueryParameterValue"),
    ],
)
async def test_other_api_versions_and_query_parameters_are_refused(
    arm: Arm, query: str, code: str
) -> None:
    answer, refused_with = await send(arm, "GET", arm.url("/tokens", query=query))
    assert (answer.status, refused_with) == (400, code)


@pytest.mark.parametrize(
    ("found", "replaced", "status", "code"),
    [
        ("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "mine", 400, "InvalidSubscriptionId"),
        ("0b1f6471", "00000000", 404, "SubscriptionNotFound"),
        ("/fleet/", "/other/", 404, "ResourceGroupNotFound"),
        ("contosofleet", "otherfleet", 404, "ParentResourceNotFound"),
        ("contosofleet/tokens", "otherfleet", 404, "ResourceNotFound"),
        ("Microsoft.ContainerRegistry", "Microsoft.Compute", 404, "InvalidResourceNamespace"),
        ("/tokens", "/caches", 404, "InvalidResourceType"),
        ("/providers/Microsoft.ContainerRegistry/", "/", 404, "ResourceNotFound"),
    ],
)
async def test_the_error_code_names_the_unknown_part_of_a_path(
    arm: Arm, found: str, replaced: str, status: int, code: str
) -> None:
    answer, refused_with = await send(arm, "GET", arm.url("/tokens").replace(found, replaced))
    assert (answer.status, refused_with) == (status, code)


async def test_a_method_that_a_path_does_not_have_is_refused(arm: Arm) -> None:
    answer, code = await send(arm, "POST", arm.url("/tokens/device-001"))
    assert (answer.status, code) == (405, "MethodNotAllowed")


async def test_an_unknown_resource_has_the_recorded_body(arm: Arm) -> None:
    url = arm.url("/tokens/nothing-here")
    async with arm.session.get(url, headers=await arm.headers()) as answer:
        assert answer.status == 404
        assert await answer.json() == {
            "error": {
                "code": "ResourceNotFound",
                "message": "The resource nothing-here could not be found.",
            },
            "status": "Failed",
        }


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (HELLO_READERS, "{", "InvalidRequestContent"),
        (HELLO_READERS, {}, "InvalidRequestContent"),
        (HELLO_READERS, {"properties": {"actions": READ_HELLO}}, "InvalidRequestContent"),
        (
            HELLO_READERS,
            {"properties": {"actions": [READ_HELLO], "description": "d" * 257}},
            "InvalidParameter",
        ),
        ("/scopeMaps/four", actions(READ_HELLO), "InvalidResourceName"),
        ("/tokens/device_001", {"properties": {"scopeMapId": "x"}}, "InvalidResourceName"),
        (
            "/connectedRegistries/1factory",
            connected_registry(message_ttl="P2D"),
            "InvalidResourceName",
        ),
        (
            "/connectedRegistries/factory1",
            connected_registry(message_ttl="soon"),
            "InvalidRequestContent",
        ),
    ],
)
async def test_an_invalid_body_or_name_is_refused(
    arm: Arm, path: str, body: Mapping[str, Any] | str, code: str
) -> None:
    answer, refused_with = await send(arm, "PUT", arm.url(path), body)
    assert (answer.status, refused_with) == (400, code)


async def test_a_refusal_names_every_wrong_field_and_repeats_no_value(arm: Arm) -> None:
    body = {"properties": {"actions": 5, "colour": "crimson"}}
    url = arm.url(HELLO_READERS)
    async with arm.session.put(url, json=body, headers=await arm.headers()) as answer:
        message = (await answer.json())["error"]["message"]
    assert "properties.actions: " in message
    assert "properties.colour: " in message
    assert "crimson" not in message


async def test_a_body_of_another_content_type_is_refused(arm: Arm) -> None:
    headers = {**await arm.headers(), "Content-Type": "text/plain"}
    async with arm.session.put(arm.url(HELLO_READERS), data="{}", headers=headers) as answer:
        assert answer.status == 415


async def test_every_answer_carries_a_request_id(arm: Arm) -> None:
    arm.kernel.faults.add(Fault("arm.tokens.list", FaultKind.STATUS))
    for status in (503, 200):
        headers = {**await arm.headers(), "x-ms-correlation-request-id": "from-the-client"}
        async with arm.session.get(arm.url("/tokens"), headers=headers) as answer:
            assert answer.status == status
            assert answer.headers["x-ms-request-id"]
            assert answer.headers["x-ms-correlation-request-id"] == "from-the-client"


async def test_an_empty_bucket_answers_429_until_the_clock_has_refilled_it(arm: Arm) -> None:
    arm.throttle.limits = RateLimits(writes=BucketSize(capacity=2, per_second=0.1))
    url = arm.url(HELLO_READERS)
    for remaining in ("1", "0"):
        answer, _ = await send(arm, "PUT", url, actions(READ_HELLO))
        assert answer.headers["x-ms-ratelimit-remaining-subscription-writes"] == remaining
    answer, code = await send(arm, "PUT", url, actions(READ_HELLO))
    assert (answer.status, code) == (429, "SubscriptionRequestsThrottled")
    assert 0 < int(answer.headers["Retry-After"]) <= 10
    arm.kernel.clock.advance(timedelta(seconds=10))
    answer, _ = await send(arm, "PUT", url, actions(READ_HELLO))
    assert answer.status == 200


async def test_each_principal_has_a_bucket_per_kind_of_request(arm: Arm) -> None:
    arm.throttle.limits = RateLimits(writes=BucketSize(capacity=1, per_second=0.001))
    url, body = arm.url(HELLO_READERS), actions(READ_HELLO)
    another = LocalCredential(arm.kernel, principal="another")
    generate = arm.url("/generateCredentials")
    for method, address, content, credential, status in (
        ("PUT", url, body, None, 200),
        ("PUT", url, body, None, 429),
        ("POST", generate, {"tokenId": "x"}, None, 429),  # counts as a write
        ("GET", url, None, None, 200),
        ("PUT", url, body, another, 200),
    ):
        answer, _ = await send(arm, method, address, content, credential)
        assert answer.status == status, (method, credential)


async def test_a_fault_rule_has_the_error_body_of_resource_manager(
    client: Client, arm: Arm
) -> None:
    arm.kernel.faults.add(
        Fault("arm.scopeMaps.*", FaultKind.STATUS, status=429, retry_after="7", times=1)
    )
    with pytest.raises(HttpResponseError) as refusal:
        await client.scope_maps.get(*WHERE, "hello-readers")
    assert code_of(refusal.value) == "TooManyRequests"


@pytest.mark.parametrize(
    ("kind", "effect"),
    [(FaultKind.ANSWER_LOST, "repositories/*/content/read"), (FaultKind.RESET, READ_HELLO)],
)
async def test_a_lost_answer_leaves_its_effect_and_a_reset_does_not(
    client: Client, arm: Arm, kind: FaultKind, effect: str
) -> None:
    arm.registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    arm.kernel.faults.add(Fault("arm.scopeMaps.update", kind))
    change = ScopeMapUpdateParameters(
        properties=ScopeMapPropertiesUpdateParameters(actions=["repositories/*/content/read"])
    )
    with pytest.raises(ServiceRequestError):
        await client.scope_maps.begin_update(*WHERE, "hello-readers", change)
    assert arm.registry.scope_map("hello-readers").actions == (effect,)
