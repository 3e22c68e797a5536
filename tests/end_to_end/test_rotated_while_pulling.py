"""A device that pulls all the time is rotated, and no pull is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_record import State
from firstpull.model.password_slots import SYNC_MARGIN
from local_azure.stack import Stack
from tests.firstpull.records import grant_of

from .agents import Agent, agent_with_key
from .cloud import entry_of, eventually, pull_answers, site_of
from .deployments import Deployment, deployed

PLANT = "plant09"


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "rotated", PLANT) as deployment:
        yield deployment


@asynccontextmanager
async def _pulling(agent: Agent) -> AsyncIterator[list[tuple[int, str]]]:
    """Pull without a pause; yields the exit codes so far, each with the last line."""
    pulls, is_over = list[tuple[int, str]](), asyncio.Event()

    async def pull() -> None:
        while not is_over.is_set():
            pulls.append(await agent.pull("hello-world", PLANT))

    task = asyncio.create_task(pull())
    try:
        yield pulls
    finally:
        is_over.set()
        await task


@pytest.mark.parametrize(
    "rotations",
    [2, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
    ids=["twice", "ten times"],
)
async def test_a_device_that_pulls_all_the_time_is_rotated_and_never_refused(
    deployment: Deployment, stack: Stack, ca_file: Path, tmp_path: Path, rotations: int
) -> None:
    agent = agent_with_key(stack, ca_file, tmp_path, f"rotated-{rotations}-times")
    async with agent.running():
        await deployment.ask(agent.device_id)
        await deployment.come_to_rest(agent.device_id)
        site_of(stack, PLANT).backend.sync()
        await agent.reports(PLANT, "LoggedIn")
        await deployment.come_to_rest(agent.device_id)
        slots, used = [await _only_slot(deployment, agent)], list[str]()
        async with _pulling(agent) as pulls:
            for _ in range(rotations):
                before = entry_of(stack, agent.device_id, PLANT)
                await _rotate(deployment, agent)
                slots.append(await _only_slot(deployment, agent))
                used.append(before["password"])
                site_of(stack, PLANT).backend.sync()
                assert await pull_answers(stack, before) == 401
                # One pull began before the old password ended, one began after.
                await eventually(partial(_has_pulled, pulls, len(pulls) + 2))
    assert [(code, line) for code, line in pulls if code] == []
    assert len(set(used)) == rotations
    assert slots == [(Slot.ONE, Slot.TWO)[number % 2] for number in range(rotations + 1)]


def _has_pulled(pulls: Sized, times: int) -> bool:
    return len(pulls) >= times


async def _rotate(deployment: Deployment, agent: Agent) -> None:
    """Ask for a rotation, and let site, worker and device take their turns until it is done."""
    firstpull = deployment.firstpull
    firstpull.clock.keep_azures_time()
    device = firstpull.device(agent.device_id)
    await deployment.application.rotating.rotate(device, immediately=False, requested_by="a test")
    waiting = await deployment.come_to_rest(agent.device_id)
    assert waiting.status.condition.state is State.WAITING, waiting.status.condition
    deployment.stack.kernel.clock.advance(SYNC_MARGIN)
    site_of(deployment.stack, PLANT).backend.sync()
    await deployment.come_to_rest(agent.device_id)
    await agent.reports(PLANT, "LoggedIn")
    ready = await deployment.come_to_rest(agent.device_id)
    assert ready.status.condition.state is State.READY, ready.status.condition
    assert ready.spec.rotation is None


async def _only_slot(deployment: Deployment, agent: Agent) -> Slot:
    """The slot of the one password that Azure Resource Manager shows of the device's token."""
    record = await deployment.firstpull.record(agent.device_id)
    token_id = grant_of(record).token_id
    registries = deployment.application.ports.registries
    token = await registries.get_token(token_id.registry, token_id.name)
    assert token is not None
    (password,) = token.passwords
    return password.slot
