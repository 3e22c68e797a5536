"""`make verify-azure` in a process of its own, on the session's local Azure."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_azure.commands.processes import inherited
from local_azure.stack import Stack
from local_azure.stack.options import RESOURCE_GROUP
from tools.verify_azure.journal import Journal, journals

PATIENCE_SECONDS = 90


@dataclass
class VerifyRun:
    """A running command. `lines` are what it has written."""

    stack: Stack
    folder: Path
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def says(self, text: str) -> None:
        """Wait for a line with a text."""
        while not any(text in line for line in self.lines):
            assert self.process.stdout is not None
            line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_SECONDS)
            assert line, f"it ended without {text!r}: {self.lines}"
            self.lines.append(line.decode().rstrip())

    async def ends(self) -> int:
        """Wait for its end; returns its exit code."""
        output, _ = await asyncio.wait_for(self.process.communicate(), PATIENCE_SECONDS)
        self.lines += output.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode

    @property
    def screen(self) -> str:
        """What it has written."""
        return "\n".join(self.lines)

    @property
    def watcher(self) -> int:
        """The process id of its watcher."""
        (child,) = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        return int(child)

    @property
    def journals(self) -> list[Journal]:
        """The notes of what may be left."""
        return journals(self.folder / "journals")

    @property
    def results(self) -> dict[str, Any]:
        """The JSON of its results."""
        (path,) = (self.folder / "results").glob("*.json")
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    @property
    def page(self) -> str:
        """The page of its results."""
        (path,) = (self.folder / "results").glob("*.md")
        return path.read_text()


@asynccontextmanager
async def verify_azure(
    stack: Stack, ca_file: Path, folder: Path, *options: str
) -> AsyncIterator[VerifyRun]:
    """The command as the operator, who may do everything; killed on exit if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.verify_azure", "--region", "westeurope"),
        *("--journals", str(folder / "journals"), "--output", str(folder / "results")),
        *options,
        env={
            **inherited("PATH"),
            **stack.identity_environment(ca_file=str(ca_file)),
            "IDENTITY_HEADER": stack.operator_identity_header,
            "ARM_ENDPOINT": stack.arm_endpoint,
            "HOME": str(folder),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield VerifyRun(stack, folder, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def left(stack: Stack) -> list[str]:
    """What is left in the subscription of what runs made."""
    return list(_left(stack))


async def is_empty(run: VerifyRun) -> None:
    """Wait until nothing is left, in the subscription and on disk."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while left(run.stack) or run.journals:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)


def _left(stack: Stack) -> Iterator[str]:
    groups = stack.resource_groups
    yield from (group.name for group in groups.all())
    yield from groups.deleted_vaults
    yield from groups.role_assignments
    for registry in stack.cloud.registries():
        if registry.registry_id.resource_group != RESOURCE_GROUP:
            yield str(registry.registry_id)
