"""The custom role of infra/ allows every call to Azure Resource Manager, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstpull.cloud import Place, RegistryId, TokenId
from firstpull.ports import ContainerRegistries
from local_azure.stack import Stack
from tests.end_to_end.cloud import forget_devices, register
from tests.end_to_end.in_process import connected

_ROLE = Path(__file__).parents[2] / "infra" / "role.json"
_PREFIX = "Microsoft.ContainerRegistry/registries/"
_PLANT = "plant20"
_DEADLINE = 10.0
_VERBS = {
    "get": "read",
    "list": "read",
    "createOrUpdate": "write",
    "update": "write",
    "delete": "delete",
}
_OTHERS = {
    "tokens.operationStatus": "tokens/operationStatuses/read",
    "registries.generateCredentials": "generateCredentials/action",
}


def _action_of(operation: str) -> str:
    if operation in _OTHERS:
        return _PREFIX + _OTHERS[operation]
    resource, _, verb = operation.partition(".")
    return f"{_PREFIX}{resource}/{_VERBS[verb]}"


async def _onboard_and_take_away(stack: Stack) -> set[str]:
    """Everything that is done for a device, from its token to the end; the actions used."""
    register(stack, "least")
    stack.kernel.calls.reset()
    async with connected(stack) as firstpull:
        application = firstpull.application()
        await firstpull.ask(application, "least", _PLANT)
        await firstpull.settle(application, "least", _PLANT)
        names = (await firstpull.record("least")).names
        assert names is not None
        await _take_away(firstpull.ports.registries, RegistryId(stack.registry_id), names.token)
        calls = stack.kernel.calls.latest()
    await forget_devices(stack)
    assert all(call.status < 400 or call.status == 404 for call in calls if call.service == "arm")
    return {_action_of(call.operation) for call in calls if call.service == "arm"}


async def _take_away(registries: ContainerRegistries, registry: RegistryId, token: str) -> None:
    place = Place(registry=registry, connected_registry=_PLANT)
    name = "least-privilege"
    await registries.put_scope_map(
        registry,
        name,
        actions=frozenset({"repositories/x/content/read"}),
        deadline_seconds=_DEADLINE,
    )
    await registries.disable_token(registry, token, deadline_seconds=_DEADLINE)
    await registries.keep_passwords(registry, token, slots=(), deadline_seconds=_DEADLINE)
    clients = {c.name: c for c in await registries.list_connected_registries(registry)}
    others = tuple(
        TokenId(i)
        for i in clients[_PLANT].client_token_ids
        if i != registries.token_id(registry, token)
    )
    await registries.replace_client_tokens(place, others, deadline_seconds=_DEADLINE)
    await registries.delete_token(registry, token, deadline_seconds=_DEADLINE)
    await registries.delete_scope_map(registry, name, deadline_seconds=_DEADLINE)
    assert token not in {found.name for found in await registries.list_tokens(registry)}
    assert name not in {found.name for found in await registries.list_scope_maps(registry)}


@pytest.fixture(scope="module")
async def used(stack: Stack) -> set[str]:
    """The actions of a device's whole life."""
    return await _onboard_and_take_away(stack)


@pytest.fixture(scope="module")
def allowed() -> set[str]:
    """The actions of the role."""
    return set(json.loads(_ROLE.read_text())["Actions"])


def test_the_role_allows_what_is_called(used: set[str], allowed: set[str]) -> None:
    assert f"{_PREFIX}generateCredentials/action" in used
    assert used <= allowed


def test_the_role_allows_nothing_that_is_not_called(used: set[str], allowed: set[str]) -> None:
    """But for looking at operations, which not every answer begins."""
    assert {action for action in allowed - used if "/operationStatuses/" not in action} == set()
