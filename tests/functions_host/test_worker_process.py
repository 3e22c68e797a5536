"""The worker is a process of its own: what its end, and the host's, mean for what runs in it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue.aio import QueueClient

from .hosts import RunningHost, Storage, host_running

MASTER = {"x-functions-key": "key-of-the-master"}


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def host(storage: Storage) -> AsyncIterator[RunningHost]:
    async with host_running("processes", storage.settings) as running:
        yield running


@pytest.fixture
async def shifts(storage: Storage) -> AsyncIterator[QueueClient]:
    async with storage.queues() as service:
        queue = service.get_queue_client("shifts")
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.clear_messages()
        yield queue


async def call(client: aiohttp.ClientSession, host: RunningHost, path: str) -> tuple[int, str]:
    async with client.get(host.url(f"/api/{path}")) as response:
        return response.status, await response.text()


async def waiting(
    client: aiohttp.ClientSession, host: RunningHost, *, file: Path
) -> asyncio.Task[tuple[int, str]]:
    """A call that is under way until a file is there."""
    task = asyncio.create_task(call(client, host, f"waits?file={file}"))
    await host.tells("wait began")
    return task


async def test_a_worker_that_dies_fails_what_runs_in_it_and_a_new_one_serves(
    host: RunningHost, client: aiohttp.ClientSession, shifts: QueueClient, tmp_path: Path
) -> None:
    _, first = await call(client, host, "pid")
    beside = await waiting(client, host, file=tmp_path / "never")
    await shifts.send_message("hang beside")
    await host.tells("hang beside 1")
    assert await call(client, host, "die") == (500, "")
    assert await beside == (500, "")
    status, second = await call(client, host, "pid")
    assert (status, second != first) == (200, True)
    await host.tells("hang beside 2")
    code, log = await host.end()
    assert code == 0
    assert "the worker process ended (exit code 3); a new one is started" in log


async def test_a_function_beyond_its_timeout_ends_the_worker_with_all_that_runs_in_it(
    storage: Storage, client: aiohttp.ClientSession, shifts: QueueClient, tmp_path: Path
) -> None:
    settings = storage.settings | {"AzureFunctionsJobHost__functionTimeout": "00:00:03"}
    async with host_running("processes", settings) as host:
        _, first = await call(client, host, "pid")
        await shifts.send_message("hang on")
        await host.tells("hang on 1")
        beside = await waiting(client, host, file=tmp_path / "never")
        assert await beside == (500, "")
        await host.tells("hang on 2")
        assert (await call(client, host, "pid"))[1] != first
        _, log = await host.end()
    assert "shift failed: it ran longer than functionTimeout, 3 s" in log


async def test_a_drained_host_ends_what_runs_and_takes_no_message_but_serves_http(
    host: RunningHost, client: aiohttp.ClientSession, shifts: QueueClient, tmp_path: Path
) -> None:
    async def state() -> tuple[str, int]:
        async with client.get(host.url("/admin/host/drain/status"), headers=MASTER) as response:
            status = json.loads(await response.text())
            return status["state"], status["outstandingInvocations"]

    assert await state() == ("Disabled", 0)
    running = await waiting(client, host, file=tmp_path / "go")
    async with client.post(host.url("/admin/host/drain"), headers=MASTER) as response:
        assert response.status == 202
    assert await state() == ("InProgress", 1)
    (tmp_path / "go").touch()
    assert await running == (200, "done")
    assert await state() == ("Completed", 0)
    await shifts.send_message("too late")
    assert (await call(client, host, "pid"))[0] == 200
    (left,) = await shifts.peek_messages()
    assert left.dequeue_count == 0


async def test_sigterm_does_nothing_and_sigint_ends_the_host_after_what_runs(
    host: RunningHost, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    host.process.send_signal(signal.SIGTERM)
    running = await waiting(client, host, file=tmp_path / "go")
    assert (await call(client, host, "pid"))[0] == 200
    host.process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    code, log = await host.end()
    assert (code, await running) == (0, (200, "done"))
    assert "SIGTERM does nothing" in log


async def test_a_worker_outlives_a_killed_host_until_what_runs_has_ended(
    host: RunningHost, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    running = await waiting(client, host, file=tmp_path / "go")
    host.process.kill()
    with pytest.raises(aiohttp.ClientError):
        await running
    (tmp_path / "go").touch()
    output, _ = await host.process.communicate()
    assert output == b"wait ended\n"
