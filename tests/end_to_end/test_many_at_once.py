"""Many requests and many devices at the same time, over several host processes."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterable
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
DEVICES = 30
_NEIGHBOUR = "neighbour"
MOST_LIST_WRITES = 20
"""For 30 devices. One write a device would be 30; the other writer below makes some necessary."""


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path) -> AsyncIterator[Api]:
    async with running_app(stack, ca_file, hosts=3) as api:
        yield api


async def test_the_same_request_ten_times_at_once_makes_one_of_everything(
    api: Api, stack: Stack
) -> None:
    register(stack, "tenfold")
    stack.kernel.calls.reset()
    answers = await asyncio.gather(
        *(api.onboard("tenfold", SAME, wait=20, host=number % 3) for number in range(10))
    )

    assert Counter(answer.status for answer in answers) == {200: 10}
    assert {answer.document["generation"] for answer in answers} == {1}
    (token,) = tokens_like(stack, "tenfold")
    assert [password.name for password in token.passwords] == ["password1"]
    assert len(secret_versions(stack, answers[0].document["secret"])) == 1
    assert clients_of(stack, SAME) == [token.name]
    calls = stack.kernel.calls.counts()
    assert calls["arm.registries.generateCredentials"] == 1
    assert calls["iotHub.twins.update"] == 1


async def test_thirty_devices_join_while_somebody_else_rewrites_the_list(
    api: Api, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"crowd-{number:02}" for number in range(DEVICES)]
    register(stack, *names)
    async with _management_client(stack) as client:
        neighbour = _Neighbour(stack, client)
        history = _History(stack, neighbour, monkeypatch)
        writing = asyncio.create_task(neighbour.keep_writing())
        answers = await asyncio.gather(
            *(api.onboard(name, CROWD, host=number % 3) for number, name in enumerate(names))
        )
        assert {answer.status for answer in answers} <= {200, 202}
        await asyncio.gather(*(api.reaches(name, "Delivered", within=60) for name in names))
        neighbour.stop()
        await writing

    ours = {entry_of(stack, name, CROWD)["username"] for name in names}
    for name in names:
        report_login(stack, name, CROWD)
    await asyncio.gather(*(api.reaches(name, "Ready", within=60) for name in names))
    # The neighbour may have overwritten some: the look that found the login has found that, too.
    await eventually(lambda: ours <= set(clients_of(stack, CROWD)))

    listed = clients_of(stack, CROWD)
    assert sorted(name for name in listed if not name.startswith(_NEIGHBOUR)) == sorted(ours)
    assert history.foreign_lists_that_never_were() == []
    assert neighbour.writes >= 3, "the neighbour hardly wrote: nothing was tried"
    with capsys.disabled():
        print(f" [{DEVICES} devices joined by {len(history.own)} writes of the list] ", end="")  # noqa: T201
    assert len(history.own) <= MOST_LIST_WRITES


def _management_client(stack: Stack) -> ContainerRegistryManagementClient:
    return ContainerRegistryManagementClient(
        ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID),
        SUBSCRIPTION_ID,
        base_url=stack.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
    )


class _Neighbour:
    """Somebody with the Azure SDK who adds and removes tokens of his own, as `az` does it."""

    def __init__(self, stack: Stack, client: ContainerRegistryManagementClient) -> None:
        self._client = client
        self._stopped = False
        self._ids = [_token_of_somebody_else(stack, f"{_NEIGHBOUR}-{n}") for n in range(3)]
        self.sent: tuple[str, ...] = ()
        self.writes = 0

    def stop(self) -> None:
        """After the write that is under way."""
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


def _token_of_somebody_else(stack: Stack, name: str) -> str:
    registry = cloud_registry(stack)
    scope_map_id = registry.registry_id.child("scopeMaps", "_repositories_pull")
    registry.put_token(name, scope_map_id=scope_map_id)
    return registry.registry_id.child("tokens", name)


class _History:
    """Every write of the list: what stood there before, and what was written."""

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

    @property
    def own(self) -> list[frozenset[str]]:
        """What firstpull wrote of the neighbour's tokens, each time."""
        return [after for is_own, _, after in self._writes if is_own]

    def foreign_lists_that_never_were(self) -> list[frozenset[str]]:
        """Writes of firstpull in which the neighbour's tokens are not as they once were.

        A change that came between firstpull's read and its write is lost, to anybody. So what
        it writes of them has to be what stood there at some time since its own last write.
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
