"""Many requests and many devices at the same time, over several host processes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from pathlib import Path

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
)

from local_azure.container_registry.resources import ConnectedRegistry, ConnectedRegistryChanges
from local_azure.stack import Stack
from local_azure.stack.options import (
    OPERATOR_CLIENT_ID,
    REGISTRY_NAME,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
)

from .actions import put_foreign_token
from .api import Api, running_app
from .cloud import (
    clients_of,
    cloud_registry,
    entry_of,
    eventually,
    register,
    report_login,
    secret_versions,
    tokens_like,
)

SAME, CROWD = "plant03", "plant04"
HOSTS = 2
_NEIGHBOUR = "neighbour"


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path) -> AsyncIterator[Api]:
    async with running_app(stack, ca_file, hosts=HOSTS) as api:
        yield api


async def test_the_same_request_ten_times_at_once_makes_one_of_everything(
    api: Api, stack: Stack
) -> None:
    register(stack, "tenfold")
    stack.kernel.calls.reset()
    answers = await asyncio.gather(
        *(api.onboard("tenfold", SAME, host=number % HOSTS) for number in range(10))
    )
    assert {answer.status for answer in answers} <= {200, 202}
    view = await api.reaches("tenfold", "Delivered")
    assert view["generation"] == 1
    (token,) = tokens_like(stack, "tenfold")
    assert [password.name for password in token.passwords] == ["password1"]
    assert len(secret_versions(stack, view["secret"])) == 1
    assert clients_of(stack, SAME) == [token.name]
    writes = ("registries.generateCredentials", "twins.update")
    calls = [call for call in stack.kernel.calls.latest() if call.operation in writes]
    # A token that is still being created refuses a password.
    assert sorted(c.operation for c in calls if c.status != HTTPStatus.CONFLICT) == sorted(writes)


@pytest.mark.parametrize(
    "devices",
    [10, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
async def test_devices_join_while_somebody_else_rewrites_the_list(
    api: Api, stack: Stack, monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    names = [f"crowd-{devices}-{number:02}" for number in range(devices)]
    register(stack, *names)
    async with _management_client(stack) as client:
        neighbour = _Neighbour(stack, client)
        writes = _Writes(stack, neighbour, monkeypatch)
        writing = asyncio.create_task(neighbour.keep_writing())
        await asyncio.gather(
            *(api.onboard(name, CROWD, host=number % HOSTS) for number, name in enumerate(names))
        )
        await asyncio.gather(*(api.reaches(name, "Delivered") for name in names))
        await eventually(lambda: neighbour.writes >= 3)
        neighbour.stop()
        await writing

    ours = {entry_of(stack, name, CROWD)["username"] for name in names}
    for name in names:
        report_login(stack, name, CROWD)
    await asyncio.gather(*(api.reaches(name, "Ready") for name in names))
    # The neighbour may have overwritten some: the pass that finds the login finds that, too.
    await eventually(lambda: ours <= set(clients_of(stack, CROWD)))
    assert len(clients_of(stack, CROWD)) == len(set(clients_of(stack, CROWD)))
    assert writes.foreign_lists_that_never_were() == []


def _management_client(stack: Stack) -> ContainerRegistryManagementClient:
    return ContainerRegistryManagementClient(
        ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID),
        SUBSCRIPTION_ID,
        base_url=stack.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
    )


class _Neighbour:
    """Somebody with the Azure SDK who adds and removes tokens of their own, as `az` does it."""

    def __init__(self, stack: Stack, client: ContainerRegistryManagementClient) -> None:
        self._client = client
        self._stopped = False
        self._ids = [put_foreign_token(stack, f"{_NEIGHBOUR}-{n}") for n in range(3)]
        self.sent: tuple[str, ...] = ()
        self.writes = 0

    def stop(self) -> None:
        """End after the write that is under way."""
        self._stopped = True

    async def keep_writing(self) -> None:
        """Read, think, write; and again."""
        for mine in itertools.cycle(self._ids):
            if self._stopped:
                return
            listed = await self._read()
            await asyncio.sleep(0.2)
            kept = [token_id for token_id in listed if token_id != mine]
            await self._write(kept if mine in listed else [*listed, mine])
            await asyncio.sleep(0.1)

    async def _read(self) -> list[str]:
        found = await self._client.connected_registries.get(RESOURCE_GROUP, REGISTRY_NAME, CROWD)
        assert found.properties is not None
        return list(found.properties.client_token_ids or ())

    async def _write(self, token_ids: list[str]) -> None:
        self.sent = tuple(token_ids)
        change = ConnectedRegistryUpdateParameters(
            properties=ConnectedRegistryUpdateProperties(client_token_ids=token_ids)
        )
        poller = await self._client.connected_registries.begin_update(
            RESOURCE_GROUP, REGISTRY_NAME, CROWD, change
        )
        await poller.result()
        self.writes += 1


class _Writes:
    """Every write of the list: the foreign tokens before it, and those that it holds."""

    def __init__(
        self, stack: Stack, neighbour: _Neighbour, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._writes: list[tuple[bool, frozenset[str], frozenset[str]]] = []
        registry = cloud_registry(stack)
        update = registry.update_connected_registry

        def recorded(
            name: str, changes: ConnectedRegistryChanges, *, caller: str
        ) -> ConnectedRegistry:
            before = registry.connected_registry(name).settings.client_token_ids
            after = changes.client_token_ids or ()
            is_own = after != neighbour.sent
            self._writes.append((is_own, _foreign(before), _foreign(after)))
            return update(name, changes, caller=caller)

        monkeypatch.setattr(registry, "update_connected_registry", recorded)

    def foreign_lists_that_never_were(self) -> list[frozenset[str]]:
        """The neighbour's tokens in writes of firstpull that hold them as they never were.

        A change between firstpull's read and its write is lost, to anybody. So what firstpull
        writes of the neighbour's tokens must have been there since its own last write.
        """
        strange, seen = [], set[frozenset[str]]()
        for is_own, before, after in self._writes:
            seen.add(before)
            if is_own:
                if after not in seen:
                    strange.append(after)
                seen = {after}
        return strange


def _foreign(token_ids: Iterable[str]) -> frozenset[str]:
    return frozenset(token_id for token_id in token_ids if f"/{_NEIGHBOUR}" in token_id)
