"""Container engines and the agent at a connected registry, with the twin's entry alone."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from firstpull.model.device_record import State
from firstpull.model.password_slots import SYNC_MARGIN
from local_azure.stack import ConnectedRegistryOptions, Stack

from .agents import Agent, agent_with_certificate, agent_with_key
from .cloud import (
    Entry,
    clients_of,
    cloud_answers,
    entry_of,
    pull_answers,
    register,
    site_answers,
    site_of,
)
from .deployments import Deployment, deployed
from .engines import Engine, docker, podman, skopeo

PLANT, IN_THE_CLEAR = "plant05", "plantclear"
NOT_LOGGED_IN = ("unauthorized", "invalid username/password")

Start = Callable[[Entry, Path], AbstractAsyncContextManager[Engine]]


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    options = ConnectedRegistryOptions(name=IN_THE_CLEAR, insecure=True, sync_every_seconds=3600)
    await stack.sites.deploy(options)
    async with deployed(stack, "pulls", PLANT, IN_THE_CLEAR) as deployment:
        yield deployment


@pytest.fixture
def folder() -> Iterator[Path]:
    """Sockets and podman need shorter paths than pytest's."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        yield Path(folder)


async def _onboard(deployment: Deployment, device_id: str) -> Entry:
    """The entry in the twin."""
    register(deployment.stack, device_id)
    await deployment.ask(device_id)
    await deployment.come_to_rest(device_id)
    return entry_of(deployment.stack, device_id, deployment.plant)


async def _onboard_and_sync(deployment: Deployment, device_id: str) -> Entry:
    entry = await _onboard(deployment, device_id)
    site_of(deployment.stack, deployment.plant).backend.sync()
    return entry


def _digest_at(stack: Stack, plant: str, repository: str) -> str:
    return site_of(stack, plant).backend.repositories()[repository]["latest"].digest


async def test_a_site_takes_a_device_after_its_sync_and_for_its_repositories_only(
    deployment: Deployment, stack: Stack
) -> None:
    entry = await _onboard(deployment, "before-sync")
    assert await cloud_answers(stack, entry["username"], entry["password"]) == 200
    assert await pull_answers(stack, entry) == 401

    site_of(stack, PLANT).backend.sync()
    assert await pull_answers(stack, entry) == 200
    assert await pull_answers(stack, entry, "sensor-gateway") == 401
    other = await _onboard_and_sync(deployment, "another-device")
    assert await site_answers(stack, PLANT, entry["username"], other["password"]) == 401


@pytest.mark.parametrize("start", [docker, podman, skopeo])
async def test_an_engine_pulls_what_the_device_was_granted_and_nothing_else(
    deployment: Deployment, stack: Stack, folder: Path, start: Start
) -> None:
    entry = await _onboard_and_sync(deployment, f"engine-{start.__name__}")
    async with start(entry, folder) as engine:
        assert not (await engine.pull("hello-world")).succeeded, "it has not logged in"
        refused = await engine.log_in("wrong")
        assert refused.refused(*NOT_LOGGED_IN), refused.output

        answer = await engine.log_in()
        assert answer.succeeded, answer.output
        pulled = await engine.pull("hello-world")
        assert pulled.succeeded, pulled.output
        assert await engine.digest_of("hello-world") == _digest_at(stack, PLANT, "hello-world")

        refused = await engine.pull("sensor-gateway")
        assert refused.refused("denied"), refused.output
        refused = await engine.push("hello-world")
        assert refused.refused("denied: This operation is not allowed"), refused.output


@pytest.mark.parametrize("start", [pytest.param(podman, marks=pytest.mark.slow), skopeo])
async def test_an_engine_trusts_the_site_only_by_the_ca_in_the_entry(
    deployment: Deployment, folder: Path, start: Start
) -> None:
    entry = await _onboard_and_sync(deployment, f"without-ca-{start.__name__}")
    without_ca = {name: value for name, value in entry.items() if name != "ca"}
    async with start(without_ca, folder) as engine:
        answer = await engine.log_in()
    assert answer.refused("certificate signed by unknown authority"), answer.output


async def test_skopeo_pulls_in_the_clear_where_the_entry_says_insecure(
    deployment: Deployment, folder: Path
) -> None:
    entry = await _onboard_and_sync(deployment.at(IN_THE_CLEAR), "in-the-clear")
    assert (entry["insecure"], "ca" in entry) == (True, False)
    async with skopeo(entry, folder) as engine:
        assert (await engine.log_in()).succeeded
        pulled = await engine.pull("hello-world")
        assert pulled.succeeded, pulled.output
    async with skopeo({**entry, "insecure": False}, folder) as engine:
        answer = await engine.log_in()
    assert answer.refused("server gave HTTP response to HTTPS client"), answer.output


@pytest.mark.parametrize(
    "make_agent", [agent_with_key, pytest.param(agent_with_certificate, marks=pytest.mark.slow)]
)
async def test_the_agent_follows_its_device_from_the_first_login_to_the_revoke(
    deployment: Deployment,
    stack: Stack,
    ca_file: Path,
    tmp_path: Path,
    make_agent: Callable[[Stack, Path, Path, str], Agent],
) -> None:
    agent, site = make_agent(stack, ca_file, tmp_path, make_agent.__name__), site_of(stack, PLANT)
    async with agent.running() as lines:
        await deployment.ask(agent.device_id)
        await deployment.come_to_rest(agent.device_id)
        await agent.reports(PLANT, "Failed")
        assert agent.report(PLANT)["reason"] == "CredentialsNotAccepted"

        site.backend.sync()
        await agent.reports(PLANT, "LoggedIn")
        ready = await deployment.come_to_rest(agent.device_id)
        assert ready.status.condition.state is State.READY
        code, digest = await agent.pull("hello-world", PLANT)
        assert code == 0, digest
        assert digest == f"hello-world@{_digest_at(stack, PLANT, 'hello-world')}"

        before = entry_of(stack, agent.device_id, PLANT)
        await _rotate(deployment, agent.device_id)
        await agent.reports(PLANT, "LoggedIn")
        after = entry_of(stack, agent.device_id, PLANT)
        assert after["password"] != before["password"]
        await deployment.come_to_rest(agent.device_id)
        site.backend.sync()
        assert await pull_answers(stack, before) == 401
        assert (await agent.pull("hello-world", PLANT))[0] == 0

        await deployment.revoke(agent.device_id)
        await agent.reports_nothing(PLANT)
    assert before["username"] not in clients_of(stack, PLANT)
    for password in (before["password"], after["password"]):
        assert not [line for line in lines if password in line]


async def _rotate(deployment: Deployment, device_id: str) -> None:
    """The new password is delivered once the site has synced; the old one works until then."""
    firstpull = deployment.firstpull
    firstpull.clock.keep_azures_time()
    device = firstpull.device(device_id)
    await deployment.application.rotating.rotate(device, immediately=False, requested_by="a test")
    waiting = await deployment.come_to_rest(device_id)
    assert waiting.status.condition.state is State.WAITING, waiting.status.condition
    assert await pull_answers(deployment.stack, entry_of(deployment.stack, device_id, PLANT)) == 200
    deployment.stack.kernel.clock.advance(SYNC_MARGIN)
    site_of(deployment.stack, PLANT).backend.sync()
    await deployment.come_to_rest(device_id)
