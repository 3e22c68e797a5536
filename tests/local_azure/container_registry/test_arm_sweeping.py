"""Listing everything and taking it away again, through the real SDK."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
    TokenUpdateParameters,
    TokenUpdateProperties,
)

from local_azure.container_registry.backends import deploy_connected_registry
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resources import ConnectedRegistryChanges

from .arm_harness import READ_HELLO, WHERE, Arm, code_of

Client = ContainerRegistryManagementClient
DEVICES = [f"device-{number:03}" for number in range(7)]
SITES = [f"factory{number}" for number in range(7)]


@pytest.fixture
def devices(registry: Registry) -> list[str]:
    """The ids of seven tokens, each with a scope map of its own name."""
    for name in DEVICES:
        registry.put_scope_map(name, actions=[READ_HELLO])
        scope_map_id = registry.registry_id.child("scopeMaps", name)
        registry.put_token(name, scope_map_id=scope_map_id)
    return [registry.registry_id.child("tokens", name) for name in DEVICES]


@pytest.fixture
def factory(registry: Registry, devices: list[str]) -> str:
    """A connected registry whose clients all devices are."""
    site = deploy_connected_registry(
        registry, "factory1", login_server="127.0.0.1:8000", repositories=["hello-world"]
    )
    clients = ConnectedRegistryChanges(client_token_ids=tuple(devices))
    registry.update_connected_registry(site.name, clients)
    return site.name


@pytest.fixture
def sites(registry: Registry) -> list[str]:
    """Seven connected registries, of which two are offline."""
    for name in SITES:
        site = deploy_connected_registry(
            registry, name, login_server=None, repositories=["hello-world"]
        )
        if name in SITES[:2]:
            site.go_offline()
    return SITES


async def pages(arm: Arm, path: str, query: str = "") -> list[dict[str, Any]]:
    """The pages of a list, by their links."""
    url: str | None = arm.url(path) + query
    found = []
    while url is not None:
        async with arm.session.get(url, headers=await arm.headers()) as answer:
            page: dict[str, Any] = await answer.json()
        found.append(page)
        url = page.get("nextLink")
    return found


async def test_the_sdk_follows_every_list_to_its_last_page(
    client: Client, arm: Arm, devices: list[str], sites: list[str]
) -> None:
    tokens = [found async for found in client.tokens.list(*WHERE)]
    scope_maps = [found.name async for found in client.scope_maps.list(*WHERE)]
    connected = [found.name async for found in client.connected_registries.list(*WHERE)]
    assert [found.name for found in tokens] == [*DEVICES, *sites]
    assert [found.id for found in tokens if found.name in DEVICES] == devices
    assert scope_maps == [found.name for found in arm.registry.scope_maps()]
    assert connected == sites
    counts = arm.kernel.calls.counts()
    assert counts["arm.tokens.list"] == 5
    assert counts["arm.scopeMaps.list"] == 7
    assert counts["arm.connectedRegistries.list"] == 3


@pytest.mark.usefixtures("sites")
async def test_a_filter_goes_on_over_the_pages(client: Client, arm: Arm) -> None:
    online = client.connected_registries.list(*WHERE, filter="connectionState eq 'Online'")
    assert [found.name async for found in online] == SITES[2:]
    assert arm.kernel.calls.counts() == {"arm.connectedRegistries.list": 2}


@pytest.mark.usefixtures("sites")
async def test_the_next_page_is_at_the_same_host_and_in_the_same_version(arm: Arm) -> None:
    first, *_, last = await pages(arm, "/connectedRegistries")
    link = first["nextLink"]
    assert link.startswith(f"{arm.endpoint}{arm.registry.registry_id}/connectedRegistries?")
    assert "api-version=2025-11-01" in link
    assert "nextLink" not in last


@pytest.mark.usefixtures("devices")
async def test_how_much_a_page_holds_can_be_changed(arm: Arm) -> None:
    for size, lengths in ((2, [2, 2, 2, 1]), (7, [7]), (100, [7])):
        arm.cloud.settings.page_size = size
        assert [len(page["value"]) for page in await pages(arm, "/tokens")] == lengths


async def test_a_device_is_taken_away_in_the_order_that_the_cloud_wants(
    client: Client, arm: Arm, factory: str, devices: list[str]
) -> None:
    name, others = DEVICES[0], devices[1:]
    disabled = TokenUpdateParameters(properties=TokenUpdateProperties(status="disabled"))
    token = await (await client.tokens.begin_update(*WHERE, name, disabled)).result()
    assert token["properties"]["status"] == "disabled"
    with pytest.raises(ResourceExistsError) as refusal:
        await client.tokens.begin_delete(*WHERE, name)
    assert code_of(refusal.value) == "TokenInUse"

    without = ConnectedRegistryUpdateParameters(
        properties=ConnectedRegistryUpdateProperties(client_token_ids=others)
    )
    await (await client.connected_registries.begin_update(*WHERE, factory, without)).result()
    with pytest.raises(ResourceExistsError) as refusal:
        await client.scope_maps.begin_delete(*WHERE, name)
    assert code_of(refusal.value) == "ScopeMapInUse"

    await (await client.tokens.begin_delete(*WHERE, name)).result()
    await (await client.scope_maps.begin_delete(*WHERE, name)).result()
    for get in (client.tokens.get, client.scope_maps.get):
        with pytest.raises(ResourceNotFoundError):
            await get(*WHERE, name)
    kept = arm.registry.connected_registry(factory).settings.client_token_ids
    assert list(kept) == others


@pytest.mark.usefixtures("devices")
async def test_deleting_a_connected_registry_twice_is_no_error_and_frees_its_tokens(
    client: Client, arm: Arm, factory: str
) -> None:
    for expected in (200, 204):
        await (await client.connected_registries.begin_delete(*WHERE, factory)).result()
        assert arm.kernel.calls.latest()[-1].status == expected
    for name in (factory, DEVICES[0]):
        await (await client.tokens.begin_delete(*WHERE, name)).result()
        await (await client.scope_maps.begin_delete(*WHERE, name)).result()
    assert [found.name for found in arm.registry.tokens()] == DEVICES[1:]


async def test_deleting_from_a_registry_that_is_not_there_is_an_error(client: Client) -> None:
    for delete in (
        client.tokens.begin_delete,
        client.scope_maps.begin_delete,
        client.connected_registries.begin_delete,
    ):
        with pytest.raises(ResourceNotFoundError) as refusal:
            await delete(WHERE[0], "otherfleet", "factory1")
        assert code_of(refusal.value) == "ParentResourceNotFound"


@pytest.mark.usefixtures("devices")
async def test_the_sdk_waits_for_an_asynchronous_deletion(
    client: Client, arm: Arm, factory: str
) -> None:
    arm.cloud.settings.delete_asynchronously = True
    await (await client.connected_registries.begin_delete(*WHERE, factory)).result()
    await (await client.tokens.begin_delete(*WHERE, DEVICES[0])).result()
    await (await client.scope_maps.begin_delete(*WHERE, DEVICES[0])).result()
    assert arm.kernel.calls.counts() == {
        f"arm.{kind}.{operation}": 1
        for kind in ("connectedRegistries", "scopeMaps", "tokens")
        for operation in ("delete", "operationStatus")
    }


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("kind", ["tokens", "scopeMaps"])
async def test_an_asynchronous_deletion_is_202_until_it_has_ended(arm: Arm, kind: str) -> None:
    arm.registry.put_scope_map("nobodys", actions=[READ_HELLO])
    name = DEVICES[0] if kind == "tokens" else "nobodys"
    arm.cloud.settings.delete_asynchronously = True
    arm.cloud.settings.token_activation_seconds = (5, 5)
    url = arm.url(f"/{kind}/{name}")
    async with arm.session.delete(url, headers=await arm.headers()) as answer:
        assert answer.status == 202
        location = answer.headers["Location"]
    child = arm.registry.registry_id.child(kind, name)
    assert location.startswith(f"{arm.endpoint}{child}/operationStatuses/{kind.lower()}-")
    for expected in (202, 200):
        async with arm.session.get(location, headers=await arm.headers()) as answer:
            assert (answer.status, await answer.read()) == (expected, b"")
        arm.kernel.clock.advance(timedelta(seconds=5))
    async with arm.session.delete(url, headers=await arm.headers()) as answer:
        assert answer.status == 204
