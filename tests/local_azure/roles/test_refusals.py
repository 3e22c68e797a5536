"""What the unmodified SDKs are told when roles are missing, and who is not held to any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.data.tables.aio import TableServiceClient
from azure.identity import ManagedIdentityCredential as SyncManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient
from msrest.exceptions import HttpOperationError

from local_azure.kernel.access import Assignment, Permission, RoleDefinition
from local_azure.stack import Stack
from local_azure.stack.identities import STORAGE_ID
from local_azure.stack.options import (
    CLIENT_ID,
    OPERATOR_CLIENT_ID,
    OPERATOR_PRINCIPAL_ID,
    PRINCIPAL_ID,
    REGISTRY_NAME,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
    TENANT_ID,
)
from tests.end_to_end.cloud import register

STORAGE_AUDIENCE = "https://storage.azure.com"
WHERE = (RESOURCE_GROUP, REGISTRY_NAME)


@pytest.fixture
def no_roles(stack: Stack) -> Iterator[None]:
    """The app has lost all its roles."""
    before = stack.kernel.access.assignments(PRINCIPAL_ID)
    stack.kernel.access.assign(PRINCIPAL_ID, [])
    yield
    stack.kernel.access.assign(PRINCIPAL_ID, before)


@pytest.fixture
async def app() -> AsyncIterator[ManagedIdentityCredential]:
    async with ManagedIdentityCredential(client_id=CLIENT_ID) as credential:
        yield credential


@pytest.fixture
async def operator() -> AsyncIterator[ManagedIdentityCredential]:
    async with ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID) as credential:
        yield credential


def arm_of(
    stack: Stack, credential: ManagedIdentityCredential
) -> ContainerRegistryManagementClient:
    return ContainerRegistryManagementClient(
        credential,
        SUBSCRIPTION_ID,
        base_url=stack.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
    )


@asynccontextmanager
async def storage_of(
    stack: Stack, credential: ManagedIdentityCredential
) -> AsyncIterator[tuple[BlobServiceClient, QueueServiceClient, TableServiceClient]]:
    urls = stack.storage_urls
    async with (
        BlobServiceClient(urls.blob_url, credential) as blobs,
        QueueServiceClient(urls.queue_url, credential) as queues,
        TableServiceClient(
            urls.table_url, credential=credential, audience=STORAGE_AUDIENCE
        ) as tables,
    ):
        yield blobs, queues, tables


@pytest.mark.usefixtures("no_roles")
async def test_arm_names_the_client_the_action_and_the_scope(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with arm_of(stack, app) as arm:
        with pytest.raises(HttpResponseError) as refused:
            await arm.tokens.get(*WHERE, "some-token")
    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "AuthorizationFailed"
    assert refused.value.error.message == (
        f"The client '{CLIENT_ID}' with object id '{PRINCIPAL_ID}' does not have authorization to "
        "perform action 'Microsoft.ContainerRegistry/registries/tokens/read' over scope "
        f"'{stack.registry_id}/tokens/some-token' or the scope is invalid. If access was recently "
        "granted, please refresh your credentials."
    )


@pytest.mark.usefixtures("no_roles")
async def test_arm_refuses_a_list_on_what_it_is_a_list_of(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with arm_of(stack, app) as arm:
        with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
            _ = [each async for each in arm.scope_maps.list(*WHERE)]
    assert stack.kernel.access.decisions[-1].scope == stack.registry_id


async def test_the_app_may_do_nothing_to_the_container_registry_itself(
    stack: Stack, app: ManagedIdentityCredential, operator: ManagedIdentityCredential
) -> None:
    async with arm_of(stack, app) as arm:
        with pytest.raises(HttpResponseError, match="registries/read"):
            await arm.registries.get(*WHERE)
        with pytest.raises(HttpResponseError, match="connectedRegistries/delete"):
            await arm.connected_registries.begin_delete(*WHERE, "plant01")
    async with arm_of(stack, operator) as arm:
        assert (await arm.registries.get(*WHERE)).name == REGISTRY_NAME


@pytest.mark.usefixtures("no_roles")
async def test_key_vault_says_that_it_is_forbidden_by_rbac(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with SecretClient(stack.key_vault_url, app) as vault:
        with pytest.raises(HttpResponseError) as refused:
            await vault.set_secret("kept-out", "a password that is not to be shown")
    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "Forbidden"
    assert refused.value.error.innererror == {"code": "ForbiddenByRbac"}
    message = str(refused.value.error.message)
    assert f"Caller: appid={CLIENT_ID};oid={PRINCIPAL_ID};" in message
    assert f"iss=https://sts.windows.net/{TENANT_ID}/" in message
    assert "Action: 'Microsoft.KeyVault/vaults/secrets/setSecret/action'" in message
    assert "/vaults/local-vault/secrets/kept-out'" in message
    assert "not to be shown" not in str(refused.value)


async def test_the_app_may_keep_secrets_and_delete_none(
    stack: Stack, app: ManagedIdentityCredential, operator: ManagedIdentityCredential
) -> None:
    async with SecretClient(stack.key_vault_url, app) as vault:
        await vault.set_secret("kept", "a password")
        with pytest.raises(HttpResponseError, match="secrets/delete"):
            await vault.delete_secret("kept")
    async with SecretClient(stack.key_vault_url, operator) as vault:
        await vault.delete_secret("kept")
        await vault.purge_deleted_secret("kept")


@pytest.mark.usefixtures("no_roles")
async def test_iot_hub_says_that_there_are_no_permissions(stack: Stack) -> None:
    register(stack, "kept-out")
    # It asks for a token when it is made, which this loop has to answer.
    hub = await asyncio.to_thread(
        IoTHubRegistryManager.from_token_credential,
        stack.iot_hub_host_name,
        SyncManagedIdentityCredential(client_id=CLIENT_ID),
    )
    calls = {
        "GET on /devices/kept-out": lambda: hub.get_device("kept-out"),
        "GET on /twins/kept-out": lambda: hub.get_twin("kept-out"),
        "PATCH on /twins/kept-out": lambda: hub.update_twin(
            "kept-out", Twin(properties=TwinProperties(desired={"a": 1})), None
        ),
        "DELETE on /devices/kept-out": lambda: hub.delete_device("kept-out"),
    }
    for what, call in calls.items():
        with pytest.raises(HttpOperationError) as refused:
            await asyncio.to_thread(call)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["iothub-errorcode"] == "IotHubUnauthorized"
        assert json.loads(refused.value.response.text)["Message"] == (
            f"ErrorCode:IotHubUnauthorized;Principal {PRINCIPAL_ID} is not authorized for {what} "
            "due to no assigned permissions"
        )


@pytest.mark.usefixtures("no_roles")
async def test_storage_says_that_the_permission_does_not_match(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with storage_of(stack, app) as (blobs, queues, tables):
        for call in (
            blobs.create_container("keptout"),
            blobs.get_blob_client("keptout", "blob").upload_blob(b"content"),
            blobs.get_blob_client("keptout", "blob").get_blob_properties(),
            queues.create_queue("kept-out"),
            queues.get_queue_client("kept-out").send_message("message"),
            tables.create_table("keptout"),
            tables.get_table_client("keptout").create_entity({"PartitionKey": "", "RowKey": ""}),
        ):
            with pytest.raises(HttpResponseError) as refused:
                await call
            assert refused.value.status_code == 403
            assert "AuthorizationPermissionMismatch" in str(refused.value)


async def test_storage_works_through_its_door_as_it_does_without(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with storage_of(stack, app) as (blobs, queues, tables):
        container = await blobs.create_container("through")
        written = await container.get_blob_client("a b/ü").upload_blob(b"content" * 100_000)
        found = await container.get_blob_client("a b/ü").get_blob_properties()
        assert (found.size, found.etag) == (700_000, f'"{written["etag"].strip(chr(34))}"')
        download = await container.download_blob("a b/ü")
        assert await download.readall() == b"content" * 100_000
        assert [each.name async for each in container.list_blobs()] == ["a b/ü"]
        await container.delete_container()
        queue = await queues.create_queue("through")
        await queue.send_message("mess<age>")
        async for message in queue.receive_messages():
            assert message.content == "mess<age>"
            await queue.delete_message(message)
        await queue.delete_queue()
        table = await tables.create_table("through")
        key = {"PartitionKey": "a'b", "RowKey": "c d"}
        await table.submit_transaction([("create", {**key, "value": 1})])
        await table.submit_transaction([("update", {**key, "value": 2})])
        assert [e["value"] async for e in table.query_entities("value eq 2")] == [2]
        await tables.delete_table("through")


@pytest.mark.usefixtures("no_roles")
async def test_a_transaction_is_refused_where_one_of_its_operations_is(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    entities = "Microsoft.Storage/storageAccounts/tableServices/tables/entities"
    adding = RoleDefinition("adding", (Permission(data_actions=(f"{entities}/add/action",)),))
    stack.kernel.access.define(adding)
    stack.kernel.access.assign(PRINCIPAL_ID, [Assignment("adding", STORAGE_ID)])
    by_key = TableServiceClient.from_connection_string(stack.storage.connection_string)
    async with by_key, storage_of(stack, app) as (_, _, tables):
        await by_key.create_table("transactions")
        table = tables.get_table_client("transactions")
        first, second = ({"PartitionKey": "p", "RowKey": key} for key in "ab")
        await table.submit_transaction([("create", first)])
        with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
            await table.submit_transaction([("create", second), ("delete", first)])
        left = by_key.get_table_client("transactions").list_entities()
        assert [entity["RowKey"] async for entity in left] == ["a"]
        await by_key.delete_table("transactions")


async def test_the_accounts_key_and_the_operator_are_not_held_to_roles(
    stack: Stack, operator: ManagedIdentityCredential
) -> None:
    urls, key = stack.storage_urls, stack.storage.account_key
    credential = {"account_name": stack.storage.account_name, "account_key": key}
    async with BlobServiceClient(urls.blob_url, credential) as by_key:
        await by_key.create_container("operated")
    async with storage_of(stack, operator) as (blobs, _, _):
        assert (await blobs.get_account_information())["sku_name"]
        await blobs.delete_container("operated")


async def test_a_token_that_somebody_else_signed_opens_nothing(stack: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        for url in (stack.storage_urls.blob_url, stack.storage_urls.table_url):
            headers = {"Authorization": "Bearer e30.e30.e30", "x-ms-version": "2021-12-02"}
            async with session.get(f"{url}?comp=list", headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["x-ms-error-code"] == "InvalidAuthenticationInfo"


async def test_an_app_that_does_not_say_its_client_id_is_nobody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_ID", raising=False)
    for header in (stack.identity_header, stack.identity_header_of_both):
        monkeypatch.setenv("IDENTITY_HEADER", header)
        async with ManagedIdentityCredential() as credential:
            with pytest.raises(ClientAuthenticationError, match="Unable to load the proper"):
                await credential.get_token("https://management.azure.com/.default")


async def test_a_shell_is_the_operators_without_saying_so(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", stack.operator_identity_header)
    stack.kernel.access.decisions.clear()
    async with ManagedIdentityCredential() as credential, arm_of(stack, credential) as arm:
        assert (await arm.registries.get(*WHERE)).name == REGISTRY_NAME
    assert {d.principal_id for d in stack.kernel.access.decisions} == {OPERATOR_PRINCIPAL_ID}


async def test_a_principal_that_is_not_known_may_do_nothing(stack: Stack) -> None:
    token = stack.kernel.tokens.issue(
        issuer="https://sts.windows.net/somewhere/",
        audience="https://management.azure.com",
        lifetime=timedelta(hours=1),
        claims={"oid": "a stranger"},
    )
    url = f"{stack.arm_endpoint}{stack.registry_id}/tokens"
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            url,
            params={"api-version": "2025-11-01"},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer,
    ):
        assert answer.status == 403
    assert stack.kernel.access.decisions[-1].principal_id == "a stranger"


async def test_the_app_cannot_get_a_token_of_the_operator(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", stack.identity_header)
    async with ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID) as credential:
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token("https://management.azure.com/.default")
