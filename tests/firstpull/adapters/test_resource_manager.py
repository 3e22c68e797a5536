"""What the adapter makes of Azure Resource Manager's documents, also of odd ones."""

from __future__ import annotations

import base64
import json
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.rest import HttpRequest

from firstpull.adapters.resource_manager import Document, ResourceManagerAdapter
from firstpull.model.errors import Transient
from firstpull.model.governance import ResourceId

VAULT = ResourceId("/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/vault-1")
ENDPOINT = "https://management.test"


class Identity:
    """A credential with one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        return AccessToken(self._token, 2_000_000_000)

    async def close(self) -> None:
        """Nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing."""


class Told(ResourceManagerAdapter):
    """The adapter with answers by the last part of the path; the rest is not there."""

    def __init__(self, token: str = "", **answers: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(Identity(token), endpoint=ENDPOINT, audience=ENDPOINT)
        self.answers = answers
        self.asked: list[str] = []

    async def _send(self, request: HttpRequest) -> Document | None:
        self.asked.append(request.url)
        found: Document | None = self.answers.get(urlsplit(request.url).path.rsplit("/", 1)[-1])
        return found


def token_of(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


async def test_the_principal_is_the_one_of_the_token() -> None:
    assert await Told(token_of(oid="principal-1")).principal_id() == "principal-1"
    for token in ("opaque", "a.b.c", token_of(sub="x"), ""):
        assert await Told(token).principal_id() is None


async def test_an_exempted_assignment_is_left_out() -> None:
    assignments = {
        "value": [
            {"id": "/A/One", "properties": {"policyDefinitionId": "/d/ABC"}},
            {
                "id": "/A/Two",
                "properties": {
                    "policyDefinitionId": "/d/ABC",
                    "enforcementMode": "DoNotEnforce",
                    "parameters": {"effect": {"value": "Deny"}},
                },
            },
        ]
    }
    exemptions = {"value": [{"properties": {"policyAssignmentId": "/a/one"}}]}
    manager = Told(policyAssignments=assignments, policyExemptions=exemptions)
    (found,) = await manager.policy_assignments(VAULT)
    assert (found.id, found.definition, found.is_enforced) == ("/A/Two", "abc", False)
    assert found.parameters == {"effect": "Deny"}


async def test_what_is_not_there_is_none() -> None:
    manager = Told()
    assert await manager.resource(VAULT) is None
    assert await manager.locks(VAULT) == ()


async def test_every_page_is_read_and_none_elsewhere() -> None:
    lock = {"id": "/l/1", "properties": {"level": "ReadOnly"}}
    manager = Told(
        locks={"value": [lock], "nextLink": f"{ENDPOINT}/more?page=2"},
        more={"value": [lock, lock]},
    )
    assert len(await manager.locks(VAULT)) == 3
    elsewhere = Told(locks={"value": [lock], "nextLink": "https://elsewhere.test/more"})
    with pytest.raises(Transient):
        await elsewhere.locks(VAULT)
    assert all(url.startswith(ENDPOINT) for url in elsewhere.asked)


@pytest.mark.parametrize("odd", [{"id": "/l/1"}, {"properties": []}, "lock", None, 7])
async def test_an_odd_document_is_an_error_of_the_service(odd: object) -> None:
    page = {"value": [odd]}
    manager = Told(locks=page, permissions=page, policyAssignments=page, eventSubscriptions=page)
    for read in (manager.locks, manager.policy_assignments, manager.event_subscriptions):
        with pytest.raises(Transient):
            await read(VAULT)
