"""Lists, page by page, and deletions, in the order that the references between resources need."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from local_azure.container_registry.backends import deploy_connected_registry
from local_azure.container_registry.exceptions import TokenNotActive, TokenNotFound
from local_azure.container_registry.models import (
    ContainerRegistryCloud,
    OperationLengths,
    Registry,
)
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.kernel.access import Assignment, Permission, RoleDefinition

from .arm_harness import READ_HELLO, REGISTRY_ID, WHERE, Arm, LocalCredential, refusal_of

Client = ContainerRegistryManagementClient
DEVICES = [f"device-{number:03}" for number in range(7)]
PLANT = "factory1"
RESULTS = (
    f"/subscriptions/{REGISTRY_ID.subscription_id}/providers/Microsoft.ContainerRegistry"
    "/locations/WESTEUROPE/operationResults"
)


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
    tokens = [str(found.name) async for found in client.tokens.list(*WHERE)]
    scope_maps = [str(found.name) async for found in client.scope_maps.list(*WHERE)]
    connected = [found.name async for found in client.connected_registries.list(*WHERE)]

    assert sorted(tokens) == [*DEVICES, PLANT]
    assert sorted(scope_maps) == [found.name for found in registry.scope_maps()]
    assert {"_repositories_admin", *DEVICES} <= set(scope_maps)
    assert connected == [PLANT]


async def test_lists_are_not_in_the_order_of_names(client: Client) -> None:
    for resources in (client.tokens, client.scope_maps):
        names = [str(found.name) async for found in resources.list(*WHERE)]
        assert names != sorted(names)
        assert names == [str(found.name) async for found in resources.list(*WHERE)]


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
    names: list[str] = []
    async for page in client.tokens.list(*WHERE).by_page():
        names += [str(found.name) async for found in page]
        registry.delete_token("device-002")
    assert sorted(names) == [*DEVICES, PLANT]


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
        assert sorted(each["name"] for page in found for each in page["value"]) == expected


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
        for expected in (200, 204):  # of the operation, and of a deletion of nothing
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


async def test_a_deletion_is_202_and_takes_effect_when_it_ends(
    arm: Arm, registry: Registry
) -> None:
    set_clients(registry)
    arm.cloud.settings.operation_lengths = OperationLengths(deletion=(5, 5))
    url = arm.url(f"/tokens/{DEVICES[0]}")
    accepted = await arm.send("DELETE", url)
    location = accepted.headers["Location"]
    assert (accepted.status, accepted.headers["Retry-After"]) == (202, "10")
    assert location.startswith(f"{arm.endpoint}{RESULTS}/token-")
    for expected, state in ((202, "Deleting"), (200, None)):
        answer = await arm.send("GET", location)
        assert (answer.status, answer.body) == (expected, None)
        found = await arm.send("GET", url)
        assert found.body.get("properties", {}).get("provisioningState") == state
        arm.kernel.clock.advance(timedelta(seconds=5))
    assert (await arm.send("DELETE", url)).status == 204


async def test_what_is_being_deleted_takes_no_change_and_no_reference(
    arm: Arm, registry: Registry
) -> None:
    token, other = DEVICES[:2]
    set_clients(registry, *DEVICES[1:])
    arm.cloud.settings.operation_lengths = OperationLengths(change=(0, 0), deletion=(5, 5))
    assert (await arm.send("DELETE", arm.url(f"/tokens/{token}"))).status == 202
    body = {"properties": {"scopeMapId": REGISTRY_ID.child("scopeMaps", other)}}
    for method in ("PUT", "PATCH"):
        answer = await arm.send(method, arm.url(f"/tokens/{token}"), body)
        assert (answer.status, answer.code) == (409, "OperationInProgress")
    with pytest.raises(TokenNotFound):
        set_clients(registry, *DEVICES)
    with pytest.raises(TokenNotActive):
        registry.generate_credentials(REGISTRY_ID.child("tokens", token))
    assert (await arm.send("DELETE", arm.url(f"/tokens/{token}"))).status == 202
    arm.kernel.clock.advance(timedelta(seconds=5))
    assert (await arm.send("PUT", arm.url(f"/tokens/{token}"), body)).status == 201


async def test_a_role_on_the_registry_does_not_reach_the_result_of_a_deletion(
    arm: Arm, registry: Registry
) -> None:
    set_clients(registry)
    actions = ("Microsoft.ContainerRegistry/*",)
    arm.kernel.access.define(RoleDefinition("everything", (Permission(actions=actions),)))
    credential = LocalCredential(arm.kernel)
    scope = str(REGISTRY_ID)
    arm.kernel.access.assign(credential.principal, [Assignment("everything", scope)])
    accepted = await arm.send("DELETE", arm.url(f"/tokens/{DEVICES[0]}"))
    refused = await arm.send("GET", accepted.headers["Location"])
    assert (accepted.status, refused.status) == (202, 403)
    assert "Microsoft.ContainerRegistry/locations/operationResults/read" in str(refused.body)
