"""The parts of a run side by side, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context

from tests.chaos.parts import tally_of
from tests.chaos.tally import Chaos, Tally


async def tallies(runs: Sequence[Chaos], *, at_once: int) -> AsyncIterator[tuple[str, Tally]]:
    """What each part found, as it ends. Cancelled, it ends those that run, and starts no other."""
    slots = asyncio.Semaphore(at_once)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_tally(run, slots)) for run in runs]
        try:
            for ended in asyncio.as_completed(running):
                yield await ended
        except asyncio.CancelledError:
            for process in active_children():
                process.terminate()
            raise


async def _tally(run: Chaos, slots: asyncio.Semaphore) -> tuple[str, Tally]:
    """One part in a process of its own, which leaves nothing to the next."""
    spawning = get_context("spawn")
    async with slots:
        with ProcessPoolExecutor(1, mp_context=spawning, initializer=_end_by_the_parent) as own:
            try:
                running = asyncio.get_running_loop().run_in_executor(own, tally_of, run)
                return run.part, await running
            except BrokenProcessPool:
                return run.part, Tally(failures=[f"{run.part}: its process died"])


def _end_by_the_parent() -> None:
    """SIGINT reaches the whole group; a second signal would disturb the clean-up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
