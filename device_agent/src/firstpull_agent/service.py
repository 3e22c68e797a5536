"""The agent as a service: follows the twin, retries, and reports."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable

from firstpull_agent.backoff import HUB_CAP_SECONDS, delay_seconds
from firstpull_agent.convergence import Convergence
from firstpull_agent.deliveries import MalformedDesired
from firstpull_agent.hub import Hub, HubUnavailable
from firstpull_agent.reports import reported_patch
from firstpull_agent.times import Time

_log = logging.getLogger(__name__)

# Two clients of one device disconnect each other from the hub; this slows them down.
_SECONDS_BETWEEN_READS = 1.0

Wait = Callable[[asyncio.Event, float | None], Awaitable[None]]


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> None:
    """Return when `event` is set, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Service:
    """Runs two independent loops: one talks to the hub, one makes attempts."""

    def __init__(
        self,
        hub: Hub,
        convergence: Convergence,
        *,
        time: Time,
        rng: random.Random,
        wait: Wait = wait_for_event,
    ) -> None:
        self._hub = hub
        self._convergence = convergence
        self._time = time
        self._rng = rng
        self._wait = wait
        self._stale = True
        self._read_at = -math.inf
        self._talk_wanted = asyncio.Event()
        self._work_wanted = asyncio.Event()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End `run` after the current attempt."""
        self._stopped.set()

    async def run(self) -> None:
        """Serve until stopped."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._twin_changed)

        self._hub.on_change(changed)
        try:
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(self._talk()), group.create_task(self._work())]
                await self._stopped.wait()
                for task in loops:
                    task.cancel()
        finally:
            await self._hub.close()

    def _twin_changed(self) -> None:
        self._stale = True
        self._talk_wanted.set()

    async def _work(self) -> None:
        while True:
            self._work_wanted.clear()
            if await asyncio.to_thread(self._convergence.attempt_next):
                self._talk_wanted.set()
            await self._wait(self._work_wanted, self._convergence.seconds_until_due())

    async def _talk(self) -> None:
        failures = 0
        while True:
            self._talk_wanted.clear()
            try:
                pause = await self._converse()
                failures = 0
            except HubUnavailable as error:
                failures += 1
                pause = delay_seconds(failures, cap_seconds=HUB_CAP_SECONDS, rng=self._rng)
                _log.warning("%s; trying again in %.0f s", error, pause)
            await self._wait(self._talk_wanted, pause)

    async def _converse(self) -> float | None:
        """Read the twin and report; returns the seconds until the next read is due, if any."""
        # Read first: a hub that refuses reports must not delay a logout.
        if self._stale and self._seconds_until_readable() == 0:
            await self._read_twin()
        await self._report()
        return self._seconds_until_readable() if self._stale else None

    def _seconds_until_readable(self) -> float:
        return max(0.0, self._read_at + _SECONDS_BETWEEN_READS - self._time.monotonic())

    async def _read_twin(self) -> None:
        self._stale = False
        self._read_at = self._time.monotonic()
        try:
            twin = await self._hub.twin()
            self._convergence.adopt(twin.desired, twin.reported)
        except HubUnavailable:
            self._stale = True
            raise
        except MalformedDesired as error:
            _log.error("the agent ignores the desired properties: %s", error)
        self._work_wanted.set()

    async def _report(self) -> None:
        entries = self._convergence.unreported()
        if entries:
            await self._hub.report(reported_patch(entries))
            self._convergence.confirm(entries)
