"""Devices that run the agent's code in this process.

The hub's client is a light one: 200 of the real one are 600 threads. The logins are tried at the
connected registries for real, over TLS.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence
from firstpull_agent.hub import HubUnavailable, Twin
from firstpull_agent.logins import Logins
from firstpull_agent.registry import check_login
from firstpull_agent.service import Service
from firstpull_agent.times import MachineTime

from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.models import DesiredPropertiesChanged, HubEvent, IotHub
from local_azure.kernel.background import in_background
from local_azure.stack import Stack
from tests.device_agent.fakes import FakeEngine
from tests.end_to_end.cloud import entry_of


@dataclass
class _LightHub:
    """Implements the agent's `Hub` on the local hub's twins."""

    hub: IotHub
    device_id: str
    changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def twin(self) -> Twin:
        try:
            twin = self.hub.twin(self.device_id)
        except IotHubError as error:
            raise HubUnavailable(str(error)) from None
        return Twin(dict(twin.desired.values), dict(twin.reported.values))

    async def report(self, patch: dict[str, Any]) -> None:
        try:
            self.hub.report(self.device_id, patch)
        except IotHubError as error:
            raise HubUnavailable(str(error)) from None

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Agents:
    """The agents that run, each with files of its own."""

    stack: Stack
    chance: random.Random
    folder: Path
    running: AsyncExitStack
    _hubs: dict[str, _LightHub] = field(default_factory=dict)

    async def start(self, device_id: str) -> None:
        """Run the agent of a device."""
        folder = self.folder / device_id
        folder.mkdir()
        hub = self._hubs[device_id] = _LightHub(self.stack.hub, device_id)
        time, rng = MachineTime(), random.Random(self.chance.random())  # noqa: S311
        logins = Logins(engine=FakeEngine(folder), store=AppliedStore(folder / "applied.json"))
        check = partial(check_login, now=time.now)
        convergence = Convergence(logins, check=check, time=time, rng=rng)
        service = Service(hub, convergence, time=time, rng=rng)
        await self.running.enter_async_context(in_background(service.run()))

    def note(self, event: HubEvent) -> None:
        """Tell the device's agent that its twin has changed."""
        if isinstance(event, DesiredPropertiesChanged) and event.device_id in self._hubs:
            self._hubs[event.device_id].changed()

    def delivered(self, device_id: str, plant: str) -> str | None:
        """The id of what the twin delivers, None for nothing."""
        return entry_of(self.stack, device_id, plant).get("deliveryId")

    def logged_in(self, device_id: str, plant: str) -> str | None:
        """The id of the delivery with which the device is logged in, None for none."""
        found: Any = self.stack.hub.twin(device_id).reported.values
        for name in ("firstpull", "registryCredentials", plant):
            found = found.get(name) if isinstance(found, dict) else None
        report = found or {}
        return report.get("deliveryId") if report.get("state") == "LoggedIn" else None

    def uses(self, device_id: str, plant: str) -> bool:
        """Whether the device is logged in with exactly what its twin delivers."""
        delivered = self.delivered(device_id, plant)
        return delivered is not None and self.logged_in(device_id, plant) == delivered


@asynccontextmanager
async def running_agents(stack: Stack, chance: random.Random) -> AsyncIterator[Agents]:
    """Agents that end on exit."""
    with TemporaryDirectory(prefix="agents-") as folder:
        async with AsyncExitStack() as running:
            agents = Agents(stack, chance, Path(folder), running)
            stack.hub.subscribe(agents.note)
            yield agents
        await asyncio.sleep(0)
