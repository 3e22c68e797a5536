"""Scope maps, tokens and passwords through the real SDK."""

from __future__ import annotations

import string
from datetime import datetime, timedelta

import pytest
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    GenerateCredentialsParameters,
    ScopeMap,
    ScopeMapProperties,
    ScopeMapPropertiesUpdateParameters,
    ScopeMapUpdateParameters,
    Token,
    TokenCredentialsProperties,
    TokenPassword,
    TokenProperties,
    TokenUpdateParameters,
    TokenUpdateProperties,
)

from local_azure.container_registry.backends import CloudRegistryBackend
from local_azure.container_registry.models import OperationLengths

from .arm_harness import READ_HELLO, REGISTRY_ID, WHERE, Arm, refusal_of

Client = ContainerRegistryManagementClient
DEVICE = "device-001"
SCOPE_MAP_ID = REGISTRY_ID.child("scopeMaps", "hello-readers")


@pytest.fixture(autouse=True)
async def scope_map(client: Client) -> ScopeMap:
    wanted = ScopeMapProperties(actions=[READ_HELLO], description="Reads hello")
    poller = await client.scope_maps.begin_create(
        *WHERE, "hello-readers", ScopeMap(properties=wanted)
    )
    return await poller.result()


@pytest.fixture
async def token(client: Client) -> Token:
    return await create_token(client)


async def create_token(client: Client, scope_map_id: str = SCOPE_MAP_ID) -> Token:
    wanted = Token(properties=TokenProperties(scope_map_id=scope_map_id, status="enabled"))
    return await (await client.tokens.begin_create(*WHERE, DEVICE, wanted)).result()


async def update_token(client: Client, properties: TokenUpdateProperties) -> Token:
    change = TokenUpdateParameters(properties=properties)
    return await (await client.tokens.begin_update(*WHERE, DEVICE, change)).result()


async def generate(
    client: Client, token: Token, name: str | None = None, expiry: datetime | None = None
) -> dict[str, TokenPassword]:
    poller = await client.registries.begin_generate_credentials(
        *WHERE, GenerateCredentialsParameters(token_id=token.id, name=name, expiry=expiry)
    )
    result = await poller.result()
    assert result.username == DEVICE
    return {str(password["name"]): password for password in result.passwords or []}


def logs_in(arm: Arm, passwords: dict[str, TokenPassword], name: str = "password1") -> bool:
    value = passwords[name].value
    assert value
    return CloudRegistryBackend(arm.registry).authenticate(DEVICE, value) is not None


async def test_a_scope_map_can_be_created_replaced_and_updated(
    client: Client, scope_map: ScopeMap
) -> None:
    stored = await client.scope_maps.get(*WHERE, "HELLO-readers")
    assert stored == scope_map
    assert stored["properties"]["actions"] == [READ_HELLO]
    assert stored["properties"]["description"] == "Reads hello"
    assert stored["properties"]["type"] == "UserDefined"
    assert stored["properties"]["provisioningState"] == "Succeeded"

    samples = "repositories/samples/*/content/read"
    change = ScopeMapUpdateParameters(
        properties=ScopeMapPropertiesUpdateParameters(actions=[samples])
    )
    updated = await (await client.scope_maps.begin_update(*WHERE, "hello-readers", change)).result()
    assert updated["properties"]["actions"] == [samples]
    assert updated["properties"]["description"] == "Reads hello"

    other = "repositories/sensor-gateway/content/read"
    replacement = ScopeMap(properties=ScopeMapProperties(actions=[other]))
    replaced = await (
        await client.scope_maps.begin_create(*WHERE, "hello-readers", replacement)
    ).result()
    assert replaced["properties"]["actions"] == [other]
    assert "description" not in replaced["properties"]


async def test_the_scope_maps_of_the_provider_cannot_be_changed(client: Client) -> None:
    deleting = client.scope_maps.begin_delete(*WHERE, "_repositories_admin")
    assert await refusal_of(deleting) == (400, "SystemScopeMapReadOnly")


async def test_a_token_is_made_by_an_operation_at_a_signed_address(arm: Arm) -> None:
    arm.cloud.settings.operation_lengths = OperationLengths(change=(5, 5))
    body = {"properties": {"scopeMapId": SCOPE_MAP_ID}}
    created = await arm.send("PUT", arm.url(f"/tokens/{DEVICE}"), body)
    poll = created.headers["Azure-AsyncOperation"]
    assert (created.status, created.headers["Retry-After"]) == (201, "10")
    assert created.body["properties"]["provisioningState"] == "Creating"
    assert created.body["properties"]["credentials"] == {"passwords": []}
    for expected in ("Creating", "Succeeded"):
        answer = await arm.send("GET", poll)
        assert answer.body == {"status": expected}
        assert answer.headers["Azure-AsyncOperation"] != poll
        poll = answer.headers["Azure-AsyncOperation"]
        arm.kernel.clock.advance(timedelta(seconds=5))
    assert (await arm.send("GET", poll.split("&t=")[0])).status == 404
    assert (await arm.send("GET", poll.replace("&c=", "&c=x"))).status == 404


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("path", [f"/tokens/{DEVICE}", "/scopeMaps/hello-readers"])
async def test_a_change_is_an_operation_even_if_it_changes_nothing(arm: Arm, path: str) -> None:
    arm.cloud.settings.operation_lengths = OperationLengths(change=(5, 5))
    for _ in range(2):
        changed = await arm.send("PATCH", arm.url(path), {"properties": {}})
        assert changed.status == 201
        assert changed.body["properties"]["provisioningState"] == "Updating"
        poll = changed.headers["Azure-AsyncOperation"]
        assert (await arm.send("GET", poll)).body == {"status": "Updating"}
        arm.kernel.clock.advance(timedelta(seconds=5))
        assert (await arm.send("GET", poll)).body == {"status": "Succeeded"}


