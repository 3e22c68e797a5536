"""Scope maps, tokens and passwords through the real SDK."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
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
from local_azure.container_registry.models import Registry

from .arm_harness import READ_HELLO, WHERE, Arm, code_of

Client = ContainerRegistryManagementClient
DEVICE = "device-001"


@pytest.fixture
async def scope_map(client: Client) -> ScopeMap:
    poller = await client.scope_maps.begin_create(
        *WHERE,
        "hello-readers",
        ScopeMap(properties=ScopeMapProperties(actions=[READ_HELLO], description="Reads hello")),
    )
    return await poller.result()


@pytest.fixture
async def token(client: Client, scope_map: ScopeMap) -> Token:
    return await create_token(client, DEVICE, scope_map)


async def create_token(client: Client, name: str, scope_map: ScopeMap) -> Token:
    poller = await client.tokens.begin_create(
        *WHERE,
        name,
        Token(properties=TokenProperties(scope_map_id=scope_map["id"], status="enabled")),
    )
    return await poller.result()


async def generate(
    client: Client,
    token: Token,
    name: str | None = None,
    expiry: datetime | None = None,
) -> dict[str, TokenPassword]:
    poller = await client.registries.begin_generate_credentials(
        *WHERE, GenerateCredentialsParameters(token_id=token.id, name=name, expiry=expiry)
    )
    result = await poller.result()
    assert result.username == DEVICE
    return {str(password["name"]): password for password in result.passwords or []}


def value(passwords: dict[str, TokenPassword], name: str) -> str:
    found = passwords[name].value
    assert found
    return found


async def test_a_scope_map_is_there_as_soon_as_it_is_put(
    client: Client, scope_map: ScopeMap
) -> None:
    stored = await client.scope_maps.get(*WHERE, "HELLO-readers")
    assert stored["properties"]["actions"] == [READ_HELLO]
    assert stored["properties"]["description"] == "Reads hello"
    assert stored["properties"]["type"] == "UserDefined"
    assert stored["properties"]["provisioningState"] == "Succeeded"
    assert stored == scope_map


@pytest.mark.usefixtures("scope_map")
async def test_a_second_put_replaces_the_actions_of_a_scope_map(client: Client) -> None:
    other = "repositories/sensor-gateway/content/read"
    poller = await client.scope_maps.begin_create(
        *WHERE, "hello-readers", ScopeMap(properties=ScopeMapProperties(actions=[other]))
    )
    assert (await poller.result())["properties"]["actions"] == [other]


@pytest.mark.usefixtures("scope_map")
async def test_an_update_of_a_scope_map_keeps_what_it_does_not_name(client: Client) -> None:
    update = ScopeMapPropertiesUpdateParameters(actions=["repositories/samples/*/content/read"])
    poller = await client.scope_maps.begin_update(
        *WHERE, "hello-readers", ScopeMapUpdateParameters(properties=update)
    )
    updated = await poller.result()
    assert updated["properties"]["actions"] == ["repositories/samples/*/content/read"]
    assert updated["properties"]["description"] == "Reads hello"


async def test_a_missing_scope_map_is_answered_in_the_words_of_the_provider(client: Client) -> None:
    with pytest.raises(ResourceNotFoundError) as refusal:
        await client.scope_maps.get(*WHERE, "nothing-here")
    assert code_of(refusal.value) == "ResourceNotFound"


@pytest.mark.usefixtures("scope_map")
async def test_deleting_a_scope_map_twice_is_no_error(client: Client, arm: Arm) -> None:
    for expected in (200, 204):
        await (await client.scope_maps.begin_delete(*WHERE, "hello-readers")).result()
        assert arm.kernel.calls.latest()[-1].status == expected


@pytest.mark.usefixtures("token")
async def test_a_scope_map_that_a_token_names_cannot_be_deleted(client: Client) -> None:
    with pytest.raises(ResourceExistsError) as refusal:
        await client.scope_maps.begin_delete(*WHERE, "hello-readers")
    assert code_of(refusal.value) == "ScopeMapInUse"
    await (await client.tokens.begin_delete(*WHERE, DEVICE)).result()
    await (await client.scope_maps.begin_delete(*WHERE, "hello-readers")).result()


async def test_the_scope_maps_of_the_provider_are_listed_and_cannot_be_changed(
    client: Client,
) -> None:
    names = [found.name async for found in client.scope_maps.list(*WHERE)]
    assert "_repositories_admin" in names
    with pytest.raises(HttpResponseError) as refusal:
        await client.scope_maps.begin_delete(*WHERE, "_repositories_admin")
    assert code_of(refusal.value) == "SystemScopeMapReadOnly"


async def test_a_page_goes_on_after_a_token_that_is_deleted_meanwhile(
    client: Client, arm: Arm, scope_map: ScopeMap
) -> None:
    for number in range(5):
        arm.registry.put_token(f"device-{number:03}", scope_map_id=scope_map["id"])
    names = []
    async for page in client.tokens.list(*WHERE).by_page():
        names += [found.name async for found in page]
        arm.registry.delete_token("device-002")
    assert names == [f"device-{number:03}" for number in range(5)]


async def test_a_new_token_becomes_active_after_a_while_and_the_sdk_waits_for_it(
    client: Client, arm: Arm, scope_map: ScopeMap
) -> None:
    arm.cloud.settings.token_activation_seconds = (0.05, 0.05)
    token = await create_token(client, DEVICE, scope_map)
    assert token["properties"]["provisioningState"] == "Succeeded"
    assert token["properties"]["credentials"]["passwords"] == []
    assert arm.kernel.calls.counts()["arm.tokens.operationStatus"] > 1


async def test_creating_a_token_answers_201_and_no_retry_after(
    arm: Arm, scope_map: ScopeMap
) -> None:
    arm.cloud.settings.token_activation_seconds = (5, 5)
    async with arm.session.put(
        arm.url(f"/tokens/{DEVICE}"),
        json={"properties": {"scopeMapId": scope_map["id"]}},
        headers=await arm.headers(),
    ) as answer:
        body = await answer.json()
        assert answer.status == 201
        assert body["properties"]["provisioningState"] == "Creating"
        assert body["properties"]["credentials"] == {"passwords": []}
        assert "Retry-After" not in answer.headers
        poll = answer.headers["Azure-AsyncOperation"]
    for expected in ("Creating", "Succeeded"):
        async with arm.session.get(poll, headers=await arm.headers()) as answer:
            assert await answer.json() == {"status": expected}
            assert answer.headers["Azure-AsyncOperation"] == poll
        arm.kernel.clock.advance(timedelta(seconds=5))


async def test_an_operation_is_not_shown_to_whoever_changes_its_address(
    arm: Arm, scope_map: ScopeMap
) -> None:
    async with arm.session.put(
        arm.url(f"/tokens/{DEVICE}"),
        json={"properties": {"scopeMapId": scope_map["id"]}},
        headers=await arm.headers(),
    ) as answer:
        poll = answer.headers["Azure-AsyncOperation"]
    unsigned = poll.split("&t=")[0]
    async with arm.session.get(unsigned, headers=await arm.headers()) as answer:
        assert answer.status == 404


async def test_a_token_that_is_not_active_yet_cannot_have_a_password(
    client: Client, arm: Arm, scope_map: ScopeMap
) -> None:
    arm.cloud.settings.token_activation_seconds = (5, 5)
    await client.tokens.begin_create(
        *WHERE,
        DEVICE,
        Token(properties=TokenProperties(scope_map_id=scope_map["id"])),
        polling=False,
    )
    token = await client.tokens.get(*WHERE, DEVICE)
    with pytest.raises(ResourceExistsError) as refusal:
        await generate(client, token, "password1")
    assert code_of(refusal.value) == "TokenNotActive"
    arm.kernel.clock.advance(timedelta(seconds=5))
    assert value(await generate(client, token, "password1"), "password1")


async def test_a_token_needs_a_scope_map_of_its_registry(
    client: Client, registry: Registry
) -> None:
    elsewhere = str(registry.registry_id).replace("contosofleet", "otherfleet")
    for scope_map_id in (
        f"{elsewhere}/scopeMaps/hello-readers",
        registry.registry_id.child("scopeMaps", "nothing-here"),
    ):
        with pytest.raises(HttpResponseError) as refusal:
            await client.tokens.begin_create(
                *WHERE,
                DEVICE,
                Token(properties=TokenProperties(scope_map_id=scope_map_id)),
            )
        assert code_of(refusal.value) == "ScopeMapNotFound"


async def test_only_the_named_password_is_generated_and_carries_a_value(
    client: Client, token: Token
) -> None:
    first = await generate(client, token, "password2")
    assert list(first) == ["password2"]
    second = await generate(client, token, "password1")
    assert list(second) == ["password1", "password2"]
    assert second["password2"].value is None
    assert len(value(second, "password1")) == 32
    assert set(value(second, "password1")) <= set(string.ascii_letters + string.digits + "=/+")


async def test_without_a_name_both_passwords_are_generated_and_the_old_ones_void(
    client: Client, registry: Registry, token: Token
) -> None:
    backend = CloudRegistryBackend(registry)
    old = await generate(client, token)
    new = await generate(client, token)
    for name in ("password1", "password2"):
        assert backend.authenticate(DEVICE, value(old, name)) is None
        grant = backend.authenticate(DEVICE, value(new, name))
        assert grant
        assert grant.actions == {READ_HELLO}


async def test_generating_a_named_password_voids_its_old_value_and_not_the_other(
    client: Client, registry: Registry, token: Token
) -> None:
    backend = CloudRegistryBackend(registry)
    old = await generate(client, token)
    new = await generate(client, token, "password1")
    assert backend.authenticate(DEVICE, value(old, "password1")) is None
    assert backend.authenticate(DEVICE, value(old, "password2"))
    assert backend.authenticate(DEVICE, value(new, "password1"))


async def test_a_password_expires_at_its_expiry(client: Client, arm: Arm, token: Token) -> None:
    backend = CloudRegistryBackend(arm.registry)
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)
    passwords = await generate(client, token, "password1", expiry)
    assert passwords["password1"].expiry == expiry
    arm.kernel.clock.advance(timedelta(days=89))
    assert backend.authenticate(DEVICE, value(passwords, "password1"))
    arm.kernel.clock.advance(timedelta(days=1, seconds=1))
    assert backend.authenticate(DEVICE, value(passwords, "password1")) is None


async def test_an_expiry_is_left_out_when_there_is_none(client: Client, token: Token) -> None:
    assert "expiry" not in (await generate(client, token, "password1"))["password1"]
    stored = await client.tokens.get(*WHERE, DEVICE)
    (password,) = stored["properties"]["credentials"]["passwords"]
    assert "expiry" not in password
    assert "value" not in password


async def test_credentials_can_be_generated_asynchronously(
    client: Client, arm: Arm, token: Token
) -> None:
    arm.cloud.settings.generate_credentials_asynchronously = True
    passwords = await generate(client, token, "password1")
    assert CloudRegistryBackend(arm.registry).authenticate(DEVICE, value(passwords, "password1"))
    assert arm.kernel.calls.counts()["arm.registries.operationStatus"] == 1


async def test_an_asynchronous_result_is_202_until_it_is_ready(arm: Arm, token: Token) -> None:
    arm.cloud.settings.generate_credentials_asynchronously = True
    arm.cloud.settings.token_activation_seconds = (5, 5)
    async with arm.session.post(
        arm.url("/generateCredentials"), json={"tokenId": token.id}, headers=await arm.headers()
    ) as answer:
        assert answer.status == 202
        assert answer.headers["Retry-After"] == "1"
        location = answer.headers["Location"]
    async with arm.session.get(location, headers=await arm.headers()) as answer:
        assert answer.status == 202
    arm.kernel.clock.advance(timedelta(seconds=5))
    async with arm.session.get(location, headers=await arm.headers()) as answer:
        assert answer.status == 200
        assert len((await answer.json())["passwords"]) == 2


async def test_an_update_drops_the_passwords_it_does_not_name(
    client: Client, registry: Registry, token: Token
) -> None:
    passwords = await generate(client, token)
    keep = TokenCredentialsProperties(passwords=[TokenPassword(name="password2")])
    poller = await client.tokens.begin_update(
        *WHERE,
        DEVICE,
        TokenUpdateParameters(properties=TokenUpdateProperties(credentials=keep)),
    )
    updated = await poller.result()
    assert [p["name"] for p in updated["properties"]["credentials"]["passwords"]] == ["password2"]
    backend = CloudRegistryBackend(registry)
    assert backend.authenticate(DEVICE, value(passwords, "password1")) is None
    assert backend.authenticate(DEVICE, value(passwords, "password2"))


async def test_a_disabled_token_logs_nobody_in_and_keeps_its_passwords(
    client: Client, registry: Registry, token: Token
) -> None:
    passwords = await generate(client, token, "password1")
    backend = CloudRegistryBackend(registry)
    for status, logs_in in (("disabled", False), ("enabled", True)):
        update = TokenUpdateParameters(properties=TokenUpdateProperties(status=status))
        await (await client.tokens.begin_update(*WHERE, DEVICE, update)).result()
        grant = backend.authenticate(DEVICE, value(passwords, "password1"))
        assert (grant is not None) is logs_in


async def test_putting_a_token_again_wipes_its_passwords(
    client: Client, registry: Registry, scope_map: ScopeMap, token: Token
) -> None:
    passwords = await generate(client, token, "password1")
    again = await create_token(client, DEVICE, scope_map)
    assert again["properties"]["credentials"]["passwords"] == []
    backend = CloudRegistryBackend(registry)
    assert backend.authenticate(DEVICE, value(passwords, "password1")) is None


@pytest.mark.usefixtures("token")
async def test_deleting_a_token_twice_is_no_error(client: Client, arm: Arm) -> None:
    for expected in (200, 204):
        await (await client.tokens.begin_delete(*WHERE, DEVICE)).result()
        assert arm.kernel.calls.latest()[-1].status == expected
    with pytest.raises(ResourceNotFoundError):
        await client.tokens.get(*WHERE, DEVICE)


@pytest.mark.usefixtures("token")
async def test_usages_count_scope_maps_and_tokens(client: Client) -> None:
    usages = await client.registries.list_usages(*WHERE)
    counts = {u["name"]: (u["currentValue"], u["limit"]) for u in usages["value"]}
    assert counts == {"ScopeMaps": (6, 50_000), "Tokens": (1, 50_000)}
