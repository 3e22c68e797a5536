"""The demo's device: the device agent as a process, with its own folder."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local_azure.commands.processes import OnLine, inherited, running

_PULLS = re.compile(r"INFO (\w+) pulls ")


def in_a_cluster(kubeconfig: Path, namespaces: tuple[str, ...]) -> tuple[str, ...]:
    """The options of an agent in a cluster, for these namespaces and their service accounts."""
    return (
        *("--engine", "kubernetes", "--kubeconfig", str(kubeconfig)),
        *("--namespaces", ",".join(namespaces), "--service-accounts", "default"),
    )


@dataclass(frozen=True)
class Ran:
    """The result of a command of the agent, with stripped texts."""

    code: int
    output: str
    errors: str

    @property
    def engine(self) -> str:
        """The container engine."""
        found = _PULLS.search(self.errors)
        return found[1] if found else "an unknown engine"

    @property
    def reason(self) -> str:
        """The last line of its errors."""
        return self.errors.splitlines()[-1] if self.errors else "no reason given"


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device with the agent's folder, its container engine and the CA of its hub."""

    device_id: str
    folder: Path
    engine: str
    hub_ca: Path

    @asynccontextmanager
    async def agent(
        self, connection_string: str, *, on_line: OnLine, options: tuple[str, ...] = ()
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The running agent, which follows the twin. Of an option given twice, the last counts."""
        file = self.folder / "connection-string"
        file.touch(mode=0o600)
        file.write_text(connection_string)
        identity = ("--connection-string-file", str(file), "--hub-ca", str(self.hub_ca))
        async with running(
            *self._command("run"),
            *identity,
            *options,
            environment=self._environment(),
            on_line=on_line,
        ) as process:
            yield process

    async def pull(self, repository: str, *, registry: str) -> Ran:
        """Pull with the delivered credentials of `registry`."""
        process = await asyncio.create_subprocess_exec(
            *self._command("pull"),
            *(repository, "--registry", registry),
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return Ran(process.returncode or 0, output.decode().strip(), errors.decode().strip())

    def _command(self, command: str) -> tuple[str, ...]:
        return (
            *(sys.executable, "-m", "firstpull_agent", command),
            *("--engine", self.engine, "--state-dir", str(self.folder / "state")),
            # The name is docker's; the others take any.
            *("--auth-file", str(self.folder / "config.json")),
            *("--certs-dir", str(self.folder / "certs.d")),
        )

    def _environment(self) -> dict[str, str]:
        return {**inherited("PATH"), "HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}