async def test_a_token_has_no_password_before_it_is_active(client: Client, arm: Arm) -> None:
    arm.cloud.settings.operation_lengths = OperationLengths(change=(5, 5))
    wanted = Token(properties=TokenProperties(scope_map_id=SCOPE_MAP_ID))
    await client.tokens.begin_create(*WHERE, DEVICE, wanted, polling=False)
    token = await client.tokens.get(*WHERE, DEVICE)
    assert await refusal_of(generate(client, token, "password1")) == (409, "TokenNotActive")
    arm.kernel.clock.advance(timedelta(seconds=5))
    assert logs_in(arm, await generate(client, token, "password1"))


async def test_a_token_needs_a_scope_map_of_its_registry(client: Client) -> None:
    for scope_map_id in (
        SCOPE_MAP_ID.replace("contosofleet", "otherfleet"),
        REGISTRY_ID.child("scopeMaps", "nothing-here"),
    ):
        assert await refusal_of(create_token(client, scope_map_id)) == (400, "ScopeMapNotFound")


async def test_only_a_generated_password_carries_a_value(client: Client, token: Token) -> None:
    first = await generate(client, token, "password2")
    assert list(first) == ["password2"]
    second = await generate(client, token, "password1")
    assert list(second) == ["password1", "password2"]
    assert second["password2"].value is None
    value = second["password1"].value
    assert value
    assert len(value) == 32
    assert set(value) <= set(string.ascii_letters + string.digits + "=/+")

    stored = await client.tokens.get(*WHERE, DEVICE)
    for password in (second["password1"], *stored["properties"]["credentials"]["passwords"]):
        assert "expiry" not in password
    assert "value" not in str(stored["properties"]["credentials"])


async def test_a_new_password_voids_the_old_one_of_its_name(
    client: Client, arm: Arm, token: Token
) -> None:
    first = await generate(client, token)
    second = await generate(client, token)
    third = await generate(client, token, "password1")
    passwords = [(each, name) for each in (first, second) for name in ("password1", "password2")]
    assert [logs_in(arm, *password) for password in passwords] == [False, False, False, True]
    assert logs_in(arm, third)


async def test_a_password_expires_at_its_expiry(client: Client, arm: Arm, token: Token) -> None:
    expiry = arm.kernel.clock.now().replace(microsecond=0) + timedelta(days=90)
    passwords = await generate(client, token, "password1", expiry)
    assert passwords["password1"].expiry == expiry
    arm.kernel.clock.advance(timedelta(days=89))
    assert logs_in(arm, passwords)
    arm.kernel.clock.advance(timedelta(days=1, seconds=1))
    assert not logs_in(arm, passwords)


async def test_asynchronous_credentials_are_202_until_the_operation_ends(
    arm: Arm, token: Token
) -> None:
    arm.cloud.settings.generate_credentials_asynchronously = True
    arm.cloud.settings.operation_lengths = OperationLengths(change=(5, 5))
    accepted = await arm.send("POST", arm.url("/generateCredentials"), {"tokenId": token.id})
    assert (accepted.status, accepted.headers["Retry-After"]) == (202, "10")
    location = accepted.headers["Location"]
    assert (await arm.send("GET", location)).status == 202
    arm.kernel.clock.advance(timedelta(seconds=5))
    answer = await arm.send("GET", location)
    assert (answer.status, len(answer.body["passwords"])) == (200, 2)


async def test_an_update_drops_the_passwords_that_it_does_not_name(
    client: Client, arm: Arm, token: Token
) -> None:
    passwords = await generate(client, token)
    keep = TokenCredentialsProperties(passwords=[TokenPassword(name="password2")])
    updated = await update_token(client, TokenUpdateProperties(credentials=keep))
    assert [p["name"] for p in updated["properties"]["credentials"]["passwords"]] == ["password2"]
    assert not logs_in(arm, passwords, "password1")
    assert logs_in(arm, passwords, "password2")


async def test_a_disabled_token_keeps_its_passwords_and_lets_nobody_log_in(
    client: Client, arm: Arm, token: Token
) -> None:
    passwords = await generate(client, token, "password1")
    for status, expected in (("disabled", False), ("enabled", True)):
        await update_token(client, TokenUpdateProperties(status=status))
        assert logs_in(arm, passwords) is expected


async def test_a_second_put_of_a_token_drops_its_passwords(
    client: Client, arm: Arm, token: Token
) -> None:
    passwords = await generate(client, token, "password1")
    again = await create_token(client)
    assert again["properties"]["credentials"]["passwords"] == []
    assert not logs_in(arm, passwords)
