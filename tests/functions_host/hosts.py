from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_azure.azurite import AzuriteEndpoints

APPS = Path(__file__).parent / "apps"
KEYS = {
    "LOCAL_FUNCTIONS_KEY": "key-of-functions",
    "LOCAL_FUNCTIONS_SYSTEM_KEY": "key-of-the-system",
    "LOCAL_FUNCTIONS_MASTER_KEY": "key-of-the-master",
}


@dataclass(frozen=True)
class Storage:
    """The session's Azurite and what a client of it has to trust."""

    endpoints: AzuriteEndpoints
    ca_file: str

    @property
    def settings(self) -> dict[str, str]:
        """The app settings of a host that keeps its own state here."""
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
    ready: dict[str, Any]

    def url(self, path: str) -> str:
        return f"{self.ready['listening']}{path}"

    async def end(self) -> tuple[int, str]:
        """The exit code after SIGTERM, and what stood in the log."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        _, log = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, log.decode()


async def spawn_host(
    app: str, settings: dict[str, str], *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_azure.functions_host", "--port", "0"),
        *("--app-dir", str(APPS / app), *arguments),
        env=os.environ | KEYS | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def start_host(app: str, settings: dict[str, str], *arguments: str) -> RunningHost:
    process = await spawn_host(app, settings, *arguments)
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        _, log = await process.communicate()
        raise AssertionError(f"the host did not start: {log.decode()}")
    return RunningHost(process, json.loads(line))


@asynccontextmanager
async def host_running(
    app: str, settings: dict[str, str], *arguments: str
) -> AsyncIterator[RunningHost]:
    host = await start_host(app, settings, *arguments)
    try:
        yield host
    finally:
        if host.process.returncode is None:
            host.process.kill()
        await host.process.communicate()


async def take(queue: QueueClient, *, decoded: bool = True) -> str:
    """The next message, waited for, and removed."""
    for _ in range(500):
        try:
            message = await queue.receive_message()
        except ResourceNotFoundError:
            message = None
        if message is not None:
            await queue.delete_message(message)
            return base64.b64decode(message.content).decode() if decoded else message.content
        await asyncio.sleep(0.02)
    pytest.fail(f"nothing came to {queue.queue_name}")
