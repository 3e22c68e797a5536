from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential as SyncManagedIdentityCredential
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from local_azure.identity.responses import (
    PATH,
    HostIdentities,
    ManagedIdentity,
    create_identity_application,
)
from local_azure.kernel import Kernel
from local_azure.kernel.calls import CallLog
from local_azure.kernel.faults import Fault, FaultKind, Faults

HEADER = "header-of-the-host"
NAMELESS = "header-of-a-host-that-has-user-assigned-identities-only"
TENANT_ID = "00000000-0000-0000-0000-00000000000a"
PRINCIPAL_ID = "00000000-0000-0000-0000-00000000000b"
CLIENT_ID = "00000000-0000-0000-0000-00000000000c"
RESOURCE_ID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Web/sites/app"
RESOURCE = "https://management.azure.com"


@pytest.fixture(scope="module")
def keys() -> Kernel:
    return Kernel.create(seed=1, addresses=("127.0.0.1",))


@pytest.fixture
def kernel(keys: Kernel) -> Kernel:
    return replace(keys, faults=Faults(), calls=CallLog())


@pytest.fixture
async def client(kernel: Kernel) -> AsyncIterator[TestClient[Any, Any]]:
    identity = ManagedIdentity(
        tenant_id=TENANT_ID,
        principal_id=PRINCIPAL_ID,
        client_id=CLIENT_ID,
        resource_id=RESOURCE_ID,
    )
    hosts = {
        HEADER: HostIdentities(system_assigned=identity),
        NAMELESS: HostIdentities(user_assigned=(identity,)),
    }
    application = create_identity_application(kernel, hosts=hosts)
    async with TestClient(TestServer(application)) as client:
        yield client


@pytest.fixture
def environment(client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", str(client.make_url(PATH)))
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)


async def ask(
    client: TestClient[Any, Any], *, header: str | None = HEADER, **query: str
) -> tuple[int, Any]:
    headers = {"X-IDENTITY-HEADER": header} if header is not None else {}
    params = {"api-version": "2019-08-01", "resource": RESOURCE} | query
    params = {name: value for name, value in params.items() if value}
    async with client.get(PATH, headers=headers, params=params) as answer:
        return answer.status, await answer.json()


async def test_a_token_names_the_tenant_the_identity_and_the_audience(
    kernel: Kernel, client: TestClient[Any, Any]
) -> None:
    status, answer = await ask(client)
    claims = kernel.tokens.verify(answer["access_token"], audiences=[RESOURCE])

    assert status == 200
    assert claims["aud"] == answer["resource"] == RESOURCE
    assert claims["iss"] == f"https://sts.windows.net/{TENANT_ID}/"
    assert claims["tid"] == TENANT_ID
    assert claims["oid"] == claims["sub"] == PRINCIPAL_ID
    assert claims["appid"] == answer["client_id"] == CLIENT_ID
    assert claims["xms_mirid"] == RESOURCE_ID
    assert (claims["idtyp"], claims["ver"]) == ("app", "1.0")
    assert answer["token_type"] == "Bearer"  # noqa: S105 - a scheme
    assert answer["expires_on"] == str(claims["iat"] + 24 * 3600)


@pytest.mark.parametrize("header", [None, "", "wrong", HEADER.upper(), HEADER + "x"])
async def test_only_who_knows_the_header_gets_a_token(
    client: TestClient[Any, Any], header: str | None
) -> None:
    status, answer = await ask(client, header=header)

    assert status == answer["statusCode"] == 401
    assert HEADER not in str(answer)


@pytest.mark.parametrize("header", [HEADER, NAMELESS])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_id", CLIENT_ID.upper()),
        ("principal_id", PRINCIPAL_ID),
        ("object_id", PRINCIPAL_ID),
        ("mi_res_id", RESOURCE_ID.upper()),
        ("msi_res_id", RESOURCE_ID),
    ],
)
async def test_the_identity_can_be_asked_for_by_name(
    client: TestClient[Any, Any], name: str, value: str, header: str
) -> None:
    assert (await ask(client, header=header, **{name: value}))[0] == 200
    status, answer = await ask(client, header=header, **{name: TENANT_ID})
    assert status == answer["statusCode"] == 400
    assert answer["message"].startswith("No User Assigned or Delegated Managed Identity found")


async def test_a_user_assigned_identity_has_to_be_named_even_if_it_is_the_only_one(
    client: TestClient[Any, Any],
) -> None:
    status, answer = await ask(client, header=NAMELESS)
    assert status == answer["statusCode"] == 400
    assert answer["message"] == "Unable to load the proper Managed Identity."


@pytest.mark.parametrize(
    "query",
    [
        {"api-version": ""},
        {"api-version": "2017-09-01"},
        {"resource": ""},
        {"scope": RESOURCE},
        {"client_id": CLIENT_ID, "principal_id": PRINCIPAL_ID},
    ],
)
async def test_queries_that_azure_does_not_document_are_refused(
    client: TestClient[Any, Any], query: dict[str, str]
) -> None:
    status, answer = await ask(client, **query)
    assert status == answer["statusCode"] == 400


async def test_a_token_outlives_a_move_of_the_clock_and_still_looks_valid_to_others(
    kernel: Kernel, client: TestClient[Any, Any]
) -> None:
    _, before = await ask(client)
    kernel.clock.advance(timedelta(days=400))
    _, after = await ask(client)

    for answer in (before, after):
        claims = kernel.tokens.verify(answer["access_token"], audiences=[RESOURCE])
        assert claims["nbf"] <= time.time() < claims["exp"]
        assert int(answer["expires_on"]) <= time.time() + 24 * 3600 + 1


@pytest.mark.usefixtures("environment")
async def test_the_credentials_of_azure_identity_get_tokens(kernel: Kernel) -> None:
    scope = RESOURCE + "/.default"
    async with ManagedIdentityCredential() as own, DefaultAzureCredential() as default:
        tokens = [(await own.get_token(scope)).token, (await default.get_token(scope)).token]
    tokens.append((await asyncio.to_thread(SyncManagedIdentityCredential().get_token, scope)).token)
    for token in tokens:
        assert kernel.tokens.verify(token, audiences=[RESOURCE])["oid"] == PRINCIPAL_ID
    assert kernel.calls.counts() == {"identity.token": 3}


@pytest.mark.usefixtures("environment")
async def test_a_user_assigned_identity_is_found_by_its_client_id_only_if_it_is_there() -> None:
    scope = RESOURCE + "/.default"
    async with ManagedIdentityCredential(client_id=CLIENT_ID) as known:
        assert (await known.get_token(scope)).token
    async with ManagedIdentityCredential(client_id=TENANT_ID) as unknown:
        with pytest.raises(ClientAuthenticationError, match="No User Assigned"):
            await unknown.get_token(scope)


@pytest.mark.usefixtures("environment")
async def test_a_credential_waits_out_a_throttled_endpoint(kernel: Kernel) -> None:
    kernel.faults.add(
        Fault("identity.token", FaultKind.STATUS, status=429, retry_after="0", times=2)
    )
    async with ManagedIdentityCredential(retry_backoff_factor=0) as credential:
        assert (await credential.get_token(RESOURCE + "/.default")).token
    assert kernel.calls.counts() == {"identity.token": 3}
