"""The command `firstpull` in a process of its own, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "firstpull_cli")


@dataclass(frozen=True)
class Ran:
    """What a command has written, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object on standard output."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Operator:
    """Somebody with a home of their own and these variables, who works in `home`."""

    home: Path
    variables: Mapping[str, str]
    command: tuple[str, ...] = COMMAND

    async def run(self, *words: object, stdin: str = "") -> Ran:
        """Run the command to its end."""
        async with self.started(*words) as process:
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def ok(self, *words: object, stdin: str = "") -> Ran:
        """Run the command, which has to succeed."""
        ran = await self.run(*words, stdin=stdin)
        assert ran.status == 0, f"{ran.out}\n{ran.err}"
        return ran

    @asynccontextmanager
    async def started(self, *words: object) -> AsyncIterator[asyncio.subprocess.Process]:
        """The running command, which is killed when the block ends."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *map(str, words),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self.home,
            env=self._environment(),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith("SSL_")}
        return {**kept, "PATH": os.environ["PATH"], "HOME": str(self.home), **self.variables}
