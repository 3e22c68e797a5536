"""Connected registries through the real SDK."""

from __future__ import annotations

from datetime import timedelta

import pytest
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

from .arm_harness import READ_HELLO, REGISTRY_ID, WHERE, Arm, refusal_of

Client = ContainerRegistryManagementClient
TOKENS = [REGISTRY_ID.child("tokens", f"device-{number:03}") for number in range(3)]


@pytest.fixture(autouse=True)
def site(registry: Registry) -> ConnectedRegistryBackend:
    """A deployed connected registry that syncs hello-world; three tokens may be its clients."""
    registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    scope_map_id = REGISTRY_ID.child("scopeMaps", "hello-readers")
    for token_id in TOKENS:
        registry.put_token(token_id.rpartition("/")[2], scope_map_id=scope_map_id)
    return deploy_connected_registry(
        registry, "factory1", login_server="127.0.0.1:8000", repositories=["hello-world"]
    )


async def show(client: Client) -> ConnectedRegistryProperties:
    return required((await client.connected_registries.get(*WHERE, "factory1")).properties)


async def update(
    client: Client, properties: ConnectedRegistryUpdateProperties
) -> ConnectedRegistryProperties:
    poller = await client.connected_registries.begin_update(
        *WHERE,
        "factory1",
        ConnectedRegistryUpdateParameters(properties=properties),
        headers={"If-Match": '"stale"'},
    )
    return required((await poller.result()).properties)


async def set_clients(client: Client, token_ids: list[str]) -> ConnectedRegistryProperties:
    return await update(client, ConnectedRegistryUpdateProperties(client_token_ids=token_ids))


def required[T](value: T | None) -> T:
    assert value is not None
    return value


async def test_a_deployed_connected_registry_shows_where_devices_reach_it(
    client: Client, registry: Registry
) -> None:
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

    synced = registry.scope_map_of(registry.token_of(sync.token_id)).actions
    expected = {
        READ_HELLO,
        "repositories/hello-world/metadata/read",
        "gateway/factory1/message/read",
    }
    assert expected <= set(synced)


async def test_a_connected_registry_can_be_created_and_deleted(client: Client) -> None:
    sync = SyncProperties(
        token_id=TOKENS[0],
        message_ttl=timedelta(days=1),
        schedule="0 1 * * *",
        sync_window=timedelta(hours=3),
    )
    wanted = ConnectedRegistryProperties(
        mode="ReadOnly", parent=ParentProperties(sync_properties=sync)
    )
    creating = await client.connected_registries.begin_create(
        *WHERE, "factory2", ConnectedRegistry(properties=wanted)
    )
    properties = required((await creating.result()).properties)
    assert properties.connection_state == "Offline"
    assert properties.parent.sync_properties.sync_window == timedelta(hours=3)

    await (await client.connected_registries.begin_delete(*WHERE, "factory2")).result()
    missing = client.connected_registries.get(*WHERE, "factory2")
    assert await refusal_of(missing) == (404, "ResourceNotFound")


async def test_two_operators_who_replace_the_list_lose_one_of_their_devices(
    client: Client,
) -> None:
    first, second, third = TOKENS
    await set_clients(client, [first])
    seen_by_both = list(required((await show(client)).client_token_ids))
    await set_clients(client, [*seen_by_both, second])
    after = await set_clients(client, [*seen_by_both, third])
    assert after.client_token_ids == [first, third]
    assert "clientTokenIds" not in await set_clients(client, [])


async def test_an_update_keeps_the_other_properties_and_rewrites_system_data(
    client: Client, arm: Arm
) -> None:
    await set_clients(client, TOKENS)
    before = await client.connected_registries.get(*WHERE, "factory1")
    arm.kernel.clock.advance(timedelta(minutes=1))
    await update(client, ConnectedRegistryUpdateProperties(notifications_list=["hello-world:*"]))
    after = await client.connected_registries.get(*WHERE, "factory1")
    assert required(after.properties).client_token_ids == TOKENS
    created_before = required(required(before.system_data).created_at)
    assert required(required(after.system_data).created_at) > created_before


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
async def test_an_invalid_schedule_window_or_ttl_is_refused(
    client: Client, sync: SyncUpdateProperties
) -> None:
    updating = update(client, ConnectedRegistryUpdateProperties(sync_properties=sync))
    assert await refusal_of(updating) == (400, "InvalidParameter")


async def test_client_tokens_are_counted_once_up_to_the_limit(
    client: Client, registry: Registry
) -> None:
    registry.set_max_clients("factory1", 2)
    assert await refusal_of(set_clients(client, TOKENS)) == (400, "ClientTokenLimitExceeded")

    upper = TOKENS[0].replace("fleet", "FLEET")
    updated = await set_clients(client, [upper, TOKENS[0], TOKENS[1]])
    assert updated.client_token_ids == [upper, TOKENS[1]]


async def test_a_client_token_must_be_one_of_the_registry(client: Client) -> None:
    other = RegistryId(REGISTRY_ID.subscription_id, REGISTRY_ID.resource_group, "otherfleet")
    unknown = REGISTRY_ID.child("tokens", "nothing-here")
    for token_id in (unknown, other.child("tokens", "device-000")):
        updating = set_clients(client, [TOKENS[0], token_id])
        assert await refusal_of(updating) == (400, "TokenNotFound")


async def test_a_connected_registry_shows_its_connection_and_its_last_sync(
    client: Client, arm: Arm, site: ConnectedRegistryBackend
) -> None:
    synced = (await show(client)).parent.sync_properties.last_sync_time
    arm.kernel.clock.advance(timedelta(hours=1))
    site.go_offline()
    assert not site.sync()
    offline = await show(client)
    assert offline.connection_state == "Offline"
    assert required(offline.activation).status == "Active"
    assert offline.parent.sync_properties.last_sync_time == synced
    site.go_online()
    assert (await show(client)).connection_state == "Offline"
    assert site.sync()
    online = await show(client)
    assert online.connection_state == "Online"
    assert required(online.parent.sync_properties.last_sync_time) > required(synced)
    assert online.last_activity_time == online.parent.sync_properties.last_sync_time


async def test_an_unhealthy_connected_registry_shows_its_problem(
    client: Client, arm: Arm, site: ConnectedRegistryBackend
) -> None:
    site.problem = "DISK_STORAGE_FULL"
    arm.kernel.clock.advance(timedelta(hours=1))
    assert not site.sync()
    unhealthy = await show(client)
    assert unhealthy.connection_state == "Unhealthy"
    (detail,) = required(unhealthy.status_details)
    assert detail.code == "DISK_STORAGE_FULL"
    assert detail.description
    assert detail.correlation_id
    assert detail.timestamp == unhealthy.last_activity_time
    assert required(unhealthy.parent.sync_properties.last_sync_time) < required(detail.timestamp)
    site.problem = None
    assert site.sync()
    healthy = await show(client)
    assert healthy.connection_state == "Online"
    assert "statusDetails" not in healthy
