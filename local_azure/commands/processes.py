"""Child processes, each with its own environment, that end with this process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

_GRACE_SECONDS = 12.0
_PR_SET_PDEATHSIG = 1

OnLine = Callable[[str], None]


@asynccontextmanager
async def running(
    *command: str, environment: Mapping[str, str], on_line: OnLine, has_input: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process whose output goes to `on_line`. It ends on exit, and when this process dies.

    `has_input`: its standard input is a pipe, else empty.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE if has_input else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl-C goes only to this process, which then ends the others in order.
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    reading = asyncio.create_task(_read(process, on_line))
    try:
        yield process
    finally:
        await _end(process)
        await reading


def inherited(*names: str) -> dict[str, str]:
    """The given environment variables of this process that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


async def _read(process: asyncio.subprocess.Process, on_line: OnLine) -> None:
    if process.stdout is None:
        return
    async for line in process.stdout:
        on_line(line.decode(errors="replace").rstrip())


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
