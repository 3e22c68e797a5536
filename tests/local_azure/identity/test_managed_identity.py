from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential

from local_azure.identity.responses import (
    PATH,
    HostIdentities,
    ManagedIdentity,
    create_identity_application,
)
from local_azure.kernel import Kernel
from local_azure.kernel.faults import Fault, FaultKind

HEADER = "header-of-the-host"
USER_ASSIGNED_HEADER = "header-of-a-host-with-user-assigned-identities-only"
TENANT_ID = "00000000-0000-0000-0000-00000000000a"
PRINCIPAL_ID = "00000000-0000-0000-0000-00000000000b"
CLIENT_ID = "00000000-0000-0000-0000-00000000000c"
RESOURCE_ID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Web/sites/app"
RESOURCE = "https://management.azure.com"
SCOPE = RESOURCE + "/.default"


@pytest.fixture
async def client(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TestClient[Any, Any]]:
    identity = ManagedIdentity(
        tenant_id=TENANT_ID,
        principal_id=PRINCIPAL_ID,
        client_id=CLIENT_ID,
        resource_id=RESOURCE_ID,
    )
    hosts = {
        HEADER: HostIdentities(system_assigned=identity),
        USER_ASSIGNED_HEADER: HostIdentities(user_assigned=(identity,)),
    }
    application = create_identity_application(kernel, hosts=hosts)
    async with TestClient(TestServer(application)) as client:
        monkeypatch.setenv("IDENTITY_ENDPOINT", str(client.make_url(PATH)))
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        yield client


async def request_token(
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
    before = int(kernel.clock.now().timestamp())
    status, answer = await request_token(client)
    after = int(kernel.clock.now().timestamp())
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
    assert before <= int(answer["expires_on"]) - 24 * 3600 <= after


@pytest.mark.parametrize("header", [None, "", "wrong", HEADER.upper(), HEADER + "x"])
async def test_a_token_needs_the_header_of_a_host(
    client: TestClient[Any, Any], header: str | None
) -> None:
    status, answer = await request_token(client, header=header)

    assert status == answer["statusCode"] == 401
    assert HEADER not in str(answer)


@pytest.mark.parametrize(
    ("header", "client_id", "message"),
    [
        (HEADER, "", None),
        (HEADER, CLIENT_ID.upper(), None),
        (USER_ASSIGNED_HEADER, CLIENT_ID, None),
        (HEADER, TENANT_ID, "No User Assigned or Delegated Managed Identity found"),
        (USER_ASSIGNED_HEADER, TENANT_ID, "No User Assigned or Delegated Managed Identity found"),
        (USER_ASSIGNED_HEADER, "", "Unable to load the proper Managed Identity."),
    ],
)
async def test_a_user_assigned_identity_needs_its_client_id(
    client: TestClient[Any, Any], header: str, client_id: str, message: str | None
) -> None:
    status, answer = await request_token(client, header=header, client_id=client_id)
    if message is None:
        assert status == 200
    else:
        assert status == answer["statusCode"] == 400
        assert answer["message"].startswith(message)


@pytest.mark.parametrize(
    "query",
    [{"api-version": ""}, {"api-version": "2017-09-01"}, {"resource": ""}, {"scope": RESOURCE}],
)
async def test_other_queries_are_refused(
    client: TestClient[Any, Any], query: dict[str, str]
) -> None:
    status, answer = await request_token(client, **query)
    assert status == answer["statusCode"] == 400


async def test_a_token_outlives_a_move_of_the_clock(
    kernel: Kernel, client: TestClient[Any, Any]
) -> None:
    _, before = await request_token(client)
    kernel.clock.advance(timedelta(days=400))
    _, after = await request_token(client)

    for answer in (before, after):
        claims = kernel.tokens.verify(answer["access_token"], audiences=[RESOURCE])
        assert claims["nbf"] <= time.time() < claims["exp"]
    # A client whose clock is moved too uses it for a day, and asks again after a move.
    now = kernel.clock.now().timestamp()
    assert int(before["expires_on"]) < now < int(after["expires_on"]) <= now + 24 * 3600


@pytest.mark.usefixtures("client")
async def test_the_sdk_gets_a_token_and_repeats_a_throttled_request(kernel: Kernel) -> None:
    kernel.faults.add(
        Fault("identity.token", FaultKind.STATUS, status=429, retry_after="0", times=2)
    )
    async with ManagedIdentityCredential(client_id=CLIENT_ID) as credential:
        token = (await credential.get_token(SCOPE)).token
    assert kernel.tokens.verify(token, audiences=[RESOURCE])["oid"] == PRINCIPAL_ID
    assert kernel.calls.counts() == {"identity.token": 3}
    async with ManagedIdentityCredential(client_id=TENANT_ID) as unknown:
        with pytest.raises(ClientAuthenticationError, match="No User Assigned"):
            await unknown.get_token(SCOPE)
