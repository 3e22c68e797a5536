"""The rules for every request: authentication, api-versions, throttling, faults, strictness."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ScopeMapPropertiesUpdateParameters,
    ScopeMapUpdateParameters,
)

from local_azure.kernel.buckets import BucketSize
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.resource_manager.throttling import RateLimits

from .arm_harness import READ_HELLO, STABLE, WHERE, Arm, LocalCredential

HELLO_READERS = "/scopeMaps/hello-readers"
BODY = {"properties": {"actions": [READ_HELLO]}}


def connected_registry(*, message_ttl: str) -> dict[str, Any]:
    sync = {"tokenId": "x", "messageTtl": message_ttl}
    return {"properties": {"mode": "ReadOnly", "parent": {"syncProperties": sync}}}


async def test_the_registry_can_be_read_in_any_case(
    client: ContainerRegistryManagementClient, arm: Arm
) -> None:
    registry = await client.registries.get("FLEET", "ContosoFleet")
    assert registry.properties
    assert registry.name == "contosofleet"
    assert registry.sku.name == "Premium"
    assert registry.properties.login_server == "contosofleet.azurecr.io"
    assert registry.properties.data_endpoint_enabled
    path = str(arm.registry.registry_id).upper()
    answer = await arm.send("GET", f"{arm.endpoint}{path}?api-version={STABLE}")
    assert answer.status == 200


async def test_a_request_without_a_token_is_challenged(arm: Arm) -> None:
    async with arm.session.get(arm.url()) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "AuthenticationFailed"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")


async def test_a_token_of_another_audience_or_an_expired_one_is_refused(arm: Arm) -> None:
    for credential in (
        LocalCredential(arm.kernel, audience="https://vault.azure.net"),
        LocalCredential(arm.kernel, lifetime=timedelta(0)),
    ):
        answer = await arm.send("GET", arm.url(), credential=credential)
        assert (answer.status, answer.code) == (401, "InvalidAuthenticationToken")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("api-version=latest", "InvalidApiVersionParameter"),
        ("api-version=2019-05-01", "NoRegisteredProviderFound"),
        (f"api-version={STABLE}&$top=5", "InvalidQueryParameterValue"),
    ],
)
async def test_other_api_versions_and_query_parameters_are_refused(
    arm: Arm, query: str, code: str
) -> None:
    answer = await arm.send("GET", arm.url("/tokens", query=query))
    assert (answer.status, answer.code) == (400, code)


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
    answer = await arm.send("GET", arm.url("/tokens").replace(found, replaced))
    assert (answer.status, answer.code) == (status, code)


async def test_an_unknown_method_or_content_type_is_refused(arm: Arm) -> None:
    answer = await arm.send("POST", arm.url("/tokens/device-001"))
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    text = {"Content-Type": "text/plain"}
    answer = await arm.send("PUT", arm.url(HELLO_READERS), "{}", headers=text)
    assert answer.status == 415


async def test_an_unknown_resource_has_the_recorded_body(arm: Arm) -> None:
    answer = await arm.send("GET", arm.url("/tokens/nothing-here"))
    assert (answer.status, answer.body) == (
        404,
        {
            "error": {
                "code": "ResourceNotFound",
                "message": "The resource nothing-here could not be found.",
            },
            "status": "Failed",
        },
    )


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
        ("/scopeMaps/four", BODY, "InvalidResourceName"),
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
    answer = await arm.send("PUT", arm.url(path), body)
    assert (answer.status, answer.code) == (400, code)


async def test_a_refusal_names_every_wrong_field_and_repeats_no_value(arm: Arm) -> None:
    body = {"properties": {"actions": 5, "colour": "crimson"}}
    answer = await arm.send("PUT", arm.url(HELLO_READERS), body)
    message = answer.body["error"]["message"]
    assert "properties.actions: " in message
    assert "properties.colour: " in message
    assert "crimson" not in message


async def test_every_answer_carries_a_request_id(arm: Arm) -> None:
    fault = Fault("arm.tokens.*", FaultKind.STATUS, status=429, retry_after="7", times=1)
    arm.kernel.faults.add(fault)
    correlation = {"x-ms-correlation-request-id": "from-the-client"}
    for status in (429, 200):
        answer = await arm.send("GET", arm.url("/tokens"), headers=correlation)
        assert answer.status == status
        assert status == 200 or answer.code == "TooManyRequests"
        assert answer.headers["x-ms-request-id"]
        assert correlation.items() <= dict(answer.headers).items()


async def test_an_empty_bucket_answers_429_until_the_clock_has_refilled_it(arm: Arm) -> None:
    arm.throttle.limits = RateLimits(writes=BucketSize(capacity=2, per_second=0.1))
    url = arm.url(HELLO_READERS)
    for remaining, of_all in (("1", "29"), ("0", "28")):
        answer = await arm.send("PUT", url, BODY)
        assert answer.headers["x-ms-ratelimit-remaining-subscription-writes"] == remaining
        assert answer.headers["x-ms-ratelimit-remaining-subscription-global-writes"] == of_all
    answer = await arm.send("PUT", url, BODY)
    assert (answer.status, answer.code) == (429, "SubscriptionRequestsThrottled")
    assert 0 < int(answer.headers["Retry-After"]) <= 10
    arm.kernel.clock.advance(timedelta(seconds=10))
    assert (await arm.send("PUT", url, BODY)).status == 201


async def test_each_principal_has_a_bucket_per_kind_of_request(arm: Arm) -> None:
    arm.throttle.limits = RateLimits(writes=BucketSize(capacity=1, per_second=0.001))
    url = arm.url(HELLO_READERS)
    another = LocalCredential(arm.kernel, principal="another")
    for method, address, credential, status in (
        ("PUT", url, None, 200),
        ("PUT", url, None, 429),
        ("POST", arm.url("/generateCredentials"), None, 429),  # counts as a write
        ("GET", url, None, 200),
        ("PUT", url, another, 201),
    ):
        body = BODY if method == "PUT" else None
        answer = await arm.send(method, address, body, credential=credential)
        assert answer.status == status, (method, credential)


@pytest.mark.parametrize(
    ("kind", "effect"),
    [(FaultKind.ANSWER_LOST, "repositories/*/content/read"), (FaultKind.RESET, READ_HELLO)],
)
async def test_a_lost_answer_leaves_its_effect_and_a_reset_does_not(
    client: ContainerRegistryManagementClient, arm: Arm, kind: FaultKind, effect: str
) -> None:
    arm.registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    arm.kernel.faults.add(Fault("arm.scopeMaps.update", kind))
    change = ScopeMapUpdateParameters(
        properties=ScopeMapPropertiesUpdateParameters(actions=["repositories/*/content/read"])
    )
    with pytest.raises(ServiceRequestError):
        await client.scope_maps.begin_update(*WHERE, "hello-readers", change)
    assert arm.registry.scope_map("hello-readers").actions == (effect,)
