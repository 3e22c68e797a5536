"""A device that moves can pull at any time: at the old place until it has logged in at the new."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firstpull.model.device_record import DeviceRecord, State
from local_azure.container_registry.backends import SyncOverride
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.registry.images import hello_world
from local_azure.stack import ConnectedRegistryOptions, Stack
from local_azure.stack.listeners import Listeners
from local_azure.stack.options import RESOURCE_GROUP, SUBSCRIPTION_ID
from local_azure.stack.sites import Site, Sites
from tests.firstpull.records import grant_of

from .agents import Agent, agent_with_key
from .cloud import (
    clients_of,
    cloud_registry,
    entry_of,
    eventually,
    forget_devices,
    pull_answers,
    secret_versions,
    site_of,
)
from .deployments import settings_of
from .drift_rows import Case
from .in_process import Firstpull, connected

OLD, NEW, FAR = "plant13", "plant14", "harborone"
SECOND = "secondregistry"


@dataclass(frozen=True)
class SecondRegistry:
    """Another container registry in the same cloud, with one connected registry, `FAR`."""

    registry: Registry
    site: Site


@pytest.fixture(scope="module")
async def second(stack: Stack) -> AsyncIterator[SecondRegistry]:
    resource_id = RegistryId(SUBSCRIPTION_ID, RESOURCE_GROUP, SECOND)
    registry = stack.cloud.create_registry(resource_id, login_server="second.invalid")
    registry.images["hello-world"] = {"latest": hello_world()}
    listeners = Listeners(address="127.0.0.1", certificates=stack.kernel.certificates)
    sites = Sites(stack.kernel, registry, listeners)
    site = await sites.deploy(ConnectedRegistryOptions(name=FAR))
    site.backend.override = SyncOverride(every_seconds=None)
    yield SecondRegistry(registry, site)
    await listeners.close()
    del stack.cloud._registries[resource_id.key]


@pytest.fixture(scope="module")
async def firstpull(stack: Stack, second: SecondRegistry) -> AsyncIterator[Firstpull]:
    settings = settings_of(stack, "moving", OLD, NEW)
    policy = json.loads(settings["FIRSTPULL_POLICY"])
    policy["containerRegistries"].append(str(second.registry.registry_id))
    for entry in policy["connectedRegistries"]:
        entry["containerRegistry"] = cloud_registry(stack).registry_id.name
    policy["connectedRegistries"].append(
        {"name": FAR, "containerRegistry": SECOND, "ca": stack.ca_pem}
    )
    settings["FIRSTPULL_POLICY"] = json.dumps(policy)
    async with connected(stack, settings) as firstpull:
        yield firstpull
    await forget_devices(stack)


@pytest.fixture
def case(firstpull: Firstpull) -> Case:
    return Case(firstpull, firstpull.application(), OLD)


@dataclass
class Pulls:
    """A device that pulls all the time, and what it could not pull anywhere."""

    agent: Agent
    rounds: int = 0
    failed: list[str] = field(default_factory=list)

    async def go_on(self, *plants: str) -> None:
        """Pull again and again, in each round at the first of these places that answers."""
        while True:
            said = ""
            for plant in plants:
                code, said = await self.agent.pull("hello-world", plant)
                if code == 0:
                    break
            else:
                self.failed.append(said)
            self.rounds += 1


@asynccontextmanager
async def pulling(agent: Agent, *plants: str) -> AsyncIterator[Pulls]:
    """Pulls run meanwhile, at least one from the beginning to the end."""
    pulls = Pulls(agent)
    task = asyncio.create_task(pulls.go_on(*plants))
    try:
        yield pulls
        enough = pulls.rounds + 2
        await eventually(lambda: pulls.rounds >= enough)
    finally:
        task.cancel()
    assert pulls.failed == []


async def _logged_in_at_the_old_place(case: Case, agent: Agent) -> None:
    """The agent runs, and has said so."""
    await case.firstpull.ask(case.application, agent.device_id, OLD)
    await case.comes_to_rest(agent.device_id)
    site_of(case.firstpull.stack, OLD).backend.sync()
    await _says_that_it_logged_in(agent, OLD)
    await _is_ready(case, agent.device_id)


async def _says_that_it_logged_in(agent: Agent, plant: str) -> None:
    await eventually(lambda: agent.said(plant).get("state") == "LoggedIn", what=f"at {plant}")


async def _is_ready(case: Case, device_id: str) -> DeviceRecord:
    record = await case.comes_to_rest(device_id)
    assert record.status.condition.state is State.READY, record.status.condition
    assert record.status.retiring == ()
    return record


async def test_the_agent_never_loses_its_login_on_the_way_to_another_connected_registry(
    case: Case, stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, "mover-near")
    async with agent.following_its_twin():
        await _logged_in_at_the_old_place(case, agent)
        token = entry_of(stack, agent.device_id, OLD)["username"]
        async with pulling(agent, OLD, NEW):
            await case.firstpull.ask(case.application, agent.device_id, NEW)
            await case.comes_to_rest(agent.device_id)
            await eventually(lambda: agent.said(NEW), what="the agent did not try the new place")
            assert token in clients_of(stack, OLD)
            assert token in clients_of(stack, NEW)
            assert agent.said(NEW)["state"] != "LoggedIn"

            site_of(stack, NEW).backend.sync()
            await _says_that_it_logged_in(agent, NEW)
            await _is_ready(case, agent.device_id)
            site_of(stack, OLD).backend.sync()
            await eventually(lambda: agent.said(OLD) == {}, what="the agent did not log out")

    assert token not in clients_of(stack, OLD)
    assert token in clients_of(stack, NEW)
    assert entry_of(stack, agent.device_id, OLD) == {}
    assert (await agent.pull("hello-world", OLD))[0] == 1
    await case.nothing_is_left_to_do(agent.device_id)
    await case.revoke(agent.device_id)


async def test_the_agent_never_loses_its_login_on_the_way_to_another_container_registry(
    case: Case, stack: Stack, second: SecondRegistry, ca_file: Path, tmp_path: Path
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, "mover-far")
    async with agent.following_its_twin():
        await _logged_in_at_the_old_place(case, agent)
        before = await case.firstpull.record(agent.device_id)
        async with pulling(agent, OLD, FAR):
            await case.firstpull.ask(case.application, agent.device_id, FAR)
            await case.comes_to_rest(agent.device_id)
            second.site.backend.sync()
            await _says_that_it_logged_in(agent, FAR)
            after = await _is_ready(case, agent.device_id)
            site_of(stack, OLD).backend.sync()
            await eventually(lambda: agent.said(OLD) == {}, what="the agent did not log out")

    assert grant_of(before).names.token not in {
        token.name for token in cloud_registry(stack).tokens()
    }
    assert [v for v in secret_versions(stack, grant_of(before).names.secret) if v.enabled] == []
    assert second.registry.token(grant_of(after).names.token).status == "enabled"
    assert clients_of(stack, OLD) == []
    assert entry_of(stack, agent.device_id, OLD) == {}
    await case.nothing_is_left_to_do(agent.device_id)
    await case.revoke(agent.device_id)


async def test_a_move_to_a_connected_registry_without_room_leaves_the_device_where_it_is(
    stack: Stack,
) -> None:
    settings = settings_of(stack, "moving", OLD, NEW, capacity=1)
    async with connected(stack, settings) as firstpull:
        application = firstpull.application()
        here, there = (Case(firstpull, application, plant) for plant in (OLD, NEW))
        neighbour = await there.ready_device("neighbour-there")
        subject = await here.ready_device("mover-stays")
        entry = entry_of(stack, subject.device_id, OLD)
        await firstpull.ask(application, subject.device_id, NEW)
        record = await here.comes_to_rest(subject.device_id)
        assert record.status.condition.state is State.BLOCKED
        assert entry_of(stack, subject.device_id, OLD) == entry
        assert entry_of(stack, subject.device_id, NEW) == {}
        site_of(stack, OLD).backend.sync()
        assert await pull_answers(stack, entry) == 200

        await there.revoke(neighbour.device_id)
        await there.comes_to_rest(subject.device_id)
        await there.logs_in(subject.device_id)
        assert entry_of(stack, subject.device_id, OLD) == {}
        await there.revoke(subject.device_id)
