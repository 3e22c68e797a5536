"""Resource groups, and resources that are made in them and removed with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from local_azure.kernel import Kernel
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory, Resource
from local_azure.resource_manager.links import Links
from local_azure.resource_manager.throttling import Throttle
from local_azure.subscriptions.models import Kind, ResourceGroups, ResourceId
from local_azure.subscriptions.responses import (
    GROUP_API_VERSION,
    ROLE_API_VERSION,
    VAULT_API_VERSION,
    ResourceGroupService,
)

ENDPOINT = "https://arm.test"
SUBSCRIPTION = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP = f"{SUBSCRIPTION}/resourceGroups/mine"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/one"
DELETED_VAULT = (
    f"{SUBSCRIPTION}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/one"
)
ASSIGNMENT = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/first"
OWN_GROUP = "of-the-stack"
HERE = {"location": "westeurope"}


@dataclass
class Subscription:
    """A client, and what a test decides about the vaults that it makes."""

    client: TestClient[Any, Any]
    token: str
    groups: ResourceGroups
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    may_stop: asyncio.Event = field(default_factory=asyncio.Event)
    served: list[str] = field(default_factory=list)

    async def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        version = GROUP_API_VERSION
        if "KeyVault" in path:
            version = VAULT_API_VERSION
        if "Authorization" in path:
            version = ROLE_API_VERSION
        separator = "&" if "?" in path else "?"
        async with self.client.request(
            method,
            f"{path}{separator}api-version={version}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
        ) as answer:
            return answer.status, await answer.json() if answer.content_length else None

    @asynccontextmanager
    async def serve(self, resource_id: ResourceId) -> AsyncIterator[Mapping[str, object]]:
        """Serve a vault when the test lets it start."""
        await self.may_start.wait()
        self.served.append(resource_id.name)
        try:
            yield {"vaultUri": "https://one.test/"}
        finally:
            await self.may_stop.wait()
            self.served.remove(resource_id.name)

    async def serves(self, path: str) -> None:
        """Wait until a resource is there."""

        def is_there(_status: int, body: Any) -> bool:  # noqa: ANN401 - JSON
            return bool(body["properties"]["provisioningState"] == "Succeeded")

        await self.until(path, is_there)

    async def answers(self, path: str, wanted: int) -> None:
        """Wait for a status."""
        await self.until(path, lambda status, _: status == wanted)

    async def until(self, path: str, holds: Callable[[int, Any], bool]) -> None:
        """GET until something holds."""
        async with asyncio.timeout(10):
            while not holds(*await self.send("GET", path)):  # noqa: ASYNC110 - a server changes it
                await asyncio.sleep(0)


@pytest.fixture
async def subscription(kernel: Kernel) -> AsyncIterator[Subscription]:
    _, _, subscription_id = SUBSCRIPTION.split("/")
    groups = ResourceGroups(lambda: (OWN_GROUP,))
    own = Resource(
        subscription_id=subscription_id,
        resource_group=OWN_GROUP,
        type="Microsoft.ContainerRegistry/registries",
        name="own",
        sku="Premium",
    )
    directory = Directory(
        lambda: (own,), lambda: ((each.subscription_id, each.name) for each in groups.all())
    )

    @asynccontextmanager
    async def serve(resource_id: ResourceId) -> AsyncIterator[Mapping[str, object]]:
        async with opened.serve(resource_id) as properties:
            yield properties

    kind = Kind(type="Microsoft.KeyVault/vaults", api_version=VAULT_API_VERSION, serve=serve)
    service = ResourceGroupService(groups, (kind,), Links(endpoint=ENDPOINT, page_size=20))
    application = create_arm_application(
        kernel,
        routes=service.routes(),
        directory=directory,
        audiences=(ENDPOINT,),
        throttle=Throttle(clock=kernel.clock, limits=None),
    )
    token = kernel.tokens.issue(
        issuer="https://sts.windows.net/local/",
        audience=ENDPOINT,
        lifetime=timedelta(hours=1),
        claims={"oid": "somebody"},
    )
    async with TestClient(TestServer(application)) as client:
        opened = Subscription(client, token, groups)
        try:
            yield opened
        finally:
            opened.may_stop.set()
            await groups.close()


async def test_a_group_is_made_listed_by_its_tag_and_kept_by_a_repetition(
    subscription: Subscription,
) -> None:
    assert (await subscription.send("GET", GROUP))[0] == 404
    assert (await subscription.send("PUT", GROUP, {**HERE, "tags": {"run": "1"}}))[0] == 201
    assert (await subscription.send("PUT", GROUP, {**HERE, "tags": {"run": "2"}}))[0] == 200
    for tag, found in (("run", ["mine"]), ("other", [])):
        path = f"{SUBSCRIPTION}/resourceGroups?$filter=tagName eq '{tag}'"
        _, body = await subscription.send("GET", path)
        assert [group["name"] for group in body["value"]] == found
    assert (await subscription.send("GET", GROUP))[1]["tags"] == {"run": "2"}


async def test_a_resource_is_being_created_until_it_serves(subscription: Subscription) -> None:
    assert (await subscription.send("PUT", VAULT, HERE))[1]["error"]["code"] == (
        "ResourceGroupNotFound"
    )
    await subscription.send("PUT", GROUP, HERE)
    body = {**HERE, "properties": {"tenantId": "t"}}
    status, made = await subscription.send("PUT", VAULT, body)
    assert (status, made["properties"]["provisioningState"]) == (201, "Creating")
    subscription.may_start.set()
    await subscription.serves(VAULT)
    _, found = await subscription.send("GET", VAULT)
    assert found["properties"]["vaultUri"] == "https://one.test/"
    assert found["properties"]["tenantId"] == "t"
    assert (await subscription.send("PUT", VAULT, body))[0] == 200


async def test_a_group_is_deleted_later_with_all_that_is_in_it(subscription: Subscription) -> None:
    await subscription.send("PUT", GROUP, HERE)
    subscription.may_start.set()
    await subscription.send("PUT", VAULT, HERE)
    await subscription.serves(VAULT)
    assert (await subscription.send("DELETE", GROUP))[0] == 202
    deletion = f"{GROUP}/operationResults/deletion"
    assert (await subscription.send("GET", deletion))[0] == 202
    _, deleted = await subscription.send("GET", GROUP)
    assert deleted["properties"]["provisioningState"] == "Deleting"
    for path in (GROUP, VAULT):
        _, refused = await subscription.send("PUT", path, HERE)
        assert refused["error"]["code"] == "ResourceGroupBeingDeleted"
    subscription.may_stop.set()
    await subscription.answers(deletion, 200)
    assert subscription.served == []
    assert (await subscription.send("GET", GROUP))[0] == 404
    assert (await subscription.send("DELETE", GROUP))[0] == 404


async def test_a_deleted_vault_stays_until_it_is_purged(subscription: Subscription) -> None:
    subscription.may_start.set()
    subscription.may_stop.set()
    await subscription.send("PUT", GROUP, HERE)
    await subscription.send("PUT", VAULT, HERE)
    await subscription.serves(VAULT)
    assert (await subscription.send("GET", DELETED_VAULT))[0] == 404
    await subscription.send("DELETE", GROUP)
    await subscription.answers(DELETED_VAULT, 200)
    assert (await subscription.send("POST", f"{DELETED_VAULT}/purge"))[0] == 202
    assert (await subscription.send("GET", DELETED_VAULT))[0] == 404


async def test_a_role_assignment_outlives_its_group(subscription: Subscription) -> None:
    body = {"properties": {"principalId": "p", "roleDefinitionId": "r"}}
    await subscription.send("PUT", GROUP, HERE)
    assert (await subscription.send("PUT", ASSIGNMENT, body))[0] == 201
    await subscription.send("DELETE", GROUP)
    await subscription.answers(GROUP, 404)
    assert (await subscription.send("GET", ASSIGNMENT))[1]["properties"]["principalId"] == "p"
    assert (await subscription.send("DELETE", ASSIGNMENT))[0] == 200
    assert (await subscription.send("DELETE", ASSIGNMENT))[0] == 204
    assert (await subscription.send("GET", ASSIGNMENT))[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_the_group_of_the_stack_itself_is_locked(
    subscription: Subscription, method: str
) -> None:
    path = f"{SUBSCRIPTION}/resourceGroups/{OWN_GROUP}"
    status, body = await subscription.send(method, path, HERE if method == "PUT" else None)
    assert (status, body["error"]["code"]) == (409, "ScopeLocked")


@pytest.mark.parametrize("body", [{}, {"location": 1}, []])
async def test_a_group_needs_a_location(subscription: Subscription, body: object) -> None:
    status, refused = await subscription.send("PUT", GROUP, body)
    assert (status, refused["error"]["code"]) == (400, "InvalidRequestContent")
