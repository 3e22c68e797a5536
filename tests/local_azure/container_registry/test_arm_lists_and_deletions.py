"""Lists, page by page, and deletions, in the order that the references between resources need."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from local_azure.container_registry.backends import deploy_connected_registry
from local_azure.container_registry.models import ContainerRegistryCloud, Registry
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.container_registry.resources import ConnectedRegistryChanges

from .arm_harness import READ_HELLO, REGISTRY_ID, WHERE, Arm, refusal_of

Client = ContainerRegistryManagementClient
DEVICES = [f"device-{number:03}" for number in range(7)]
PLANT = "factory1"


@pytest.fixture(autouse=True)
def _deployed(registry: Registry) -> None:
    """A connected registry with seven clients, each with a scope map of its own name."""
    for name in DEVICES:
        registry.put_scope_map(name, actions=[READ_HELLO])
        registry.put_token(name, scope_map_id=REGISTRY_ID.child("scopeMaps", name))
    deploy_connected_registry(registry, PLANT, login_server=None, repositories=["*"])
    set_clients(registry, *DEVICES)


def set_clients(registry: Registry, *names: str) -> None:
    ids = tuple(REGISTRY_ID.child("tokens", name) for name in names)
    registry.update_connected_registry(PLANT, ConnectedRegistryChanges(client_token_ids=ids))


async def pages(arm: Arm, url: str | None) -> list[dict[str, Any]]:
    """The pages of a list, by their links."""
    found = []
    while url is not None:
        found.append((await arm.send("GET", url)).body)
        url = found[-1].get("nextLink")
    return found


async def test_the_sdk_follows_every_list_to_its_last_page(
    client: Client, registry: Registry
) -> None:
    tokens = [found.name async for found in client.tokens.list(*WHERE)]
    scope_maps = [found.name async for found in client.scope_maps.list(*WHERE)]
    connected = [found.name async for found in client.connected_registries.list(*WHERE)]

    assert tokens == [*DEVICES, PLANT]
    assert scope_maps == [found.name for found in registry.scope_maps()]
    assert {"_repositories_admin", *DEVICES} <= set(scope_maps)
    assert connected == [PLANT]


async def test_a_page_holds_as_many_as_the_setting_says_and_links_to_the_next(arm: Arm) -> None:
    for size, lengths in ((3, [3, 3, 2]), (8, [8])):
        arm.cloud.settings.page_size = size
        found = await pages(arm, arm.url("/tokens"))
        assert [len(page["value"]) for page in found] == lengths
        for page in found[:-1]:
            assert page["nextLink"].startswith(f"{arm.url('/tokens')}&")


async def test_the_next_page_starts_where_the_last_ended_after_a_deletion(
    client: Client, registry: Registry
) -> None:
    set_clients(registry)
    names = []
    async for page in client.tokens.list(*WHERE).by_page():
        names += [found.name async for found in page]
        registry.delete_token("device-002")
    assert names == [*DEVICES, PLANT]


async def test_registries_are_listed_by_subscription_and_by_resource_group(
    arm: Arm, cloud: ContainerRegistryCloud
) -> None:
    subscription = REGISTRY_ID.subscription_id
    for number in range(3):
        cloud.create_registry(
            RegistryId(subscription, "other", f"another{number}"), login_server="x.azurecr.io"
        )
    for group, expected in (
        ("", ["another0", "another1", "another2", "contosofleet"]),
        ("/resourceGroups/FLEET", ["contosofleet"]),
    ):
        path = f"{group}/providers/Microsoft.ContainerRegistry/registries"
        url = f"{arm.endpoint}/subscriptions/{subscription}{path}?api-version=2025-11-01"
        found = await pages(arm, url)
        assert [each["name"] for page in found for each in page["value"]] == expected


async def test_a_resource_is_deleted_after_those_that_reference_it(
    client: Client, arm: Arm, registry: Registry
) -> None:
    name = DEVICES[0]
    for token in (name, PLANT):
        assert await refusal_of(client.tokens.begin_delete(*WHERE, token)) == (409, "TokenInUse")
    refusal = await refusal_of(client.scope_maps.begin_delete(*WHERE, name))
    assert refusal == (409, "ScopeMapInUse")

    set_clients(registry, *DEVICES[1:])
    for resources in (client.tokens, client.scope_maps):
        for expected in (200, 204):
            await (await resources.begin_delete(*WHERE, name)).result()
            assert arm.kernel.calls.latest()[-1].status == expected
        assert await refusal_of(resources.get(*WHERE, name)) == (404, "ResourceNotFound")
    kept = registry.connected_registry(PLANT).settings.client_token_ids
    assert list(kept) == [REGISTRY_ID.child("tokens", other) for other in DEVICES[1:]]


async def test_a_deleted_connected_registry_releases_its_tokens(
    client: Client, arm: Arm, registry: Registry
) -> None:
    for expected in (200, 204):
        await (await client.connected_registries.begin_delete(*WHERE, PLANT)).result()
        assert arm.kernel.calls.latest()[-1].status == expected
    for name in (PLANT, DEVICES[0]):
        await (await client.tokens.begin_delete(*WHERE, name)).result()
        await (await client.scope_maps.begin_delete(*WHERE, name)).result()
    assert [found.name for found in registry.tokens()] == DEVICES[1:]


async def test_an_asynchronous_deletion_is_202_until_it_ends(arm: Arm, registry: Registry) -> None:
    set_clients(registry)
    arm.cloud.settings.delete_asynchronously = True
    arm.cloud.settings.token_activation_seconds = (5, 5)
    url = arm.url(f"/tokens/{DEVICES[0]}")
    accepted = await arm.send("DELETE", url)
    location = accepted.headers["Location"]
    child = REGISTRY_ID.child("tokens", DEVICES[0])
    assert accepted.status == 202
    assert location.startswith(f"{arm.endpoint}{child}/operationStatuses/tokens-")
    for expected in (202, 200):
        answer = await arm.send("GET", location)
        assert (answer.status, answer.body) == (expected, None)
        arm.kernel.clock.advance(timedelta(seconds=5))
    assert (await arm.send("DELETE", url)).status == 204
