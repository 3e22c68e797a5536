"""What holds for every request: authentication, api-versions, throttling, faults, strictness."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
)
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ScopeMap,
    ScopeMapProperties,
    ScopeMapPropertiesUpdateParameters,
    ScopeMapUpdateParameters,
)

from local_azure.kernel.faults import Fault, FaultKind
from local_azure.resource_manager.throttling import BucketSize, RateLimits

from .arm_harness import READ_HELLO, WHERE, Arm, LocalCredential, code_of

Client = ContainerRegistryManagementClient


async def send(
    arm: Arm, method: str, url: str, body: Mapping[str, Any] | str | None = None
) -> tuple[ClientResponse, str]:
    """The answer and its error code, or an empty one."""
    headers = await arm.headers()
    content: dict[str, Any] = {"json": body} if isinstance(body, Mapping) else {"data": body}
    if isinstance(body, str):
        headers["Content-Type"] = "application/json"
    async with arm.session.request(method, url, headers=headers, **content) as answer:
        text = await answer.text()
        code: str = (await answer.json()).get("error", {}).get("code", "") if text else ""
        return answer, code


def scope_map() -> ScopeMap:
    return ScopeMap(properties=ScopeMapProperties(actions=[READ_HELLO]))


def new_actions() -> ScopeMapUpdateParameters:
    return ScopeMapUpdateParameters(
        properties=ScopeMapPropertiesUpdateParameters(actions=["repositories/*/content/read"])
    )


async def test_the_registry_can_be_read(client: Client) -> None:
    registry = await client.registries.get("FLEET", "ContosoFleet")
    assert registry.properties
    assert registry.name == "contosofleet"
    assert registry.sku.name == "Premium"
    assert registry.properties.login_server == "contosofleet.azurecr.io"
    assert registry.properties.data_endpoint_enabled


async def test_without_a_token_nothing_is_answered(arm: Arm) -> None:
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
async def test_a_token_for_another_service_or_past_its_time_is_refused(
    arm: Arm, audience: str, lifetime: timedelta
) -> None:
    credential = LocalCredential(arm.kernel, audience=audience, lifetime=lifetime)
    with pytest.raises(ClientAuthenticationError) as refusal:
        await arm.new_client(credential).registries.get(*WHERE)
    assert code_of(refusal.value) == "InvalidAuthenticationToken"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("api-version=latest", "InvalidApiVersionParameter"),
        ("api-version=2019-05-01", "NoRegisteredProviderFound"),
        ("api-version=2025-11-01&$top=5", "InvalidQueryParameterValue"),
    ],
)
async def test_only_served_api_versions_and_known_parameters_are_taken(
    arm: Arm, query: str, code: str
) -> None:
    answer, refused_with = await send(arm, "GET", arm.url("/tokens", query=query))
    assert (answer.status, refused_with) == (400, code)


async def test_an_api_version_that_is_not_served_is_refused_with_those_that_are(arm: Arm) -> None:
    url = arm.url("/tokens", query="api-version=2019-05-01")
    async with arm.session.get(url, headers=await arm.headers()) as answer:
        message = (await answer.json())["error"]["message"]
    assert "type 'registries/tokens'" in message
    assert "The supported api-versions are '2025-11-01, 2026-09-01-preview'." in message


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
async def test_a_path_that_leads_nowhere_is_refused_where_it_ends(
    arm: Arm, found: str, replaced: str, status: int, code: str
) -> None:
    answer, refused_with = await send(arm, "GET", arm.url("/tokens").replace(found, replaced))
    assert (answer.status, refused_with) == (status, code)


async def test_paths_have_no_case(arm: Arm) -> None:
    arm.registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    path = str(arm.registry.registry_id) + "/scopeMaps/hello-readers"
    answer, _ = await send(
        arm,
        "GET",
        arm.url("/scopeMaps/x").split("/sub")[0] + path.upper() + "?api-version=2025-11-01",
    )
    assert answer.status == 200


async def test_a_method_that_a_path_does_not_have_is_refused(arm: Arm) -> None:
    answer, code = await send(arm, "POST", arm.url("/tokens/device-001"))
    assert (answer.status, code) == (405, "MethodNotAllowed")


async def test_what_the_provider_does_not_find_has_failed_in_its_words(arm: Arm) -> None:
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
        ("/scopeMaps/hello-readers", "{", "InvalidRequestContent"),
        ("/scopeMaps/hello-readers", {}, "InvalidRequestContent"),
        (
            "/scopeMaps/hello-readers",
            {"properties": {"actions": [READ_HELLO], "colour": "red"}},
            "InvalidRequestContent",
        ),
        (
            "/scopeMaps/hello-readers",
            {"properties": {"actions": READ_HELLO}},
            "InvalidRequestContent",
        ),
        (
            "/scopeMaps/hello-readers",
            {"properties": {"actions": [READ_HELLO], "description": "d" * 257}},
            "InvalidParameter",
        ),
        ("/scopeMaps/four", {"properties": {"actions": [READ_HELLO]}}, "InvalidResourceName"),
        ("/tokens/device_001", {"properties": {"scopeMapId": "x"}}, "InvalidResourceName"),
        (
            "/connectedRegistries/1factory",
            {
                "properties": {
                    "mode": "ReadOnly",
                    "parent": {"syncProperties": {"tokenId": "x", "messageTtl": "P2D"}},
                }
            },
            "InvalidResourceName",
        ),
        (
            "/connectedRegistries/factory1",
            {
                "properties": {
                    "mode": "ReadOnly",
                    "parent": {"syncProperties": {"tokenId": "x", "messageTtl": "soon"}},
                }
            },
            "InvalidRequestContent",
        ),
    ],
)
async def test_a_body_or_a_name_that_is_wrong_is_refused(
    arm: Arm, path: str, body: Mapping[str, Any] | str, code: str
) -> None:
    answer, refused_with = await send(arm, "PUT", arm.url(path), body)
    assert (answer.status, refused_with) == (400, code)


async def test_every_wrong_field_is_named_and_no_value_repeated(arm: Arm) -> None:
    body = {"properties": {"actions": 5, "colour": "crimson"}}
    url = arm.url("/scopeMaps/hello-readers")
    async with arm.session.put(url, json=body, headers=await arm.headers()) as answer:
        message = (await answer.json())["error"]["message"]
    assert "properties.actions: " in message
    assert "properties.colour: " in message
    assert "crimson" not in message


async def test_a_body_that_is_not_json_by_its_type_is_refused(arm: Arm) -> None:
    headers = {**await arm.headers(), "Content-Type": "text/plain"}
    url = arm.url("/scopeMaps/hello-readers")
    async with arm.session.put(url, data="{}", headers=headers) as answer:
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
    body = {"properties": {"actions": [READ_HELLO]}}
    url = arm.url("/scopeMaps/hello-readers")
    for remaining in ("1", "0"):
        answer, _ = await send(arm, "PUT", url, body)
        assert answer.headers["x-ms-ratelimit-remaining-subscription-writes"] == remaining
    answer, code = await send(arm, "PUT", url, body)
    assert (answer.status, code) == (429, "SubscriptionRequestsThrottled")
    assert answer.headers["Retry-After"] == "10"
    arm.kernel.clock.advance(timedelta(seconds=10))
    answer, _ = await send(arm, "PUT", url, body)
    assert answer.status == 200


async def test_buckets_are_kept_apart_by_principal_and_by_kind_of_request(arm: Arm) -> None:
    arm.throttle.limits = RateLimits(writes=BucketSize(capacity=1, per_second=0.001))
    first = arm.new_client()
    await first.scope_maps.begin_create(*WHERE, "hello-readers", scope_map())
    with pytest.raises(HttpResponseError) as refusal:
        await first.scope_maps.begin_create(*WHERE, "hello-readers", scope_map())
    assert refusal.value.status_code == 429
    await first.scope_maps.get(*WHERE, "hello-readers")
    second = arm.new_client(LocalCredential(arm.kernel, principal="another"))
    await second.scope_maps.begin_create(*WHERE, "hello-readers", scope_map())


async def test_an_action_by_post_takes_from_the_bucket_of_writes(arm: Arm) -> None:
    arm.throttle.limits = RateLimits()
    answer, _ = await send(arm, "POST", arm.url("/generateCredentials"), {"tokenId": "x"})
    assert answer.headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"


async def test_a_fault_rule_answers_in_the_words_of_resource_manager(
    client: Client, arm: Arm
) -> None:
    arm.kernel.faults.add(
        Fault("arm.scopeMaps.*", FaultKind.STATUS, status=429, retry_after="7", times=1)
    )
    with pytest.raises(HttpResponseError) as refusal:
        await client.scope_maps.get(*WHERE, "hello-readers")
    assert code_of(refusal.value) == "TooManyRequests"


async def test_the_sdk_sends_a_write_again_after_a_retry_after(arm: Arm) -> None:
    arm.kernel.faults.add(
        Fault("arm.scopeMaps.createOrUpdate", FaultKind.STATUS, status=409, retry_after="0.01")
    )
    client = arm.new_client(retry_total=1)
    await client.scope_maps.begin_create(*WHERE, "hello-readers", scope_map())
    assert arm.kernel.calls.counts() == {"arm.scopeMaps.createOrUpdate": 2}


async def test_a_lost_answer_leaves_its_effect(client: Client, arm: Arm) -> None:
    arm.registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    arm.kernel.faults.add(Fault("arm.scopeMaps.update", FaultKind.ANSWER_LOST))
    with pytest.raises(ServiceRequestError):
        await client.scope_maps.begin_update(*WHERE, "hello-readers", new_actions())
    assert arm.registry.scope_map("hello-readers").actions == ("repositories/*/content/read",)


async def test_a_reset_leaves_no_effect(client: Client, arm: Arm) -> None:
    arm.registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    arm.kernel.faults.add(Fault("arm.scopeMaps.update", FaultKind.RESET))
    with pytest.raises(ServiceRequestError):
        await client.scope_maps.begin_update(*WHERE, "hello-readers", new_actions())
    assert arm.registry.scope_map("hello-readers").actions == (READ_HELLO,)


async def test_a_put_whose_answer_is_lost_arrives_twice_even_without_retries(
    client: Client, arm: Arm
) -> None:
    # It is aiohttp that sends idempotent methods once more when a connection breaks.
    arm.kernel.faults.add(Fault("arm.scopeMaps.createOrUpdate", FaultKind.ANSWER_LOST))
    await client.scope_maps.begin_create(*WHERE, "hello-readers", scope_map())
    assert arm.kernel.calls.counts() == {"arm.scopeMaps.createOrUpdate": 2}
