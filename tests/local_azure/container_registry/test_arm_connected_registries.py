"""Connected registries through the real SDK: the list that has no ETag, and its limits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ConnectedRegistry,
    ConnectedRegistryProperties,
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
    ParentProperties,
    SyncProperties,
    SyncUpdateProperties,
)

from local_azure.container_registry.backends import (
    ConnectedRegistryBackend,
    deploy_connected_registry,
)
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resource_ids import RegistryId

from .arm_harness import READ_HELLO, WHERE, Arm, code_of

Client = ContainerRegistryManagementClient


@pytest.fixture
def site(registry: Registry) -> ConnectedRegistryBackend:
    """A deployed connected registry that syncs hello-world."""
    return deploy_connected_registry(
        registry, "factory1", login_server="127.0.0.1:8000", repositories=["hello-world"]
    )


@pytest.fixture
def token_ids(registry: Registry) -> list[str]:
    """Three tokens that may be clients."""
    registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    scope_map_id = registry.registry_id.child("scopeMaps", "hello-readers")
    names = [f"device-{number:03}" for number in range(3)]
    for name in names:
        registry.put_token(name, scope_map_id=scope_map_id)
    return [registry.registry_id.child("tokens", name) for name in names]


async def update(
    client: Client,
    properties: ConnectedRegistryUpdateProperties,
    headers: dict[str, str] | None = None,
) -> ConnectedRegistryProperties:
    poller = await client.connected_registries.begin_update(
        *WHERE,
        "factory1",
        ConnectedRegistryUpdateParameters(properties=properties),
        headers=headers or {},
    )
    return required((await poller.result()).properties)


async def set_clients(
    client: Client, token_ids: list[str], headers: dict[str, str] | None = None
) -> ConnectedRegistryProperties:
    return await update(
        client, ConnectedRegistryUpdateProperties(client_token_ids=token_ids), headers
    )


def required[T](value: T | None) -> T:
    assert value is not None
    return value


@pytest.mark.usefixtures("site")
async def test_a_deployed_connected_registry_shows_where_devices_reach_it(client: Client) -> None:
    connected = await client.connected_registries.get(*WHERE, "FACTORY1")
    properties = required(connected.properties)
    assert connected.name == "factory1"
    assert properties.mode == "ReadOnly"
    assert properties.connection_state == "Online"
    assert required(properties.activation).status == "Active"
    assert required(properties.login_server).host == "127.0.0.1:8000"
    sync = properties.parent.sync_properties
    assert sync.token_id.endswith("/tokens/factory1")
    assert sync.schedule == "* * * * *"
    assert sync.message_ttl == timedelta(days=2)
    assert sync.last_sync_time is not None
    assert sync.gateway_endpoint == "contosofleet.westeurope.data.azurecr.io"


@pytest.mark.usefixtures("site")
async def test_the_sync_scope_map_says_which_repositories_are_synced(client: Client) -> None:
    token = await client.tokens.get(*WHERE, "factory1")
    name = required(required(token.properties).scope_map_id).rpartition("/")[2]
    scope_map = await client.scope_maps.get(*WHERE, name)
    actions = required(scope_map.properties).actions
    assert READ_HELLO in actions
    assert "repositories/hello-world/metadata/read" in actions
    assert "gateway/factory1/message/read" in actions


async def test_a_connected_registry_can_be_created_listed_and_deleted(
    client: Client, token_ids: list[str]
) -> None:
    created = await (
        await client.connected_registries.begin_create(
            *WHERE,
            "factory2",
            ConnectedRegistry(
                properties=ConnectedRegistryProperties(
                    mode="ReadWrite",
                    parent=ParentProperties(
                        sync_properties=SyncProperties(
                            token_id=token_ids[0],
                            message_ttl=timedelta(days=1),
                            schedule="0 1 * * *",
                            sync_window=timedelta(hours=3),
                        )
                    ),
                )
            ),
        )
    ).result()
    properties = required(created.properties)
    assert properties.connection_state == "Offline"
    assert properties.parent.sync_properties.sync_window == timedelta(hours=3)
    assert [c.name async for c in client.connected_registries.list(*WHERE)] == ["factory2"]
    await (await client.connected_registries.begin_delete(*WHERE, "factory2")).result()
    with pytest.raises(ResourceNotFoundError):
        await client.connected_registries.get(*WHERE, "factory2")


async def test_the_list_can_be_filtered(
    client: Client, registry: Registry, site: ConnectedRegistryBackend
) -> None:
    deploy_connected_registry(registry, "factory2", login_server=None, repositories=["*"])
    site.go_offline()
    online = client.connected_registries.list(*WHERE, filter="connectionState eq 'Online'")
    assert [c.name async for c in online] == ["factory2"]


@pytest.mark.usefixtures("site")
async def test_the_client_tokens_are_replaced_as_a_whole_list(
    client: Client, token_ids: list[str]
) -> None:
    await set_clients(client, token_ids[:2])
    updated = await set_clients(client, token_ids[2:])
    assert updated.client_token_ids == token_ids[2:]


@pytest.mark.usefixtures("site")
async def test_an_empty_list_of_client_tokens_is_left_out(
    client: Client, token_ids: list[str]
) -> None:
    await set_clients(client, token_ids)
    assert "clientTokenIds" not in await set_clients(client, [])


@pytest.mark.usefixtures("site")
async def test_two_operators_who_update_the_list_lose_one_of_their_devices(
    client: Client, token_ids: list[str]
) -> None:
    first, second, third = token_ids
    await set_clients(client, [first])
    before = required((await client.connected_registries.get(*WHERE, "factory1")).properties)
    seen_by_both = list(required(before.client_token_ids))
    await set_clients(client, [*seen_by_both, second])
    after = await set_clients(client, [*seen_by_both, third], headers={"If-Match": '"stale"'})
    assert after.client_token_ids == [first, third]


@pytest.mark.usefixtures("site")
async def test_an_update_keeps_what_it_does_not_name_and_rewrites_system_data(
    client: Client, arm: Arm, token_ids: list[str]
) -> None:
    await set_clients(client, token_ids)
    before = await client.connected_registries.get(*WHERE, "factory1")
    arm.kernel.clock.advance(timedelta(minutes=1))
    await update(client, ConnectedRegistryUpdateProperties(notifications_list=["hello-world:*"]))
    after = await client.connected_registries.get(*WHERE, "factory1")
    assert required(after.properties).client_token_ids == token_ids
    created_before = required(required(before.system_data).created_at)
    assert required(required(after.system_data).created_at) > created_before


@pytest.mark.usefixtures("site")
async def test_a_continuous_schedule_drops_the_sync_window(client: Client) -> None:
    nightly = SyncUpdateProperties(schedule="0 1 * * *", sync_window=timedelta(hours=3))
    changed = await update(client, ConnectedRegistryUpdateProperties(sync_properties=nightly))
    assert changed.parent.sync_properties.sync_window == timedelta(hours=3)
    always = SyncUpdateProperties(schedule="* * * * *")
    changed = await update(client, ConnectedRegistryUpdateProperties(sync_properties=always))
    assert changed.parent.sync_properties.sync_window is None


@pytest.mark.parametrize(
    "sync",
    [
        SyncUpdateProperties(schedule="0 1 * * *"),  # no window
        SyncUpdateProperties(schedule="@daily"),
        SyncUpdateProperties(schedule="0 1 * *", sync_window=timedelta(hours=3)),
        SyncUpdateProperties(schedule="0 1 * * *", sync_window=timedelta(minutes=59)),
        SyncUpdateProperties(message_ttl=timedelta(days=91)),
    ],
)
@pytest.mark.usefixtures("site")
async def test_a_sync_time_that_no_connected_registry_takes_is_refused(
    client: Client, sync: SyncUpdateProperties
) -> None:
    with pytest.raises(HttpResponseError) as refusal:
        await update(client, ConnectedRegistryUpdateProperties(sync_properties=sync))
    assert refusal.value.status_code == 400


async def test_no_more_clients_than_the_connected_registry_takes(
    client: Client, registry: Registry, site: ConnectedRegistryBackend, token_ids: list[str]
) -> None:
    registry.set_max_clients(site.name, 2)
    with pytest.raises(HttpResponseError) as refusal:
        await set_clients(client, token_ids)
    assert refusal.value.status_code == 400
    assert code_of(refusal.value) == "ClientTokenLimitExceeded"
    assert (await set_clients(client, token_ids[:2])).client_token_ids == token_ids[:2]


@pytest.mark.usefixtures("site")
async def test_a_token_that_is_listed_twice_counts_once(
    client: Client, token_ids: list[str]
) -> None:
    shouted = token_ids[0].replace("fleet", "FLEET")
    updated = await set_clients(client, [shouted, token_ids[0]])
    assert updated.client_token_ids == [shouted]


@pytest.mark.usefixtures("site")
async def test_a_client_token_must_be_one_of_the_registry(
    client: Client, registry: Registry, token_ids: list[str]
) -> None:
    home = registry.registry_id
    other = RegistryId(home.subscription_id, home.resource_group, "otherfleet")
    for token_id in (home.child("tokens", "nothing-here"), other.child("tokens", "device-000")):
        with pytest.raises(HttpResponseError) as refusal:
            await set_clients(client, [token_ids[0], token_id])
        assert refusal.value.status_code == 400
        assert code_of(refusal.value) == "TokenNotFound"


@pytest.mark.usefixtures("site")
async def test_a_token_in_use_cannot_be_deleted(client: Client, token_ids: list[str]) -> None:
    await set_clients(client, [token_ids[0].lower()])
    for name in ("device-000", "factory1"):
        with pytest.raises(ResourceExistsError) as refusal:
            await client.tokens.begin_delete(*WHERE, name)
        assert code_of(refusal.value) == "TokenInUse"
    await set_clients(client, [])
    await (await client.tokens.begin_delete(*WHERE, "device-000")).result()


async def test_a_connected_registry_shows_whether_it_is_in_touch(
    client: Client, arm: Arm, site: ConnectedRegistryBackend
) -> None:
    async def shown() -> ConnectedRegistryProperties:
        return required((await client.connected_registries.get(*WHERE, "factory1")).properties)

    synced = (await shown()).parent.sync_properties.last_sync_time
    arm.kernel.clock.advance(timedelta(hours=1))
    site.go_offline()
    assert not site.sync()
    offline = await shown()
    assert offline.connection_state == "Offline"
    assert required(offline.activation).status == "Active"
    assert offline.parent.sync_properties.last_sync_time == synced
    site.go_online()
    assert (await shown()).connection_state == "Offline"
    assert site.sync()
    online = await shown()
    assert online.connection_state == "Online"
    assert required(online.parent.sync_properties.last_sync_time) > required(synced)
    assert online.last_activity_time == online.parent.sync_properties.last_sync_time


async def test_a_connected_registry_says_what_keeps_it_from_working(
    client: Client, arm: Arm, site: ConnectedRegistryBackend
) -> None:
    site.problem = "DISK_STORAGE_FULL"
    arm.kernel.clock.advance(timedelta(hours=1))
    assert not site.sync()
    unhealthy = required((await client.connected_registries.get(*WHERE, "factory1")).properties)
    assert unhealthy.connection_state == "Unhealthy"
    (detail,) = required(unhealthy.status_details)
    assert detail.code == "DISK_STORAGE_FULL"
    assert detail.description
    assert detail.correlation_id
    assert detail.timestamp == unhealthy.last_activity_time
    assert required(unhealthy.parent.sync_properties.last_sync_time) < required(detail.timestamp)
    site.problem = None
    assert site.sync()
    healthy = required((await client.connected_registries.get(*WHERE, "factory1")).properties)
    assert healthy.connection_state == "Online"
    assert "statusDetails" not in healthy


async def test_a_deactivated_connected_registry_syncs_no_more(
    client: Client, site: ConnectedRegistryBackend
) -> None:
    poller = await client.connected_registries.begin_deactivate(*WHERE, "factory1")
    await poller.result()
    assert poller.status() == "Succeeded"
    connected = required((await client.connected_registries.get(*WHERE, "factory1")).properties)
    assert required(connected.activation).status == "Inactive"
    assert connected.connection_state == "Offline"
    assert not site.sync()


async def test_only_a_premium_registry_with_data_endpoints_has_connected_registries(
    client: Client, arm: Arm
) -> None:
    home = arm.registry.registry_id
    for name, sku, data_endpoint in (
        ("basicfleet", "Basic", True),
        ("barefleet", "Premium", False),
    ):
        arm.cloud.create_registry(
            RegistryId(home.subscription_id, home.resource_group, name),
            login_server=f"{name}.azurecr.io",
            sku=sku,
            data_endpoint_enabled=data_endpoint,
        )
        token_id = RegistryId(home.subscription_id, home.resource_group, name).child(
            "tokens", "any"
        )
        sync = SyncProperties(token_id=token_id, message_ttl=timedelta(days=1))
        with pytest.raises(HttpResponseError) as refusal:
            await client.connected_registries.begin_create(
                home.resource_group,
                name,
                "factory1",
                ConnectedRegistry(
                    properties=ConnectedRegistryProperties(
                        mode="ReadOnly", parent=ParentProperties(sync_properties=sync)
                    )
                ),
            )
        assert code_of(refusal.value) == "InvalidParameter"
