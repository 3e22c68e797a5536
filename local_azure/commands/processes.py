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
    *command: str,
    environment: Mapping[str, str],
    on_line: OnLine,
    has_input: bool = False,
    end_signal: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process whose output goes to `on_line`. It ends on exit, and when this process dies.

    On exit it gets `end_signal`, and what it leaves behind is killed. `has_input`: its standard
    input is a pipe, else empty.
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
        await _end(process, end_signal)
        await reading


def inherited(*names: str) -> dict[str, str]:
    """The given environment variables of this process that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


async def _read(process: asyncio.subprocess.Process, on_line: OnLine) -> None:
    if process.stdout is None:
        return
    async for line in process.stdout:
        on_line(line.decode(errors="replace").rstrip())


def kill_with_children(process: asyncio.subprocess.Process) -> None:
    """End a process of `running` and those that it has started, as when a machine is lost."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session makes it the leader of a group


async def _end(process: asyncio.subprocess.Process, end_signal: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(end_signal)
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    kill_with_children(process)
    await process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
