"""The answers of unmodified SDKs when roles are missing, and the callers without roles."""

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

from local_azure.stack import Stack
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
ARM_SCOPE = "https://management.azure.com/.default"
WHERE = (RESOURCE_GROUP, REGISTRY_NAME)


@pytest.fixture
def no_roles(stack: Stack) -> Iterator[None]:
    """The app has no roles."""
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
        credential, SUBSCRIPTION_ID, base_url=stack.arm_endpoint, credential_scopes=[ARM_SCOPE]
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
        with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
            _ = [each async for each in arm.scope_maps.list(*WHERE)]
    assert stack.kernel.access.decisions[-1].scope == stack.registry_id  # of a list
    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "AuthorizationFailed"
    message = str(refused.value.error.message)
    for named in (
        f"'{CLIENT_ID}'",
        f"'{PRINCIPAL_ID}'",
        "'Microsoft.ContainerRegistry/registries/tokens/read'",
        f"'{stack.registry_id}/tokens/some-token'",
    ):
        assert named in message


async def test_the_app_cannot_delete_in_the_vault_and_the_operator_can(
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
async def test_key_vault_answers_forbidden_by_rbac(
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


@pytest.mark.usefixtures("no_roles")
async def test_iot_hub_answers_no_assigned_permissions(stack: Stack) -> None:
    register(stack, "kept-out")
    # The client requests a token in its constructor, which this loop has to answer.
    hub = await asyncio.to_thread(
        IoTHubRegistryManager.from_token_credential,
        stack.iot_hub_host_name,
        SyncManagedIdentityCredential(client_id=CLIENT_ID),
    )
    change = Twin(properties=TwinProperties(desired={"a": 1}))
    for operation, call in {
        "GET on /devices/kept-out": lambda: hub.get_device("kept-out"),
        "PATCH on /twins/kept-out": lambda: hub.update_twin("kept-out", change, None),
        "DELETE on /devices/kept-out": lambda: hub.delete_device("kept-out"),
    }.items():
        with pytest.raises(HttpOperationError) as refused:
            await asyncio.to_thread(call)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["iothub-errorcode"] == "IotHubUnauthorized"
        message = json.loads(refused.value.response.text)["Message"]
        assert message.startswith(f"ErrorCode:IotHubUnauthorized;Principal {PRINCIPAL_ID} ")
        assert operation in message


@pytest.mark.usefixtures("no_roles")
async def test_storage_answers_that_the_permission_does_not_match(
    stack: Stack, app: ManagedIdentityCredential
) -> None:
    async with storage_of(stack, app) as (blobs, queues, tables):
        for call in (
            blobs.create_container("keptout"),
            blobs.get_blob_client("keptout", "blob").get_blob_properties(),
            queues.get_queue_client("kept-out").send_message("message"),
            tables.get_table_client("keptout").create_entity({"PartitionKey": "", "RowKey": ""}),
        ):
            with pytest.raises(HttpResponseError) as refused:
                await call
            assert refused.value.status_code == 403
            assert "AuthorizationPermissionMismatch" in str(refused.value)


async def test_the_storage_proxy_forwards_requests_unchanged(
    stack: Stack, app: ManagedIdentityCredential, operator: ManagedIdentityCredential
) -> None:
    async with storage_of(stack, app) as (blobs, queues, tables):
        blob = (await blobs.create_container("through")).get_blob_client("a b/ü")
        written = await blob.upload_blob(b"content" * 100_000)
        found = await blob.get_blob_properties()
        assert (found.size, found.etag) == (700_000, f'"{written["etag"].strip(chr(34))}"')
        assert await (await blob.download_blob()).readall() == b"content" * 100_000
        queue = await queues.create_queue("through")
        await queue.send_message("mess<age>")
        async for message in queue.receive_messages():
            assert message.content == "mess<age>"
            await queue.delete_message(message)
        table = await tables.create_table("through")
        await table.create_entity({"PartitionKey": "a'b", "RowKey": "c d", "value": 2})
        assert [e["value"] async for e in table.query_entities("value eq 2")] == [2]
    async with storage_of(stack, operator) as (blobs, queues, tables):
        await blobs.delete_container("through")
        await queues.delete_queue("through")
        await tables.delete_table("through")


async def test_roles_do_not_apply_to_the_account_key(stack: Stack) -> None:
    account = stack.storage
    credential = {"account_name": account.account_name, "account_key": account.account_key}
    async with BlobServiceClient(stack.storage_urls.blob_url, credential) as by_key:
        await by_key.create_container("operated")
        await by_key.delete_container("operated")


async def test_storage_refuses_a_token_of_another_issuer(stack: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        for url in (stack.storage_urls.blob_url, stack.storage_urls.table_url):
            headers = {"Authorization": "Bearer e30.e30.e30", "x-ms-version": "2021-12-02"}
            async with session.get(f"{url}?comp=list", headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["x-ms-error-code"] == "InvalidAuthenticationInfo"


async def test_the_app_gets_a_token_only_with_its_own_client_id(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_ID", raising=False)
    for header, client_id in (
        (stack.identity_header, None),
        (stack.identity_header_of_both, None),
        (stack.identity_header, OPERATOR_CLIENT_ID),
    ):
        monkeypatch.setenv("IDENTITY_HEADER", header)
        async with ManagedIdentityCredential(client_id=client_id) as credential:
            with pytest.raises(ClientAuthenticationError):
                await credential.get_token(ARM_SCOPE)


async def test_a_shell_has_the_identity_of_the_operator(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", stack.operator_identity_header)
    stack.kernel.access.decisions.clear()
    async with ManagedIdentityCredential() as credential, arm_of(stack, credential) as arm:
        assert (await arm.registries.get(*WHERE)).name == REGISTRY_NAME
    assert {d.principal_id for d in stack.kernel.access.decisions} == {OPERATOR_PRINCIPAL_ID}


async def test_an_unknown_principal_may_do_nothing(stack: Stack) -> None:
    token = stack.kernel.tokens.issue(
        issuer="https://sts.windows.net/somewhere/",
        audience="https://management.azure.com",
        lifetime=timedelta(hours=1),
        claims={"oid": "a stranger"},
    )
    url = f"{stack.arm_endpoint}{stack.registry_id}/tokens?api-version=2025-11-01"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 403
    assert stack.kernel.access.decisions[-1].principal_id == "a stranger"
