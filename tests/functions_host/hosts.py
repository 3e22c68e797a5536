from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure.azurite import AzuriteEndpoints

APPS = Path(__file__).parent / "apps"
KEYS = {
    "LOCAL_FUNCTIONS_KEY": "key-of-functions",
    "LOCAL_FUNCTIONS_SYSTEM_KEY": "key-of-the-system",
    "LOCAL_FUNCTIONS_MASTER_KEY": "key-of-the-master",
}


@dataclass(frozen=True)
class Storage:
    """The session's Azurite, and the authority that its clients have to trust."""

    endpoints: AzuriteEndpoints
    ca_file: str

    @property
    def settings(self) -> dict[str, str]:
        """The app settings of a host that keeps its state here."""
        return {
            "AzureWebJobsStorage": self.endpoints.connection_string,
            "SSL_CERT_FILE": self.ca_file,
        }

    def queues(self) -> QueueServiceClient:
        return QueueServiceClient.from_connection_string(
            self.endpoints.connection_string, connection_verify=self.ca_file
        )

    def blobs(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(
            self.endpoints.connection_string, connection_verify=self.ca_file
        )


@dataclass
class RunningHost:
    """A functions host in a process of its own."""

    process: asyncio.subprocess.Process
    address: str

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    async def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """The JSON that a GET answers."""
        async with aiohttp.ClientSession() as client, client.get(self.url(path)) as response:
            return json.loads(await response.text())

    async def tells(self, line: str) -> None:
        """Wait until the app prints a line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while (printed := await self.process.stdout.readline()) != f"{line}\n".encode():
                assert printed, f"the host has ended, and nothing told {line}"

    async def end(self) -> tuple[int, str]:
        """The exit code after SIGINT, and the log."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        _, log = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, log.decode()


async def spawn_host(
    folder: Path, settings: dict[str, str], *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_azure.functions_host", "--port", "0"),
        *("--app-dir", str(folder), *arguments),
        env=os.environ | KEYS | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # to end the worker with it
    )


@asynccontextmanager
async def host_running(
    app: str, settings: dict[str, str], *arguments: str
) -> AsyncIterator[RunningHost]:
    process = await spawn_host(APPS / app, settings, *arguments)
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            _, log = await process.communicate()
            raise AssertionError(f"the host did not start: {log.decode()}")
        yield RunningHost(process, json.loads(line)["listening"])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)
