"""The operations of no provider: endpoints, subscriptions, and the list of resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from local_azure.kernel import Kernel
from local_azure.kernel.buckets import BucketSize
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory, Resource
from local_azure.resource_manager.links import Links
from local_azure.resource_manager.subscriptions import CloudIdentity, SubscriptionService
from local_azure.resource_manager.throttling import RateLimits, Throttle

ENDPOINT = "https://127.0.0.1:8443"
TENANT = "8d5b36f4-0b0a-4d8e-9e27-3ab8a3f9a6c1"
FIRST = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SECOND = "5e0c7a52-8ac1-4c5f-b6a4-0f61c35f4a0d"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
SUBSCRIPTIONS = "/subscriptions?api-version=2022-12-01"


def resources_of(subscription: str) -> str:
    return f"/subscriptions/{subscription}/resources?api-version=2024-11-01"


def resource(subscription_id: str, group: str, name: str, kind: str = REGISTRIES) -> Resource:
    return Resource(
        subscription_id=subscription_id, resource_group=group, type=kind, name=name, sku="Premium"
    )


RESOURCES = [
    *(resource(FIRST, "fleet", name) for name in ("fleetone", "fleettwo", "fleetthree")),
    resource(FIRST, "other", "vault", "Microsoft.KeyVault/vaults"),
    resource(SECOND, "elsewhere", "another"),
]

Get = Callable[[str], Awaitable[tuple[int, dict[str, Any]]]]


@pytest.fixture
def throttle(kernel: Kernel) -> Throttle:
    return Throttle(clock=kernel.clock, limits=None)


@pytest.fixture
async def client(kernel: Kernel, throttle: Throttle) -> AsyncIterator[TestClient[Any, Any]]:
    identity = CloudIdentity(
        name="Local", endpoint=ENDPOINT, tenant_id=TENANT, audiences=(ENDPOINT, "https://arm.test")
    )
    directory = Directory(lambda: RESOURCES)
    service = SubscriptionService(identity, directory, Links(endpoint=ENDPOINT, page_size=2))
    application = create_arm_application(
        kernel,
        routes=service.routes(),
        directory=directory,
        audiences=identity.audiences,
        throttle=throttle,
    )
    async with TestClient(TestServer(application)) as opened:
        yield opened


@pytest.fixture
def get(kernel: Kernel, client: TestClient[Any, Any]) -> Get:
    token = kernel.tokens.issue(
        issuer="https://sts.windows.net/local/",
        audience=ENDPOINT,
        lifetime=timedelta(hours=1),
        claims={"oid": "somebody"},
    )

    async def send(path: str) -> tuple[int, dict[str, Any]]:
        path = path.removeprefix(ENDPOINT)
        async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status, await answer.json()

    return send


async def test_only_the_endpoints_are_anonymous(client: TestClient[Any, Any]) -> None:
    async with client.get("/metadata/endpoints?api-version=2022-09-01") as answer:
        body = await answer.json()
    assert body["resourceManager"] == ENDPOINT
    assert body["authentication"]["tenant"] == TENANT
    assert body["authentication"]["audiences"][0] == ENDPOINT
    for path in (SUBSCRIPTIONS, resources_of(FIRST), "/metadata"):
        async with client.get(path) as answer:
            assert answer.status == 401


async def test_the_subscriptions_that_hold_a_resource_are_listed(get: Get) -> None:
    status, body = await get(SUBSCRIPTIONS)
    assert status == 200
    assert [each["subscriptionId"] for each in body["value"]] == [FIRST, SECOND]
    assert {(each["tenantId"], each["state"]) for each in body["value"]} == {(TENANT, "Enabled")}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["fleetone", "fleetthree", "fleettwo", "vault"]),
        (f"&$filter=resourceType eq '{REGISTRIES}'", ["fleetone", "fleetthree", "fleettwo"]),
        ("&$filter=resourceType eq 'microsoft.keyvault/vaults'", ["vault"]),
    ],
)
async def test_the_filter_applies_to_every_page_of_the_resources(
    get: Get, query: str, found: list[str]
) -> None:
    address = resources_of(FIRST) + query
    seen = []
    while address:
        status, body = await get(address)
        assert status == 200
        assert len(body["value"]) <= 2
        seen += [each["name"] for each in body["value"]]
        address = body.get("nextLink", "")
    assert sorted(seen) == found


async def test_a_resource_is_listed_with_its_whole_id(get: Get) -> None:
    _, body = await get(resources_of(SECOND.upper()))
    assert body["value"] == [
        {
            "id": RESOURCES[-1].id,
            "name": "another",
            "type": REGISTRIES,
            "location": "westeurope",
            "sku": {"name": "Premium", "tier": "Premium"},
            "tags": {},
        }
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (resources_of("mine"), 400, "InvalidSubscriptionId"),
        (resources_of(TENANT), 404, "SubscriptionNotFound"),
        ("/subscriptions", 400, "MissingApiVersionParameter"),
        ("/subscriptions?api-version=2019-05-01", 400, "InvalidApiVersionParameter"),
        (f"{SUBSCRIPTIONS}&$top=1", 400, "InvalidQueryParameterValue"),
        (f"{resources_of(FIRST)}&$filter=tagName eq 'x'", 400, "InvalidQueryParameterValue"),
        ("/tenants?api-version=2022-12-01", 404, "ResourceNotFound"),
    ],
)
async def test_an_unknown_path_or_parameter_is_refused(
    get: Get, path: str, status: int, code: str
) -> None:
    refused_with, body = await get(path)
    assert (refused_with, body["error"]["code"]) == (status, code)


async def test_only_requests_to_a_subscription_are_throttled(get: Get, throttle: Throttle) -> None:
    throttle.limits = RateLimits(reads=BucketSize(capacity=1, per_second=0.001))
    paths = [SUBSCRIPTIONS, SUBSCRIPTIONS, resources_of(FIRST), resources_of(FIRST)]
    assert [(await get(path))[0] for path in paths] == [200, 200, 200, 429]
