"""Real container engines at a connected registry, with what the twin holds and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from local_azure.container_registry.backends import SyncOverride
from local_azure.stack import ConnectedRegistryOptions, Stack

from .api import Api, running_app
from .cloud import Entry, entry_of, register, site_of
from .engines import Engine, docker, podman, skopeo

PLANT, IN_THE_CLEAR = "plant23", "plantclear"
NOT_LOGGED_IN = ("unauthorized", "invalid username/password")

Start = Callable[[Entry, Path], AbstractAsyncContextManager[Engine]]


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path) -> AsyncIterator[Api]:
    site = await stack.sites.deploy(ConnectedRegistryOptions(name=IN_THE_CLEAR, insecure=True))
    site.backend.override = SyncOverride(every_seconds=None)
    async with running_app(stack, ca_file) as api:
        yield api


@pytest.fixture(scope="module", params=[docker, podman, skopeo])
async def engine(request: pytest.FixtureRequest, api: Api, stack: Stack) -> AsyncIterator[Engine]:
    start: Start = request.param
    entry = await _onboard(api, stack, f"engine-{start.__name__}", PLANT)
    # Sockets and podman want shorter paths than pytest's.
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        async with start(entry, Path(folder)) as engine:
            yield engine


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        yield Path(folder)


async def test_an_engine_logs_in_and_pulls_what_the_device_was_given(
    engine: Engine, stack: Stack
) -> None:
    assert not (await engine.pull("hello-world")).succeeded

    await _log_in(engine)
    pulled = await engine.pull("hello-world")
    assert pulled.succeeded, pulled.output
    assert await engine.digest_of("hello-world") == _digest_at(stack, PLANT, "hello-world")


async def test_an_engine_is_refused_another_repository(engine: Engine, stack: Stack) -> None:
    assert _digest_at(stack, PLANT, "sensor-gateway")

    await _log_in(engine)
    pulled = await engine.pull("sensor-gateway")
    assert pulled.refused("denied"), pulled.output


async def test_an_engine_is_refused_a_push(engine: Engine) -> None:
    await _log_in(engine)
    assert (await engine.pull("hello-world")).succeeded

    pushed = await engine.push("hello-world")
    assert pushed.refused("denied: This operation is not allowed on this registry."), pushed.output


async def test_an_engine_is_refused_a_login_with_a_wrong_password(engine: Engine) -> None:
    refused = await engine.log_in("wrong")
    assert refused.refused(*NOT_LOGGED_IN), refused.output


@pytest.mark.parametrize("start", [podman, skopeo])
async def test_an_engine_does_not_know_the_site_without_the_ca_in_the_entry(
    api: Api, stack: Stack, folder: Path, start: Start
) -> None:
    entry = await _onboard(api, stack, f"without-ca-{start.__name__}", PLANT)
    without_ca = {name: value for name, value in entry.items() if name != "ca"}
    async with start(without_ca, folder) as engine:
        answer = await engine.log_in()
    assert answer.refused("certificate signed by unknown authority"), answer.output


async def test_skopeo_pulls_in_the_clear_where_the_entry_says_insecure(
    api: Api, stack: Stack, folder: Path
) -> None:
    entry = await _onboard(api, stack, "in-the-clear", IN_THE_CLEAR)
    assert (entry["insecure"], "ca" in entry) == (True, False)

    async with skopeo(entry, folder) as engine:
        await _log_in(engine)
        pulled = await engine.pull("hello-world")
        assert pulled.succeeded, pulled.output
        digest = await engine.digest_of("hello-world")
    assert digest == _digest_at(stack, IN_THE_CLEAR, "hello-world")

    async with skopeo({**entry, "insecure": False}, folder) as engine:
        answer = await engine.log_in()
    assert answer.refused("server gave HTTP response to HTTPS client"), answer.output


async def _onboard(api: Api, stack: Stack, device_id: str, plant: str) -> Entry:
    """The entry in the twin once the connected registry knows the device."""
    register(stack, device_id)
    answer = await api.onboard(device_id, plant, wait=20)
    assert answer.status == 200, answer.text
    site_of(stack, plant).backend.sync()
    return entry_of(stack, device_id, plant)


async def _log_in(engine: Engine) -> None:
    answer = await engine.log_in()
    assert answer.succeeded, answer.output


def _digest_at(stack: Stack, plant: str, repository: str) -> str:
    return site_of(stack, plant).backend.repositories()[repository]["latest"].digest
