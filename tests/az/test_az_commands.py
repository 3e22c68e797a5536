"""The other commands for tokens, scope maps and connected registries, and what az says of errors.

Each test runs twice, once with the resource group and once leaving it to az to find it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME

from .azure_cli import (
    WITH_GROUP,
    AzureCli,
    clients_of,
    log_in_at,
    registry_of,
    site_of,
    value_of,
)

Where = tuple[str, ...]
READ_HELLO = "repositories/hello-world/content/read"


@pytest.fixture(params=[(), WITH_GROUP], ids=["found", "given"])
def where(request: pytest.FixtureRequest) -> Where:
    """How a command names the registry."""
    return ("--registry", REGISTRY_NAME, *cast("Where", request.param))


@pytest.fixture
def suffix(where: Where) -> str:
    """Keeps the names of the two runs apart."""
    return "given" if WITH_GROUP[0] in where else "found"


def names(listed: list[dict[str, Any]]) -> set[str]:
    return {each["name"] for each in listed}


@pytest.mark.parametrize("group", [(), WITH_GROUP], ids=["found", "given"])
async def test_the_registry_is_listed_and_shown(az: AzureCli, cloud: Stack, group: Where) -> None:
    listed = await az("acr", "list", *group)
    assert names(listed) == {REGISTRY_NAME}
    shown = await az("acr", "show", "--name", REGISTRY_NAME, *group)
    assert shown["loginServer"] == cloud.registry_login_server
    assert shown["id"] == listed[0]["id"] == cloud.registry_id


async def test_a_scope_map_is_updated_listed_shown_and_deleted(
    az: AzureCli, where: Where, suffix: str
) -> None:
    one = ("--name", f"readers-{suffix}", *where)
    read = ("--repository", "hello-world", "content/read")
    await az("acr", "scope-map", "create", *one, *read)
    added = ("--add-repository", "sensor-gateway", "content/read", "metadata/read")
    updated = await az("acr", "scope-map", "update", *one, *added)
    gateway = "repositories/sensor-gateway"
    assert set(updated["actions"]) == {
        READ_HELLO,
        f"{gateway}/content/read",
        f"{gateway}/metadata/read",
    }
    removed = ("--remove-repository", "sensor-gateway", "metadata/read")
    await az("acr", "scope-map", "update", *one, *removed)
    shown = await az("acr", "scope-map", "show", *one)
    assert set(shown["actions"]) == {READ_HELLO, f"{gateway}/content/read"}
    assert f"readers-{suffix}" in names(await az("acr", "scope-map", "list", *where))
    await az("acr", "scope-map", "delete", *one, "--yes")
    assert "ResourceNotFound" in await az.refused("acr", "scope-map", "show", *one)


async def test_a_token_is_made_for_a_repository_updated_and_deleted(
    az: AzureCli, where: Where, suffix: str
) -> None:
    one = ("--name", f"sensor-{suffix}", *where)
    read = ("--repository", "hello-world", "content/read")
    made = await az("acr", "token", "create", *one, *read, "--no-passwords")
    assert made["credentials"]["passwords"] == []
    assert made["scopeMapId"].endswith(f"/scopeMaps/sensor-{suffix}-scope-map")
    disabled = await az("acr", "token", "update", *one, "--status", "disabled")
    assert disabled["status"] == "disabled"
    pull = ("--scope-map", "_repositories_pull")
    await az("acr", "token", "update", *one, *pull)
    shown = await az("acr", "token", "show", *one)
    assert shown["scopeMapId"].endswith("/scopeMaps/_repositories_pull")
    assert shown["status"] == "enabled"  # az sends `enabled` whenever it is not told otherwise
    assert f"sensor-{suffix}" in names(await az("acr", "token", "list", *where))
    await az("acr", "token", "delete", *one, "--yes")
    assert "ResourceNotFound" in await az.refused("acr", "token", "show", *one)


async def test_one_password_is_made_with_an_expiry_and_deleted_and_the_other_stays(
    az: AzureCli, cloud: Stack, where: Where, suffix: str
) -> None:
    name = f"gateway-{suffix}"
    made = await az(
        *("acr", "token", "create", "--name", name, *where, "--scope-map", "_repositories_pull")
    )
    other = value_of(made["credentials"], "password2")
    credential = ("acr", "token", "credential")
    generated = await az(
        *(*credential, "generate", "--name", name, *where),
        *("--password1", "--expiration-in-days", "30"),
    )
    values = {entry["name"]: entry.get("value") for entry in generated["passwords"]}
    assert values.keys() == {"password1", "password2"}
    assert values["password2"] is None
    first = next(entry for entry in generated["passwords"] if entry["name"] == "password1")
    lifetime = datetime.fromisoformat(first["expiry"]) - datetime.now(UTC)
    assert timedelta(days=29) < lifetime <= timedelta(days=30)

    changes = ("--name", "planttwo", *where)
    await az("acr", "connected-registry", "update", *changes, "--add-client-tokens", name)
    site_of(cloud, "planttwo").backend.sync()
    generated_value = value_of(generated, "password1")
    assert await log_in_at(cloud, "planttwo", username=name, password=generated_value) == 200
    await az(*credential, "delete", "--name", name, *where, "--password1")
    site_of(cloud, "planttwo").backend.sync()
    assert await log_in_at(cloud, "planttwo", username=name, password=generated_value) == 401
    assert await log_in_at(cloud, "planttwo", username=name, password=other) == 200


async def test_client_tokens_are_listed_and_removed_and_connected_registries_shown(
    az: AzureCli, cloud: Stack, where: Where, suffix: str
) -> None:
    registry = registry_of(cloud)
    tokens = [f"first-{suffix}", f"second-{suffix}"]
    scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
    for token in tokens:
        registry.put_token(token, scope_map_id=scope_map_id)
    one = ("--name", "planttwo", *where)
    await az("acr", "connected-registry", "update", *one, "--add-client-tokens", *tokens)
    listed = await az("acr", "connected-registry", "list-client-tokens", *one)
    assert set(tokens) <= names(listed)
    await az("acr", "connected-registry", "update", *one, "--remove-client-tokens", tokens[0])
    assert clients_of(cloud, "planttwo").isdisjoint(tokens[:1])
    assert clients_of(cloud, "planttwo").issuperset(tokens[1:])
    shown = await az("acr", "connected-registry", "show", *one)
    assert shown["parent"]["syncProperties"]["authType"] == "SyncToken"
    assert shown["loginServer"]["host"] == site_of(cloud, "planttwo").endpoint
    everything = await az("acr", "connected-registry", "list", *where)
    assert names(everything) == {"plantone", "planttwo", "plantthree", "plantfour"}


async def test_lists_that_take_several_pages_are_complete(az: AzureCli, cloud: Stack) -> None:
    registry = registry_of(cloud)
    made = {f"page-{number:02}" for number in range(45)}
    for name in made:
        registry.put_scope_map(name, actions=[READ_HELLO])
    cloud.kernel.calls.reset()
    listed = await az("acr", "scope-map", "list", "--registry", REGISTRY_NAME)
    assert names(listed) == {scope_map.name for scope_map in registry.scope_maps()} >= made
    assert cloud.kernel.calls.counts()["arm.scopeMaps.list"] >= 3


async def test_a_missing_scope_map_and_a_missing_token_are_named(
    az: AzureCli, where: Where
) -> None:
    refusal = await az.refused(
        *("acr", "token", "create", "--name", "orphan", *where, "--scope-map", "nothing-here")
    )
    assert "(ScopeMapNotFound)" in refusal
    assert "/scopeMaps/nothing-here" in refusal
    refusal = await az.refused(
        *("acr", "connected-registry", "update", "--name", "plantone", *where),
        *("--add-client-tokens", "nobody"),
    )
    assert "(TokenNotFound)" in refusal
    assert "/tokens/nobody" in refusal


async def test_a_token_in_use_and_a_scope_map_in_use_are_not_deleted(
    az: AzureCli, cloud: Stack, where: Where, suffix: str
) -> None:
    registry = registry_of(cloud)
    name = f"in-use-{suffix}"
    registry.put_scope_map(name, actions=[READ_HELLO])
    registry.put_token(name, scope_map_id=registry.registry_id.child("scopeMaps", name))
    one = ("--name", name, *where)
    await az(
        *("acr", "connected-registry", "update", "--name", "planttwo", *where),
        *("--add-client-tokens", name),
    )
    assert "(TokenInUse)" in await az.refused("acr", "token", "delete", *one, "--yes")
    assert "(ScopeMapInUse)" in await az.refused("acr", "scope-map", "delete", *one, "--yes")
    assert registry.token(name).name == name


async def test_the_51st_client_is_refused_and_the_fifty_stay(az: AzureCli, cloud: Stack) -> None:
    registry = registry_of(cloud)
    scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
    tokens = [f"crowd-{number:02}" for number in range(51)]
    for token in tokens:
        registry.put_token(token, scope_map_id=scope_map_id)
    ids = tuple(registry.registry_id.child("tokens", token) for token in tokens[:50])
    before = registry.connected_registry("plantthree").settings.client_token_ids
    everybody = ConnectedRegistryChanges(client_token_ids=ids)
    registry.update_connected_registry("plantthree", everybody)
    refusal = await az.refused(
        *("acr", "connected-registry", "update", "--name", "plantthree"),
        *("--registry", REGISTRY_NAME, "--add-client-tokens", tokens[50]),
    )
    assert "(ClientTokenLimitExceeded)" in refusal
    assert clients_of(cloud, "plantthree") == set(tokens[:50])
    registry.update_connected_registry(
        "plantthree", ConnectedRegistryChanges(client_token_ids=before)
    )


async def test_a_registry_that_is_not_there_is_not_found(az: AzureCli) -> None:
    assert "could not be found" in await az.refused("acr", "show", "--name", "otherregistry")
    given = await az.refused("acr", "show", "--name", "otherregistry", *WITH_GROUP)
    assert "(ResourceNotFound)" in given
