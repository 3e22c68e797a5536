"""An IoT Edge device whose runtime really pulls with what firstpull wrote for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.reconcile.checks import Difference
from local_azure.edge_agent.agent import EdgeAgent, edge_agent
from local_azure.edge_agent.images import PullFailed
from local_azure.edge_agent.rules import deployment
from local_azure.iot_hub.models import EDGE_AGENT
from local_azure.iot_hub.twins import JsonObject
from local_azure.stack import Stack

from .cloud import (
    GIVE_UP_SECONDS,
    clients_of,
    deploy,
    edge_entries,
    entry_of,
    eventually,
    register_edge,
    site_of,
)
from .deployments import Deployment, deployed

HERE, THERE = "plant27", "plant28"
IMAGE, OTHER = "hello-world:latest", "sensor-gateway:latest"


@pytest.fixture(scope="module")
async def deployed_here(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "edge", HERE, THERE) as found:
        yield found


@asynccontextmanager
async def _edge_device(stack: Stack, device_id: str, *images: str) -> AsyncIterator[EdgeAgent]:
    """A registered Edge device with a deployment, and its running edgeAgent."""
    register_edge(stack, device_id, {f"module{n}": image for n, image in enumerate(images)})
    async with edge_agent(
        stack.hub,
        device_id,
        address=stack.address,
        ca_pem=stack.ca_pem,
        tls=stack.kernel.certificates.client_context(),
    ) as agent:
        yield agent


def _image(stack: Stack, plant: str, image: str = IMAGE) -> str:
    return f"{site_of(stack, plant).endpoint}/{image}"


async def _until(
    deployment: Deployment, device_id: str, state: State, reason: Reason | None = None
) -> None:
    """Reconcile until the device is in a state; its connected registries sync meanwhile."""
    firstpull, condition = deployment.firstpull, None
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up:
        for plant in (HERE, THERE):
            site_of(deployment.stack, plant).backend.sync()
        record = await deployment.come_to_rest(device_id)
        condition = record.status.condition
        if condition.state is state and condition.reason in (reason, reason or condition.reason):
            return
        await asyncio.sleep(0.1)
        firstpull.clock.advance_to(record.schedule.due_at)
    raise AssertionError(f"{device_id}: {condition}")


async def test_an_edge_device_is_onboarded_rotated_moved_and_revoked(
    deployed_here: Deployment,
) -> None:
    stack, device_id = deployed_here.stack, "edge-whole-life"
    here, there = _image(stack, HERE), _image(stack, THERE)
    async with _edge_device(stack, device_id, here) as agent:
        await deployed_here.ask(device_id, delivery="edgeAgent")
        await _until(deployed_here, device_id, State.READY, Reason.ACKNOWLEDGED)
        await eventually(lambda: here in agent.pulled, "the module's image was not pulled")
        with pytest.raises(PullFailed, match=r"40[13]"):
            await agent.pull(_image(stack, HERE, OTHER))
        first = edge_entries(stack, device_id)
        assert edge_entries(stack, device_id, "reported") == first
        (name,) = first
        deploy(stack, device_id, {"runtime": {"settings": {"registryCredentials": {name: None}}}})
        found = await deployed_here.sweep_says(device_id)
        assert found == {Difference.ENTRY_MISSING.value}
        await _until(deployed_here, device_id, State.READY, Reason.ACKNOWLEDGED)
        assert edge_entries(stack, device_id) == first
        assert entry_of(stack, device_id, HERE) == {}

        device = deployed_here.firstpull.device(device_id)
        await deployed_here.application.rotating.rotate(
            device, immediately=False, requested_by="a test"
        )
        await _until(deployed_here, device_id, State.READY, Reason.ACKNOWLEDGED)
        second = edge_entries(stack, device_id)
        assert (len(second), second.keys() & first.keys()) == (1, set())
        await eventually(lambda: edge_entries(stack, device_id, "reported") == second)
        assert (await agent.pull(here)).startswith("sha256:")

        await deployed_here.ask(device_id, connectedRegistry=THERE, delivery="edgeAgent")
        await _until(deployed_here, device_id, State.READY)
        deploy(stack, device_id, deployment({"module0": there}))
        await eventually(lambda: there in agent.pulled, "the image of the new place is missing")
        assert clients_of(stack, HERE) == []

        await deployed_here.application.revoking.revoke(device, requested_by="a test")
        await _until(deployed_here, device_id, State.REVOKED)
        assert edge_entries(stack, device_id) == {}
        await eventually(lambda: edge_entries(stack, device_id, "reported") == {})
        with pytest.raises(PullFailed, match="401"):
            await agent.pull(there)


async def test_a_device_changes_from_its_twin_to_edge_agent(deployed_here: Deployment) -> None:
    stack, device_id = deployed_here.stack, "edge-changes-kind"
    async with _edge_device(stack, device_id) as agent:
        await deployed_here.ask(device_id)
        await _until(deployed_here, device_id, State.DELIVERED)
        assert entry_of(stack, device_id, HERE)
        await deployed_here.ask(device_id, delivery="edgeAgent")
        await _until(deployed_here, device_id, State.READY)
        assert entry_of(stack, device_id, HERE) == {}
        assert (await agent.pull(_image(stack, HERE))).startswith("sha256:")


async def test_a_malformed_entry_keeps_edge_agent_and_firstpull_out(
    deployed_here: Deployment,
) -> None:
    stack, device_id = deployed_here.stack, "edge-malformed"
    broken: JsonObject = {"settings": {"registryCredentials": {"theirs": {"address": "a.example"}}}}
    async with _edge_device(stack, device_id):
        deploy(stack, device_id, {"runtime": broken})
        await deployed_here.ask(device_id, delivery="edgeAgent")
        await _until(deployed_here, device_id, State.BLOCKED, Reason.EDGE_CREDENTIALS_MALFORMED)
        reported = stack.hub.module_twin(device_id, EDGE_AGENT).reported
        await eventually(
            lambda: _code(stack, device_id) == 400, f"edgeAgent reports {reported.values}"
        )
        deploy(
            stack, device_id, {"runtime": {"settings": {"registryCredentials": {"theirs": None}}}}
        )
        await _until(deployed_here, device_id, State.READY)
        assert _code(stack, device_id) == 200


def _code(stack: Stack, device_id: str) -> object:
    reported: Any = stack.hub.module_twin(device_id, EDGE_AGENT).reported.values
    return reported.get("lastDesiredStatus", {}).get("code")
