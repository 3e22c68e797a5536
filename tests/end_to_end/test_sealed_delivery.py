"""Sealed deliveries with the agent: what its twin's reader gets, and what the device refuses."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firstpull.intake.requests import read_request
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.password_slots import SYNC_MARGIN
from local_azure.stack import Stack

from .actions import patch_desired
from .agents import Agent, agent_with_key
from .cloud import entry_of, eventually, secret_versions, site_of
from .deployments import Deployment, deployed

PLANT = "plant28"
type Entry = dict[str, Any]


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "sealing", PLANT) as deployment:
        yield deployment


async def key_of(agent: Agent, *options: str) -> dict[str, Any]:
    """What `firstpull-agent key` prints on the device."""
    state = ("--state-dir", str(agent.folder / "state"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firstpull_agent", "key", *state, *options),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    key: dict[str, Any] = json.loads(printed)
    return key


async def ask(deployment: Deployment, agent: Agent, key: dict[str, Any]) -> DeviceRecord:
    """Request the device with a key; returns its record when the twin has the delivery."""
    request = read_request(
        json.dumps(
            {
                "deviceId": agent.device_id,
                "connectedRegistry": PLANT,
                "repositories": ["hello-world"],
                "sealingKey": key,
            }
        ).encode()
    )
    deployment.firstpull.clock.keep_azures_time()  # a seal's time is the worker's
    await deployment.application.onboarding.ask(request, requested_by="a test")
    return await deployment.come_to_rest(agent.device_id)


async def logs_in(deployment: Deployment, agent: Agent) -> None:
    site_of(deployment.stack, PLANT).backend.sync()
    await agent.reports(PLANT, "LoggedIn")
    record = await deployment.come_to_rest(agent.device_id)
    assert record.status.condition.state is State.READY, record.status.condition


def put_entry(deployment: Deployment, agent: Agent, entry: Entry) -> None:
    """Write an entry into the twin as somebody else could, in place of the one that is there."""
    before = entry_of(deployment.stack, agent.device_id, PLANT)
    replaced: Entry = dict.fromkeys(before) | entry
    patch_desired(
        deployment.stack,
        agent.device_id,
        {"firstpull": {"registryCredentials": {PLANT: replaced}}},
    )


async def refuses(agent: Agent, reason: str) -> None:
    await eventually(
        lambda: agent.report(PLANT).get("reason") == reason, f"no {reason}: {agent.report(PLANT)}"
    )


async def test_the_device_alone_opens_its_password_from_onboarding_to_a_new_key(
    deployment: Deployment, tmp_path: Path, ca_file: Path
) -> None:
    stack = deployment.stack
    agent = agent_with_key(stack, ca_file, tmp_path, "sealed-1")
    agent.options.append("--require-sealed")
    async with agent.running():
        await ask(deployment, agent, await key_of(agent))
        await logs_in(deployment, agent)
        first = entry_of(stack, agent.device_id, PLANT)
        assert "password" not in first
        assert len(first["sealed"]) < 4096
        assert (await agent.pull("hello-world", PLANT))[0] == 0
        await deployment.check_that_nothing_is_left_to_do(agent.device_id)

        deployment.firstpull.clock.keep_azures_time()
        device = deployment.firstpull.device(agent.device_id)
        await deployment.application.rotating.rotate(
            device, immediately=False, requested_by="a test"
        )
        await deployment.come_to_rest(agent.device_id)
        stack.kernel.clock.advance(2 * SYNC_MARGIN)  # a sync right after it may lack the password
        site_of(stack, PLANT).backend.sync()
        deployment.firstpull.clock.keep_azures_time()
        await deployment.come_to_rest(agent.device_id)
        await logs_in(deployment, agent)
        rotated = entry_of(stack, agent.device_id, PLANT)
        assert rotated["expiresOn"] != first["expiresOn"]
        assert (await agent.pull("hello-world", PLANT))[0] == 0

        record = await deployment.firstpull.record(agent.device_id)
        assert record.status.grant is not None
        secret = record.status.grant.names.secret
        versions = [version.version for version in secret_versions(stack, secret)]
        other = await key_of(agent, "--replace")
        await ask(deployment, agent, other)
        await logs_in(deployment, agent)
        sealed_anew = entry_of(stack, agent.device_id, PLANT)
        assert sealed_anew["sealedTo"] == other["kid"] != rotated["sealedTo"]
        assert sealed_anew["expiresOn"] == rotated["expiresOn"]
        assert [version.version for version in secret_versions(stack, secret)] == versions
        assert (await agent.pull("hello-world", PLANT))[0] == 0

        put_entry(deployment, agent, first)  # an old entry, as it was
        await refuses(agent, "SealNotAccepted")
        assert (await agent.pull("hello-world", PLANT))[0] == 0
        await deployment.come_to_rest(agent.device_id)  # recognises it, and delivers again
        await agent.reports(PLANT, "LoggedIn")
        await deployment.revoke(agent.device_id)
        await agent.reports_nothing(PLANT)


@pytest.mark.slow
async def test_another_devices_entry_and_a_plain_one_are_refused(
    deployment: Deployment, tmp_path: Path, ca_file: Path
) -> None:
    stack, agents = deployment.stack, list[Agent]()
    for name in ("sealed-2", "sealed-3"):
        folder = tmp_path / name
        folder.mkdir()
        agents.append(agent_with_key(stack, ca_file, folder, name))
    mine, other = agents
    key = await key_of(mine)
    # The same key on both, as of a copied disk: only the header tells them apart.
    await key_of(other)
    keys = "state/sealing-keys.json"
    (other.folder / keys).write_bytes((mine.folder / keys).read_bytes())
    mine.options.append("--require-sealed")
    await ask(deployment, other, key)
    async with mine.running():
        await ask(deployment, mine, key)
        await logs_in(deployment, mine)

        put_entry(deployment, mine, entry_of(stack, other.device_id, PLANT))
        await refuses(mine, "SealNotAccepted")

        entry = entry_of(stack, mine.device_id, PLANT)
        plain = {"password": "in-plain", "deliveryId": "1", "sealed": None, "sealedTo": None}
        put_entry(deployment, mine, entry | plain)
        await refuses(mine, "PlainNotAccepted")
        assert (await mine.pull("hello-world", PLANT))[0] == 0
    for agent in agents:
        await deployment.revoke(agent.device_id)
