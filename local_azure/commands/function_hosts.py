"""The hosts of a function app: processes on one storage account, as Azure scales out."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from local_azure.commands.processes import OnLine, kill_with_children, running
from local_azure.kernel.clock import Clock
from local_azure.kernel.clock_pipe import ClockPipe

APP_FOLDER = Path(__file__).parents[2]
_START_SECONDS = 60.0
_PAUSE_SECONDS = 2.0


class AppNotStarted(Exception):
    """The function app did not start; its output has the reason."""


@dataclass(eq=False)
class Host:
    """A host. `url`: plain HTTP, without a slash at the end; the same after a restart."""

    number: int
    url: str = ""
    process: asyncio.subprocess.Process | None = None
    serves: bool = False
    restarts: int = 0
    last_exit: str | None = None
    first_start: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def port(self) -> int:
        """The port, 0 before the first start."""
        return urlsplit(self.url).port or 0

    def kill(self) -> None:
        """End the host and its worker without grace, as when their machine is lost."""
        if self.process is not None:
            kill_with_children(self.process)


class FunctionHosts:
    """Runs hosts. Each follows the stack's clock.

    With `on_change`, a host that dies is started again, and `on_change` gets a line that says so.
    """

    def __init__(
        self,
        *,
        address: str,
        app_folder: Path,
        environment: Mapping[str, str],
        clock: Clock,
        on_line: OnLine,
        on_change: OnLine | None = None,
    ) -> None:
        self._address = address
        self._app_folder = app_folder
        self._environment = {**environment, "PYTHONPATH": str(APP_FOLDER)}
        self._clock = clock
        self._on_line = on_line
        self._on_change = on_change
        self._hosts: dict[Host, asyncio.Task[None]] = {}
        self._scaling = asyncio.Lock()

    def all(self) -> tuple[Host, ...]:
        """The hosts in the order of their numbers, which begin at 1."""
        return tuple(self._hosts)

    async def scale_to(self, count: int) -> None:
        """Start more hosts, or end the last ones. Raises AppNotStarted."""
        async with self._scaling:
            hosts = self.all()
            await self._end(hosts[count:])
            added = tuple(Host(number) for number in range(len(hosts) + 1, count + 1))
            for host in added:
                self._hosts[host] = asyncio.create_task(self._keep_running(host))
            try:
                await asyncio.gather(*(host.first_start for host in added))
            except AppNotStarted:
                await self._end(added)
                raise

    async def aclose(self) -> None:
        """End all hosts."""
        await self._end(self.all())

    async def _end(self, hosts: tuple[Host, ...]) -> None:
        tasks = [self._hosts.pop(host) for host in hosts]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_running(self, host: Host) -> None:
        await self._run(host)
        if not host.url:
            error = AppNotStarted("The function app did not start; its output has the reason.")
            host.first_start.set_exception(error)
            return
        while self._on_change is not None:
            host.restarts += 1
            self._on_change(
                f"functions host {host.number} died ({host.last_exit}) and is started again"
            )
            if not await self._run(host):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _run(self, host: Host) -> bool:
        """Run the process to its end; whether it served."""
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        pipe = ClockPipe()

        def watch(line: str) -> None:
            if not listening.done() and line.startswith('{"listening"'):
                listening.set_result(json.loads(line)["listening"].rstrip("/"))
            elif not pipe.takes(line):
                self._on_line(line)

        async with running(
            *(sys.executable, "-m", "local_azure.functions_host", "--follow-clock"),
            *("--app-dir", str(self._app_folder)),
            *("--host", self._address, "--port", str(host.port)),
            environment=self._environment,
            on_line=watch,
            has_input=True,
            end_signal=signal.SIGINT,
        ) as process:
            host.process = process
            try:
                with pipe.following(self._clock, process):
                    await self._wait_for_end(host, process, listening)
            finally:
                host.process, host.serves = None, False
        return listening.done()

    async def _wait_for_end(
        self, host: Host, process: asyncio.subprocess.Process, listening: asyncio.Future[str]
    ) -> None:
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait(
                (listening, ended), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if listening.done():
                self._note_that_it_serves(host, listening.result())
                await ended
        finally:
            ended.cancel()
        host.last_exit = _exit(process.returncode)

    def _note_that_it_serves(self, host: Host, url: str) -> None:
        host.url, host.serves = url, True
        if not host.first_start.done():
            host.first_start.set_result(None)
        elif self._on_change is not None:
            self._on_change(f"functions host {host.number} serves again at {url}")


def _exit(code: int | None) -> str:
    if code is None:
        return f"not ready after {_START_SECONDS:g} s"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
