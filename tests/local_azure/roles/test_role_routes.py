"""The management port's routes for roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from local_azure.kernel.access import Caller, data_action
from local_azure.stack import Stack
from local_azure.stack.identities import VAULT_ID
from local_azure.stack.options import CLIENT_ID, PRINCIPAL_ID

SECRET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"  # noqa: S105 - an action's name


class ManagementPort:
    """A client of the management port."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self._session.request(method, self._url + path, json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def manage(stack: Stack) -> AsyncIterator[ManagementPort]:
    before = stack.kernel.access.assignments(PRINCIPAL_ID)
    async with aiohttp.ClientSession() as session:
        yield ManagementPort(session, stack.management_url)
    stack.kernel.access.assign(PRINCIPAL_ID, before)


async def status_of_a_secret(stack: Stack) -> int:
    """The status that the app gets when it reads a secret that does not exist."""
    _, _, host = stack.key_vault_url.rpartition("/")
    audience = f"https://{host.partition('.')[2]}"
    async with aiohttp.ClientSession() as session:
        query = {"api-version": "2019-08-01", "resource": audience, "client_id": CLIENT_ID}
        header = {"X-IDENTITY-HEADER": stack.identity_header}
        async with session.get(stack.identity_endpoint, params=query, headers=header) as answer:
            token = (await answer.json())["access_token"]
        url = f"{stack.key_vault_url}/secrets/nothing?api-version=2026-04-01"
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status


async def test_the_app_has_the_roles_that_bicep_assigns(manage: ManagementPort) -> None:
    status, body = await manage("GET", "/roleAssignments")
    assert status == 200
    assert {each["role"] for each in body["assignments"]} == {
        "firstpull",
        "firstpull doctor",
        "firstpull devices",
        "firstpull secrets",
        "Storage Blob Data Owner",
        "Storage Queue Data Contributor",
        "Storage Table Data Contributor",
    }
    _, defined = await manage("GET", "/roles")
    (role,) = [each for each in defined["roles"] if each["name"] == "firstpull devices"]
    assert "Microsoft.Devices/IotHubs/twins/read" in role["permissions"][0]["dataActions"]


async def test_roles_can_be_removed_and_assigned_at_run_time(
    stack: Stack, manage: ManagementPort
) -> None:
    assert await status_of_a_secret(stack) == 404
    nothing: dict[str, object] = {"assignments": []}
    assert await manage("PUT", "/roleAssignments", nothing) == (200, nothing)
    assert await status_of_a_secret(stack) == 403
    stack.kernel.access.allows(Caller("a stranger"), data_action(SECRET), scope=VAULT_ID)
    _, body = await manage("GET", "/roleAssignments/refusals")
    assert body["refusals"][-1] == {"missing": [SECRET], "scope": f"{VAULT_ID}/secrets/nothing"}
    await manage("PUT", "/roles/readers", {"dataActions": ["*"]})
    on_the_vault = {"assignments": [{"role": "readers", "scope": VAULT_ID}]}
    await manage("PUT", "/roleAssignments", on_the_vault)
    assert await status_of_a_secret(stack) == 404
    await manage("PUT", "/roles/readers", {"dataActions": ["*"], "notDataActions": [SECRET]})
    assert await status_of_a_secret(stack) == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/roleAssignments", {"assignments": [{"role": "nobody's", "scope": "/"}]}, 409),
        ("/roleAssignments", {"assignments": [{"role": "firstpull", "scope": "everywhere"}]}, 400),
        ("/roleAssignments", {}, 400),
        ("/roles/x", {"action": ["*"]}, 400),
    ],
)
async def test_an_invalid_body_changes_nothing(
    stack: Stack, manage: ManagementPort, path: str, body: object, status: int
) -> None:
    before = stack.kernel.access.assignments(PRINCIPAL_ID)
    assert (await manage("PUT", path, body))[0] == status
    assert stack.kernel.access.assignments(PRINCIPAL_ID) == before
