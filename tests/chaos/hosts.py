"""firstpull in real hosts on a local Azure in this process, with devices that run the agent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueServiceClient

from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import SweepReport
from local_azure.commands.function_app import ScalableApp, run_function_app
from local_azure.commands.function_hosts import Host
from local_azure.container_registry.backends import SyncOverride
from local_azure.stack import Stack
from tests import conftest
from tests.chaos.agents import Agents, running_agents
from tests.chaos.lab import Lab, Login, is_done, lab_on, own_stack
from tests.chaos.tally import Chaos
from tests.end_to_end.cloud import entry_of, register, site_of
from tests.end_to_end.deployments import settings_of

ONBOARDING_QUEUE = "device-onboarding"
_CAPACITY = 1000
_GIVE_UP_SECONDS = 3000.0
"""10,000 messages take long on a busy machine."""
_ANSWERED_SECONDS = 60.0
_POLL_SECONDS = 0.2
_PAUSE_SECONDS = 0.5
_QUIET_SECONDS = 12.0
_INVISIBLE = timedelta(minutes=10, seconds=30)
"""A message that a dead host had received comes back after ten minutes."""
_ONE_MORE_PASS = 20
"""Devices that are also shown to need nothing more: a pass of each takes most of the time."""
_SYNC = SyncOverride(every_seconds=1.0)
_SETTINGS = {"AzureWebJobs__sweep__Disabled": "true", "FIRSTPULL_REVOKES_PER_HOUR": "10000"}


@dataclass
class Hosted:
    """Hosts that work, their clients, and a lab on the same storage that looks at the end."""

    lab: Lab
    agents: Agents
    app: ScalableApp
    session: aiohttp.ClientSession
    chance: random.Random
    lines: list[str]
    met: Counter[str] = field(default_factory=Counter)
    moved: dict[str, str] = field(default_factory=dict)
    """Where a device is that was moved."""
    revoked: dict[str, Login] = field(default_factory=dict)

    @property
    def stack(self) -> Stack:
        """Where it runs."""
        return self.lab.stack

    @property
    def serving(self) -> list[Host]:
        """The hosts that serve now."""
        return [host for host in self.app.hosts.all() if host.serves]

    async def new_devices(self, names: Iterable[str]) -> list[str]:
        """Registered devices whose agents run."""
        devices = list(names)
        register(self.stack, *devices)
        for device_id in devices:
            await self.agents.start(device_id)
        return devices

    # What a client does: it repeats a request that nobody took

    async def onboard(self, device_id: str, plant: str, **more: object) -> None:
        """Request that a device is onboarded, or moved."""
        content = {"connectedRegistry": plant, "repositories": ["hello-world"], **more}
        await self.until_taken("PUT", f"/api/devices/{device_id}", content)

    async def rotate(self, device_id: str) -> None:
        """Request another password, once a delivery is recorded: the twin has it earlier."""
        await self.until_taken(
            "POST", f"/api/devices/{device_id}/rotate", None, until_not=Reason.NOTHING_TO_ROTATE
        )

    async def revoke(self, device_id: str) -> None:
        """Request that a device is revoked."""
        await self.until_taken("DELETE", f"/api/devices/{device_id}", None)

    async def ask(
        self,
        method: str,
        path: str,
        content: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        url: str | None = None,
        seconds: float = _ANSWERED_SECONDS,
    ) -> tuple[int, str, Any]:
        """The status, type and document of an answer; status 0 where there was none."""
        serving = self.serving
        if url is None and not serving:
            return 0, "", None
        address = (url or self.chance.choice(serving).url) + path
        more = {"x-functions-key": self.app.key, **(headers or {})}
        body = json.dumps(content).encode() if content is not None else None
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.request(
                method, address, data=body, headers=more, timeout=limit
            ) as answer:
                text = await answer.text()
                document = json.loads(text) if text.startswith(("{", "[")) else text
                return answer.status, answer.content_type, document
        except (aiohttp.ClientError, TimeoutError):
            return 0, "", None

    async def until_taken(
        self,
        method: str,
        path: str,
        content: object,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = _ANSWERED_SECONDS,
        until_not: Reason | None = None,
    ) -> int:
        """Send a request until it is taken, also while it is refused for a reason; its status."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            status, _, document = await self.ask(
                method, path, content, headers=headers, seconds=seconds
            )
            if status in (200, 201, 202):
                return status
            self.met[f"{method} answered {status or 'nothing'}"] += 1
            is_too_early = status == 409 and document["reason"] == until_not
            is_repeated = is_too_early or status in (0, 401, 404, 500, 502, 503)
            assert is_repeated, f"P3: {method} {path}: {document}"
            assert time.monotonic() < give_up, f"P3: {method} {path} is not taken: {document}"
            await asyncio.sleep(_PAUSE_SECONDS)

    async def send(self, messages: Iterable[object], *, queue: str = ONBOARDING_QUEUE) -> None:
        """Put messages into a queue, as senders without HTTP do."""
        text = self.stack.storage.connection_string
        async with QueueServiceClient.from_connection_string(text, retry_total=0) as service:
            client = service.get_queue_client(queue)
            slots = asyncio.Semaphore(32)

            async def put(message: str) -> None:
                async with slots:
                    while True:
                        try:
                            await client.send_message(message)
                        except AzureError:
                            await asyncio.sleep(_PAUSE_SECONDS)
                        else:
                            return

            await asyncio.gather(*(put(json.dumps(each)) for each in messages))

    # What comes of it

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds. Raises AssertionError long after it should."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while not holds():
            assert time.monotonic() < give_up, f"P3: {what}"
            await asyncio.sleep(_POLL_SECONDS)

    async def until_used(self, device_id: str, plant: str) -> None:
        """The device pulls with what its twin delivers."""
        uses = self.agents.uses
        await self.until(lambda: uses(device_id, plant), f"{device_id} does not log in at {plant}")

    async def until_done(self, devices: Iterable[str]) -> None:
        """Nothing is left to do for these devices, by their records."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        for device_id in devices:
            while not is_done(record := await self.record(device_id)):
                said = f"{device_id} is not done: {record.status.condition}"
                assert time.monotonic() < give_up, f"P3: {said}"
                await asyncio.sleep(_POLL_SECONDS)

    async def record(self, device_id: str) -> DeviceRecord:
        """The record, read until storage answers and has it."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            with suppress(FirstpullError, AssertionError):
                return await self.lab.firstpull.record(device_id)
            assert time.monotonic() < give_up, f"P3: {device_id} has no record"
            await asyncio.sleep(_POLL_SECONDS)

    async def pass_time(self) -> None:
        """Let ten minutes pass whenever no twin has changed for some seconds."""
        seen, since = -1, time.monotonic()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            devices = self.stack.hub.devices()
            now = sum(self.stack.hub.twin(each.device_id).version for each in devices)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _QUIET_SECONDS:
                self.stack.kernel.clock.advance(_INVISIBLE)
                self.met["ten minutes passed"] += 1
                since = time.monotonic()

    # At the end, when no host runs any more

    async def check(self, devices: Iterable[str], plant_of: Callable[[str], str]) -> None:
        """Record, token, secret, list and twin of each device agree; there is no orphan."""
        left = [each for each in devices if each not in self.revoked]
        for device_id in left:
            plant = self.moved.get(device_id, plant_of(device_id))
            await self.lab.check_agrees(device_id, plant)
        for device_id, login in self.revoked.items():
            await self.lab.check_revoked(device_id, login)
        for device_id in self.chance.sample(left, min(len(left), _ONE_MORE_PASS)):
            await self.lab.check_one_more_pass(device_id)
        report = await self._sweep()
        self.lab.checks["P1"] += 1
        assert not report.orphans, f"P1: orphans: {report.orphans}"
        assert not report.unread, report.unread
        assert not report.drifted, f"P3: the sweep finds {report.drifted}"

    async def _sweep(self) -> SweepReport:
        application = self.lab.firstpull.application()
        await application.sweeper.run()
        stored = await self.lab.firstpull.ports.sweeps.get()
        assert stored is not None
        assert stored.value is not None
        return stored.value

    def login(self, device_id: str) -> Login:
        """What the device logs in with now."""
        for plant in self.lab.plants:
            if entry := entry_of(self.stack, device_id, plant):
                return Login(plant, entry["username"], entry["password"])
        raise AssertionError(f"P2: {device_id} has no login")


type End = Callable[[], Awaitable[None]]
"""What is looked at when no host runs any more."""


async def hosted(
    chaos: Chaos,
    body: Callable[[Hosted], Awaitable[End | None]],
    *,
    hosts: int,
    on_disk: bool = False,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run the body with hosts that are started again when they die; then its end without them."""
    chance = chaos.chance("hosts")
    async with (
        own_stack(chaos.seed, on_disk=on_disk) as stack,
        lab_on(stack) as lab,
        running_agents(stack, chance) as agents,
    ):
        for plant in lab.plants:
            site_of(stack, plant).backend.override = _SYNC
        lines: list[str] = []
        async with (
            run_function_app(
                stack,
                ca_file=str(conftest.CA_FILE),
                on_line=lines.append,
                on_change=lines.append,
                hosts=hosts,
                app_folder=chaos.app_folder,
                more_settings={
                    **_SETTINGS,
                    **settings_of(stack, "chaos", *lab.plants, capacity=_CAPACITY),
                    **(settings or {}),
                },
            ) as app,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            found = Hosted(lab, agents, app, session, chance, lines)
            ended = await body(found)
        if ended is not None:
            await ended()
        chaos.count(found.met, lab.checks)
