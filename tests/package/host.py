"""A host process that finds the app in the package only, and dependencies there first.

The host's own dependencies come from the tests' environment, after the package's. Another test
loads the app without them.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

import local_azure
from local_azure.commands.function_app import FunctionApp, app_settings, fleet_page
from local_azure.commands.processes import inherited, running
from local_azure.kernel.clock_pipe import ClockPipe
from local_azure.stack import Stack
from tests.end_to_end.api import Api
from tests.end_to_end.cloud import forget_devices
from tools.package import SITE_PACKAGES


@asynccontextmanager
async def packaged_app(
    stack: Stack, ca_file: Path, *, package: Path, empty: Path
) -> AsyncIterator[Api]:
    """The app of an unpacked package. `empty` is a folder that is to hold nothing but the host."""
    # On a path of its own: next to it in the checkout the host would find the checkout's app.
    (empty / "local_azure").symlink_to(Path(local_azure.__file__).parent)
    lines: list[str] = []
    ready = asyncio.get_running_loop().create_future()

    pipe = ClockPipe()

    def watch(line: str) -> None:
        if pipe.takes(line):
            return
        lines.append(line)
        if line.startswith('{"listening"'):
            ready.set_result(json.loads(line)["listening"].rstrip("/"))

    key, master_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    environment = {
        **inherited("PATH", "HOME", "LANG", "TMPDIR"),
        **stack.identity_environment(ca_file=str(ca_file)),
        **app_settings(stack),
        **fleet_page(key, "Operator", "MassRevokeApprover"),
        "LOCAL_FUNCTIONS_KEY": key,
        "LOCAL_FUNCTIONS_MASTER_KEY": master_key,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join((str(package / SITE_PACKAGES), str(empty))),
    }
    # Other tests of the session have moved the stack's clock, and with it the storage's.
    async with running(
        *(sys.executable, "-P", "-m", "local_azure.functions_host", "--follow-clock"),
        *("--app-dir", str(package), "--host", stack.address, "--port", "0"),
        environment=environment,
        on_line=watch,
        has_input=True,
        end_signal=signal.SIGINT,
    ) as process:
        with pipe.following(stack.kernel.clock, process):
            ended = asyncio.create_task(process.wait())
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            assert ready.done(), "\n".join(lines)
            app = FunctionApp(
                urls=(ready.result(),), key=key, master_key=master_key, environment=environment
            )
            async with aiohttp.ClientSession() as session:
                yield Api(app, session, lines)
    await forget_devices(stack)
