"""The agent as a service: follows the twin, retries, and reports."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Coroutine
from typing import Any

from firstpull_agent.backoff import HUB_CAP_SECONDS, delay_seconds
from firstpull_agent.convergence import Convergence
from firstpull_agent.deliveries import MalformedDesired
from firstpull_agent.device_clock import spelled
from firstpull_agent.hub import Hub, HubOutsideValidity, HubUnavailable
from firstpull_agent.reports import defect, reported_patch
from firstpull_agent.times import Time

_log = logging.getLogger(__name__)

# Two clients of one device disconnect each other from the hub; this slows them down.
_SECONDS_BETWEEN_READS = 1.0


class Service:
    """Runs two independent loops: one talks to the hub, one starts attempts."""

    def __init__(
        self, hub: Hub, convergence: Convergence, *, time: Time, rng: random.Random
    ) -> None:
        self._hub = hub
        self._convergence = convergence
        self._time = time
        self._rng = rng
        self._stale = True
        self._has_read = False
        self._read_at = -math.inf
        self._talk_wanted = asyncio.Event()
        self._work_wanted = asyncio.Event()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End `run`, at once or when the engine's command that runs has ended."""
        self._stopped.set()

    @property
    def has_read_twin(self) -> bool:
        """Whether the agent has read the device's twin since its start."""
        return self._has_read

    def recheck(self) -> None:
        """Look at each login again: something has changed where they are kept."""
        self._convergence.recheck()
        self._work_wanted.set()

    async def run(self, *beside: Coroutine[Any, Any, None]) -> None:
        """Serve until stopped, with `beside` at the same time."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._twin_changed)

        self._hub.on_change(changed)
        try:
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(task) for task in (self._talk(), self._work(), *beside)]
                await self._stopped.wait()
                for task in loops:
                    task.cancel()
        finally:
            await self._hub.close()

    def _twin_changed(self) -> None:
        self._stale = True
        self._talk_wanted.set()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as attempts:
            while True:
                self._work_wanted.clear()
                while attempt := self._convergence.next_attempt():
                    attempts.create_task(attempt).add_done_callback(self._attempted)
                await self._time.wait(self._work_wanted, self._convergence.seconds_until_due())

    def _attempted(self, _: asyncio.Task[None]) -> None:
        self._talk_wanted.set()
        self._work_wanted.set()

    async def _talk(self) -> None:
        failures = 0
        while True:
            self._talk_wanted.clear()
            try:
                pause = await self._converse()
                failures = 0
            except Exception as error:  # a defect must not end the agent
                failures += 1
                pause = delay_seconds(failures, cap_seconds=HUB_CAP_SECONDS, rng=self._rng)
                _log.warning("%s; trying again in %.0f s", self._explain(error), pause)
            await self._time.wait(self._talk_wanted, pause)

    def _explain(self, error: Exception) -> object:
        if isinstance(error, HubOutsideValidity):
            now = spelled(self._time.now())
            return f"this device's clock says {now}: set it if that is wrong, for {error}"
        return error if isinstance(error, HubUnavailable) else defect(error)

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
            self._has_read = True
            self._convergence.adopt(twin.desired, twin.reported)
        except MalformedDesired as error:
            _log.error("the agent ignores the desired properties: %s", error)
        except Exception:
            self._stale = True
            raise
        self._work_wanted.set()

    async def _report(self) -> None:
        entries = self._convergence.unreported()
        if entries:
            await self._hub.report(reported_patch(entries))
            self._convergence.confirm(entries)
