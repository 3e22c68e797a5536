"""The parts of a run side by side, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from types import FrameType

from tests.chaos.parts import tally_of
from tests.chaos.tally import Chaos, Tally


async def tallies(runs: Sequence[Chaos], *, at_once: int) -> AsyncIterator[tuple[str, Tally]]:
    """What each part found, as it ends. Cancelled, it ends those that run, and starts no other."""
    slots = asyncio.Semaphore(at_once)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_tally(run, slots)) for run in runs]
        for ended in asyncio.as_completed(running):
            yield await ended


async def _tally(run: Chaos, slots: asyncio.Semaphore) -> tuple[str, Tally]:
    """One part in a process of its own, which leaves nothing to the next."""
    spawning = get_context("spawn")
    async with slots:
        with ProcessPoolExecutor(1, mp_context=spawning, initializer=_end_once) as own:
            try:
                running = asyncio.get_running_loop().run_in_executor(own, tally_of, run)
                return run.part, await running
            except BrokenProcessPool:
                return run.part, Tally(failures=[f"{run.part}: its process died"])
            except asyncio.CancelledError:
                for process in active_children():
                    process.terminate()
                raise


def _end_once() -> None:
    """Let this process end by its parent's word alone, and clean up undisturbed by a second one."""

    def end(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
