"""The worker dies while devices are being onboarded, and the host goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from local_azure.commands.function_app import ScalableApp
from local_azure.stack import Stack

from .api import Api, running_app
from .cloud import entry_of, eventually, register

PLANT = "plant30"
_WORKER = b"functions_host.python_worker"


def _host(api: Api) -> asyncio.subprocess.Process:
    assert isinstance(api.app, ScalableApp)
    (host,) = api.app.hosts.all()
    assert host.process is not None
    return host.process


def _worker(host: asyncio.subprocess.Process) -> int:
    """The process id of the host's worker."""
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    (worker,) = (c for c in children if _WORKER in Path(f"/proc/{c}/cmdline").read_bytes())
    return int(worker)


@pytest.mark.slow
async def test_devices_whose_worker_is_killed_are_all_delivered(
    stack: Stack, ca_file: Path
) -> None:
    devices = [f"worker-killed-{number:02}" for number in range(20)]
    register(stack, *devices)
    async with running_app(stack, ca_file) as api:
        await asyncio.gather(*(api.onboard(device, PLANT) for device in devices))
        host = _host(api)
        worker = _worker(host)
        await eventually(lambda: any("token.created" in line for line in api.lines))
        os.kill(worker, signal.SIGKILL)
        assert not all(entry_of(stack, device, PLANT) for device in devices)
        await eventually(lambda: all(entry_of(stack, device, PLANT) for device in devices))
        assert host.returncode is None
        assert _host(api) is host
        assert _worker(host) != worker


async def test_an_app_that_is_stopped_is_drained_and_not_killed(
    stack: Stack, ca_file: Path
) -> None:
    async with running_app(stack, ca_file) as api:
        host = _host(api)
    assert host.returncode == 0
