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


class Knobs:
    """The management port."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self._session.request(method, self._url + path, json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def knobs(stack: Stack) -> AsyncIterator[Knobs]:
    before = stack.kernel.access.assignments(PRINCIPAL_ID)
    async with aiohttp.ClientSession() as session:
        yield Knobs(session, stack.management_url)
    stack.kernel.access.assign(PRINCIPAL_ID, before)


async def status_of_a_secret(stack: Stack) -> int:
    """What the app is answered that asks for the value of a secret which is not there."""
    _, _, host = stack.key_vault_url.rpartition("/")
    audience = f"https://{host.partition('.')[2]}"
    async with aiohttp.ClientSession() as session:
        asked = {"api-version": "2019-08-01", "resource": audience, "client_id": CLIENT_ID}
        header = {"X-IDENTITY-HEADER": stack.identity_header}
        async with session.get(stack.identity_endpoint, params=asked, headers=header) as answer:
            token = (await answer.json())["access_token"]
        url = f"{stack.key_vault_url}/secrets/nothing?api-version=7.5"
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status


async def test_the_app_has_what_bicep_gives_it(knobs: Knobs) -> None:
    status, said = await knobs("GET", "/roleAssignments")
    assert status == 200
    assert {each["role"] for each in said["assignments"]} == {
        "firstpull",
        "firstpull devices",
        "firstpull secrets",
        "Storage Blob Data Owner",
        "Storage Queue Data Contributor",
        "Storage Table Data Contributor",
    }
    _, defined = await knobs("GET", "/roles")
    (role,) = [each for each in defined["roles"] if each["name"] == "firstpull devices"]
    assert "Microsoft.Devices/IotHubs/twins/read" in role["permissions"][0]["dataActions"]


async def test_roles_are_taken_away_and_given_back_while_it_runs(
    stack: Stack, knobs: Knobs
) -> None:
    assert await status_of_a_secret(stack) == 404
    assert await knobs("PUT", "/roleAssignments", {"assignments": []}) == (200, {"assignments": []})
    assert await status_of_a_secret(stack) == 403
    stack.kernel.access.allows(Caller("a stranger"), data_action(SECRET), scope=VAULT_ID)
    _, said = await knobs("GET", "/roleAssignments/refusals")
    assert said["refusals"][-1] == {"missing": [SECRET], "scope": f"{VAULT_ID}/secrets/nothing"}
    await knobs("PUT", "/roles/readers", {"dataActions": ["*"]})
    on_the_vault = {"assignments": [{"role": "readers", "scope": VAULT_ID}]}
    await knobs("PUT", "/roleAssignments", on_the_vault)
    assert await status_of_a_secret(stack) == 404
    await knobs("PUT", "/roles/readers", {"dataActions": ["*"], "notDataActions": [SECRET]})
    assert await status_of_a_secret(stack) == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/roleAssignments", {"assignments": [{"role": "nobody's", "scope": "/"}]}, 409),
        ("/roleAssignments", {"assignments": [{"role": "Owner", "scope": "everywhere"}]}, 400),
        ("/roleAssignments", {}, 400),
        ("/roles/x", {"action": ["*"]}, 400),
    ],
)
async def test_what_makes_no_sense_changes_nothing(
    stack: Stack, knobs: Knobs, path: str, body: object, status: int
) -> None:
    before = stack.kernel.access.assignments(PRINCIPAL_ID)
    assert (await knobs("PUT", path, body))[0] == status
    assert stack.kernel.access.assignments(PRINCIPAL_ID) == before
