"""What belongs to no provider: endpoints, subscriptions, resource groups, lists of resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from local_azure.kernel import Kernel
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory, Resource
from local_azure.resource_manager.links import Links
from local_azure.resource_manager.subscriptions import CloudIdentity, SubscriptionService
from local_azure.resource_manager.throttling import BucketSize, RateLimits, Throttle

ENDPOINT = "https://127.0.0.1:8443"
TENANT = "8d5b36f4-0b0a-4d8e-9e27-3ab8a3f9a6c1"
FIRST = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SECOND = "5e0c7a52-8ac1-4c5f-b6a4-0f61c35f4a0d"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
SUBSCRIPTIONS = "api-version=2022-12-01"
RESOURCES = "api-version=2024-11-01"


def resource(subscription_id: str, group: str, name: str, kind: str = REGISTRIES) -> Resource:
    return Resource(
        subscription_id=subscription_id, resource_group=group, type=kind, name=name, sku="Premium"
    )


THERE = [
    resource(FIRST, "Fleet", "fleetone"),
    resource(FIRST, "fleet", "fleettwo"),
    resource(FIRST, "fleet", "fleetthree"),
    resource(FIRST, "other", "vault", "Microsoft.KeyVault/vaults"),
    resource(SECOND, "elsewhere", "another"),
]

Get = Callable[[str], Awaitable[tuple[int, dict[str, Any]]]]


@pytest.fixture
def kernel() -> Kernel:
    return Kernel.create(seed=3, addresses=("127.0.0.1",))


@pytest.fixture
def throttle(kernel: Kernel) -> Throttle:
    return Throttle(clock=kernel.clock, limits=None)


@pytest.fixture
async def client(kernel: Kernel, throttle: Throttle) -> AsyncIterator[TestClient[Any, Any]]:
    identity = CloudIdentity(
        name="Local", endpoint=ENDPOINT, tenant_id=TENANT, audiences=(ENDPOINT, "https://arm.test")
    )
    directory = Directory(lambda: THERE)
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


def names(body: dict[str, Any]) -> list[str]:
    return [each["name"] for each in body["value"]]


async def test_the_endpoints_are_told_without_a_token(client: TestClient[Any, Any]) -> None:
    async with client.get("/metadata/endpoints?api-version=2022-09-01") as answer:
        body = await answer.json()
    assert body["resourceManager"] == ENDPOINT
    assert body["authentication"]["tenant"] == TENANT
    assert body["authentication"]["audiences"][0] == ENDPOINT


async def test_nothing_else_is_told_without_a_token(client: TestClient[Any, Any]) -> None:
    for path in ("/subscriptions", f"/subscriptions/{FIRST}", "/metadata"):
        async with client.get(f"{path}?{SUBSCRIPTIONS}") as answer:
            assert answer.status == 401


async def test_subscriptions_are_those_that_hold_something(get: Get) -> None:
    status, body = await get(f"/subscriptions?{SUBSCRIPTIONS}")
    assert status == 200
    assert [each["subscriptionId"] for each in body["value"]] == [FIRST, SECOND]
    assert {each["tenantId"] for each in body["value"]} == {TENANT}


async def test_a_subscription_can_be_read_in_any_case(get: Get) -> None:
    status, body = await get(f"/Subscriptions/{FIRST.upper()}?{SUBSCRIPTIONS}")
    assert (status, body["id"], body["state"]) == (200, f"/subscriptions/{FIRST}", "Enabled")


async def test_resource_groups_are_listed_once_however_they_are_spelled(get: Get) -> None:
    _, body = await get(f"/subscriptions/{FIRST}/resourceGroups?{RESOURCES}")
    assert names(body) == ["Fleet", "other"]


async def test_a_resource_group_can_be_read(get: Get) -> None:
    status, body = await get(f"/subscriptions/{FIRST}/resourcegroups/FLEET?{RESOURCES}")
    assert (status, body["name"], body["type"]) == (
        200,
        "Fleet",
        "Microsoft.Resources/resourceGroups",
    )


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        (f"resourceType eq '{REGISTRIES.lower()}'", ["fleetone", "fleetthree", "fleettwo"]),
        ("resourceGroup eq 'OTHER'", ["vault"]),
        ("name eq 'fleettwo'", ["fleettwo"]),
        ("name eq 'another'", []),
    ],
)
async def test_resources_are_filtered_and_the_filter_goes_on_over_pages(
    get: Get, expression: str, found: list[str]
) -> None:
    address = f"/subscriptions/{FIRST}/resources?{RESOURCES}&$filter={expression}"
    seen = []
    while address:
        status, body = await get(address)
        assert status == 200
        assert len(body["value"]) <= 2
        seen += names(body)
        address = body.get("nextLink", "")
    assert seen == found


async def test_a_resource_is_listed_with_its_whole_id(get: Get) -> None:
    _, body = await get(f"/subscriptions/{SECOND}/resources?{RESOURCES}")
    assert body["value"] == [
        {
            "id": THERE[-1].id,
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
        ("/subscriptions/mine?" + SUBSCRIPTIONS, 400, "InvalidSubscriptionId"),
        (f"/subscriptions/{TENANT}?{SUBSCRIPTIONS}", 404, "SubscriptionNotFound"),
        (
            f"/subscriptions/{FIRST}/resourceGroups/elsewhere?{RESOURCES}",
            404,
            "ResourceGroupNotFound",
        ),
        ("/subscriptions", 400, "MissingApiVersionParameter"),
        ("/subscriptions?api-version=2019-05-01", 400, "InvalidApiVersionParameter"),
        (f"/subscriptions?{SUBSCRIPTIONS}&$top=1", 400, "InvalidQueryParameterValue"),
        (
            f"/subscriptions/{FIRST}/resources?{RESOURCES}&$filter=tagName eq 'x'",
            400,
            "InvalidQueryParameterValue",
        ),
        (f"/tenants?{SUBSCRIPTIONS}", 404, "ResourceNotFound"),
        (
            f"/subscriptions/{FIRST}/providers/Microsoft.Compute/disks?{RESOURCES}",
            404,
            "InvalidResourceNamespace",
        ),
    ],
)
async def test_what_is_not_there_is_refused(get: Get, path: str, status: int, code: str) -> None:
    refused_with, body = await get(path)
    assert (refused_with, body["error"]["code"]) == (status, code)


async def test_requests_to_no_subscription_take_from_no_bucket(
    get: Get, throttle: Throttle
) -> None:
    throttle.limits = RateLimits(reads=BucketSize(capacity=1, per_second=0.001))
    statuses = [(await get(f"/subscriptions?{SUBSCRIPTIONS}"))[0] for _ in range(3)]
    statuses += [(await get(f"/subscriptions/{FIRST}?{SUBSCRIPTIONS}"))[0] for _ in range(2)]
    assert statuses == [200, 200, 200, 200, 429]
