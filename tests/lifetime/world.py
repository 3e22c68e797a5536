"""Two processes of the app and everything around them, played step by step."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.sweep_report import SweepReport
from local_azure.container_registry.models import CloudSettings
from tests.firstpull.harness import Harness
from tests.firstpull.virtual_clock import VirtualClock
from tests.lifetime.sites import REFS, SERVICE_LIMIT, SITES, make_policy
from tests.world.cloud import Cloud

QUERY_LAG = timedelta(minutes=3)
"""The lag of the hub's query."""


class World(Harness):
    """All of it. Time passes only within its methods; the processes' calls come in any order."""

    def __init__(self) -> None:
        cloud = Cloud(
            VirtualClock(),
            settings=CloudSettings(max_clients=SERVICE_LIMIT),
            chance=random.Random(11),  # noqa: S311 - chance, not secrets
        )
        for ref in REFS:
            cloud.connect(ref, login_server=f"{ref.name}.site.example:8000")
        cloud.hub.index.lag = QUERY_LAG
        super().__init__(
            policy=make_policy(), processes=2, sync_every=timedelta(minutes=5), cloud=cloud
        )
        self._loop = asyncio.new_event_loop()
        self._logger = logging.getLogger("firstpull")
        self._level, self._propagates = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(cloud.watch.messages)

    def close(self) -> None:
        """Detach from the log, and close the event loop."""
        self._logger.removeHandler(self.cloud.watch.messages)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagates
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._loop.run_until_complete(coroutine)

    def check_promises(self) -> None:
        """The state machine checks them after each step."""

    async def run_until(self, done: Callable[[], bool], limit: timedelta) -> bool:
        """Play until `done`, or until a promise is broken, which ends the step."""
        return await super().run_until(lambda: bool(self.cloud.violations) or done(), limit)

    async def deliver(self) -> bool:
        """Deliver what is due. No more is delivered once a promise is broken."""
        return await super().deliver() and not self.cloud.violations

    def request_to(
        self, where: str, device: str, what: list[str], *, adopt: str | None = None
    ) -> OnboardingRequest:
        """The request for a connected registry or a site, by its name."""
        target: dict[str, str | None] = {"connectedRegistry": where}
        if where in SITES:
            target = {"connectedRegistry": None, "site": where}
        return self.request(device, repositories=what, adopt=adopt, **target)

    def record(self, key: DeviceKey) -> DeviceRecord | None:
        """The record of a device."""
        return self.cloud.record(key) if key in self.cloud.records else None

    async def try_sweep(self, *, approve: bool) -> None:
        """Sweep once; with `approve`, let the next sweep revoke the devices that this one held."""
        report = await self.attempt(lambda application: application.sweeper.run())
        if approve and isinstance(report, SweepReport) and report.held:
            held = report.id
            await self.attempt(lambda app: app.sweeper.approve(held, approved_by="a person"))
