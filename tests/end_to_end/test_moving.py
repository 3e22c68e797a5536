"""A device that moves can pull at any time: at its old connected registry until it has logged in
at the new one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from firstpull.model.device_record import DeviceRecord, State
from local_azure.container_registry.models import Registry
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.registry.images import hello_world
from local_azure.stack import ConnectedRegistryOptions, Stack
from local_azure.stack.listeners import Listeners
from local_azure.stack.options import RESOURCE_GROUP, SUBSCRIPTION_ID
from local_azure.stack.sites import Site, Sites

from .agents import Agent, agent_with_key
from .cloud import (
    clients_of,
    cloud_registry,
    entry_of,
    eventually,
    forget_devices,
    pull_answers,
    report_login,
    secret_versions,
    site_of,
)
from .deployments import Deployment, deployed, settings_of
from .in_process import connected

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
    listeners = Listeners(
        address="127.0.0.1", certificates=stack.kernel.certificates, clock=stack.kernel.clock
    )
    sites = Sites(stack.kernel, registry, listeners)
    site = await sites.deploy(ConnectedRegistryOptions(name=FAR, sync_every_seconds=3600))
    yield SecondRegistry(registry, site)
    await listeners.close()
    del stack.cloud._registries[resource_id.key]


@pytest.fixture(scope="module")
async def deployment(stack: Stack, second: SecondRegistry) -> AsyncIterator[Deployment]:
    settings = settings_of(stack, "moving", OLD, NEW)
    policy = json.loads(settings["FIRSTPULL_POLICY"])
    policy["containerRegistries"].append(str(second.registry.registry_id))
    for entry in policy["connectedRegistries"]:
        entry["containerRegistry"] = cloud_registry(stack).registry_id.name
    policy["connectedRegistries"].append(
        {"name": FAR, "containerRegistry": SECOND, "ca": stack.ca_pem}
    )
    settings["FIRSTPULL_POLICY"] = json.dumps(policy)
    await forget_devices(stack)
    async with connected(stack, settings) as firstpull:
        yield Deployment(firstpull, firstpull.application(), OLD)
    await forget_devices(stack)


@asynccontextmanager
async def pulling(agent: Agent, *plants: str) -> AsyncIterator[None]:
    """The device pulls again and again, at the first of these that answers. Raises AssertionError.

    At least one pull runs from the beginning to the end.
    """
    rounds, failures = 0, list[str]()

    async def pull() -> None:
        nonlocal rounds
        while True:
            answers = [await agent.pull("hello-world", plants[0])]
            for plant in plants[1:]:
                if answers[-1][0] != 0:
                    answers.append(await agent.pull("hello-world", plant))
            if answers[-1][0] != 0:
                failures.append(str(answers))
            rounds += 1

    task = asyncio.create_task(pull())
    try:
        yield
        enough = rounds + 2
        await eventually(lambda: rounds >= enough)
    finally:
        task.cancel()
    assert failures == []


async def _settled(deployment: Deployment, device_id: str) -> DeviceRecord:
    """The record of a device that has moved."""
    record = await deployment.come_to_rest(device_id)
    assert record.status.condition.state is State.READY, record.status.condition
    assert record.status.retiring == ()
    return record


async def test_the_agent_can_always_pull_on_its_way_to_another_connected_registry(
    deployment: Deployment, stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, "mover-near")
    async with agent.running():
        await deployment.ask(agent.device_id)
        await deployment.come_to_rest(agent.device_id)
        site_of(stack, OLD).backend.sync()
        await agent.reports(OLD, "LoggedIn")
        await _settled(deployment, agent.device_id)
        token = entry_of(stack, agent.device_id, OLD)["username"]
        async with pulling(agent, OLD, NEW):
            await deployment.at(NEW).ask(agent.device_id)
            await deployment.come_to_rest(agent.device_id)
            await agent.reports(NEW, "Failed")
            assert token in clients_of(stack, OLD)
            assert token in clients_of(stack, NEW)

            site_of(stack, NEW).backend.sync()
            await agent.reports(NEW, "LoggedIn")
            await _settled(deployment, agent.device_id)
            site_of(stack, OLD).backend.sync()
            await agent.reports_nothing(OLD)

    assert token not in clients_of(stack, OLD)
    assert token in clients_of(stack, NEW)
    assert entry_of(stack, agent.device_id, OLD) == {}
    await deployment.check_that_nothing_is_left_to_do(agent.device_id)
    await deployment.revoke(agent.device_id)


async def test_a_move_to_another_container_registry_leaves_nothing_behind(
    deployment: Deployment, stack: Stack, second: SecondRegistry
) -> None:
    before = await deployment.ready_device("mover-far")
    old_entry = entry_of(stack, before.device_id, OLD)
    await deployment.at(FAR).ask(before.device_id)
    await deployment.come_to_rest(before.device_id)
    second.site.backend.sync()
    assert await pull_answers(stack, old_entry) == 200
    assert await pull_answers(stack, entry_of(stack, before.device_id, FAR)) == 200
    report_login(stack, before.device_id, FAR)
    record = await _settled(deployment, before.device_id)

    assert record.status.grant is not None
    assert second.registry.token(record.status.grant.names.token).status == "enabled"
    assert before.token not in {token.name for token in cloud_registry(stack).tokens()}
    assert [v for v in secret_versions(stack, before.secret) if v.enabled] == []
    assert clients_of(stack, OLD) == []
    assert entry_of(stack, before.device_id, OLD) == {}
    await deployment.check_that_nothing_is_left_to_do(before.device_id)
    await deployment.revoke(before.device_id)


@pytest.mark.slow
async def test_a_move_to_a_full_connected_registry_leaves_the_device_where_it_is(
    stack: Stack,
) -> None:
    async with deployed(stack, "moving", OLD, NEW, capacity=1) as here:
        there = here.at(NEW)
        neighbour = await there.ready_device("neighbour-there")
        subject = await here.ready_device("mover-stays")
        entry = entry_of(stack, subject.device_id, OLD)
        await there.ask(subject.device_id)
        record = await here.come_to_rest(subject.device_id)
        assert record.status.condition.state is State.BLOCKED
        assert entry_of(stack, subject.device_id, OLD) == entry
        assert entry_of(stack, subject.device_id, NEW) == {}
        assert await pull_answers(stack, entry) == 200

        await there.revoke(neighbour.device_id)
        await there.come_to_rest(subject.device_id)
        await there.log_in(subject.device_id)
        assert entry_of(stack, subject.device_id, OLD) == {}
        await there.revoke(subject.device_id)
