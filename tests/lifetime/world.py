"""Two processes of the app on the local Azure, and what makes them run: queue, timer, devices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from firstpull.bootstrap import Application, Ports, wire
from firstpull.config.settings import Settings
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FirstpullError, Invalid, Transient
from firstpull.model.record_codec import to_json
from firstpull.model.sweep_report import SweepReport
from firstpull.reconcile.requeue import GRACE
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.twins import TwinPatch
from tests.firstpull.fakes import (
    Crashed,
    FakeCloud,
    FakeLedgers,
    FakeLocks,
    FakeRecords,
    FakeSweeps,
    FakeWorkQueue,
    Hint,
    NoPoison,
)
from tests.firstpull.records import changed
from tests.firstpull.virtual_clock import VirtualClock
from tests.lifetime.azure import DEPLOYMENT, VAULT, Azure, make_policy
from tests.lifetime.device import Device
from tests.lifetime.line import LifetimeLine, Trouble
from tests.lifetime.ports import LocalContainerRegistries, LocalHubs, LocalSecrets
from tests.lifetime.watch import Watch

QUERY_LAG = timedelta(minutes=3)
"""How late the hub's query shows what has changed."""
_SETTINGS = Settings.model_validate(
    {
        "deployment": DEPLOYMENT,
        "policy": make_policy(),
        "key_vault_url": f"https://{VAULT}",
        "AzureWebJobsStorage": "unused",
    }
)
_TIMER = timedelta(minutes=1)
_SYNC = timedelta(minutes=5)
_REDELIVERY = timedelta(seconds=30)
_POISON_AFTER = 5
_TRIES = 20
_MOST_EVENTS = 2000


@dataclass(frozen=True)
class Process:
    """One host process of the app: its own objects, its own connection."""

    line: LifetimeLine
    application: Application


class Words(logging.Handler):
    """Everything that was said: by the log, and by errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a record says."""
        self._said.append(self.format(record))

    def heard(self, text: str) -> None:
        """Keep what somebody was told."""
        self._said.append(text)

    def taken(self) -> tuple[str, str]:
        """What was said since the last time."""
        said, self._said = self._said, []
        return "words", "\n".join(said)


class World:
    """The whole of it. Between two calls of its methods nothing happens by itself."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock)
        self.azure = Azure(self.clock)
        self.azure.hub.index.lag = QUERY_LAG
        self.devices: dict[DeviceKey, Device] = {}
        self.watch = Watch(self.azure, self.cloud, self.devices)
        self.words = Words()
        self.watch.texts.append(self.words.taken)
        self.cloud.after_write = self.watch.after_write
        self.trouble = Trouble(self.cloud)
        self.processes = [self._start(), self._start()]
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._timer_ran = self.clock.now()
        self._synced = self.clock.now()
        self._logger = logging.getLogger("firstpull")
        self._level, self._propagates = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self.words)

    def close(self) -> None:
        """Leave nothing behind."""
        self._logger.removeHandler(self.words)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagates
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def run[T](self, doing: Coroutine[Any, Any, T]) -> T:
        """Have something done to its end."""
        return self._loop.run_until_complete(doing)

    # The hub

    def register(self, key: DeviceKey, *, tag: dict[str, Any] | None = None) -> None:
        """Make an identity: a new device, whatever had its name before."""
        identity = self.azure.hub.create_device(DeviceSettings(key.device_id))
        self.devices[key] = Device(key, identity.generation_id)
        if tag is not None:
            self.azure.hub.patch_twin(key.device_id, TwinPatch(tags={"firstpull": tag}), etag=None)

    def delete(self, key: DeviceKey) -> None:
        """Take an identity away."""
        self.azure.hub.delete_device(key.device_id, etag=None)
        self.devices.pop(key, None)

    # The doors

    async def insist[T](self, call: Callable[[Application], Awaitable[T]]) -> T | Invalid:
        """What a door answers, asked again while it cannot. A refusal is an answer."""
        for _ in range(_TRIES):
            number, process = self._next_process()
            try:
                return await call(process.application)
            except Crashed:
                self._restart(number)
            except Invalid as refusal:
                self.words.heard(f"{refusal} {refusal.errors}")
                return refusal
            except Transient as error:
                self.words.heard(str(error))
            await self.clock.sleep(1)
        raise AssertionError("a door did not answer, however often it was asked")

    async def attempt(self, call: Callable[[Application], Awaitable[object]]) -> object:
        """What somebody is answered who does not ask again; None where it went wrong."""
        number, process = self._next_process()
        try:
            return await call(process.application)
        except Crashed:
            self._restart(number)
        except FirstpullError as error:
            self.words.heard(str(error))
        return None

    # Queue, timer and time

    def record(self, key: DeviceKey) -> DeviceRecord | None:
        """The record of a device."""
        return self.cloud.record(key) if key in self.cloud.records else None

    def records(self) -> list[DeviceRecord]:
        """All records."""
        return self.cloud.all_records()

    async def run_timer(self) -> None:
        """Bring back the devices that are overdue."""
        self._timer_ran = self.clock.now()
        await self.attempt(lambda application: application.requeue_overdue())

    async def sweep(self, *, approve: bool) -> None:
        """Sweep once; where devices are held, let the next sweep revoke them, if so wanted."""
        report = await self.attempt(lambda application: application.sweeper.run())
        if approve and isinstance(report, SweepReport) and report.held:
            await self.attempt(lambda application: application.sweeper.approve(report.id))

    async def deliver(self) -> None:
        """Deliver all hints that are due, at the same time and to the processes in turn."""
        hints = [hint for hint in self.cloud.queue if hint.visible_at <= self.clock.now()]
        for hint in hints:
            self.cloud.queue.remove(hint)
        await asyncio.gather(*(self._deliver(hint) for hint in hints))

    async def play(self, duration: timedelta) -> None:
        """Let time pass: sites sync, the timer runs, hints arrive, devices act."""
        until = self.clock.now() + duration
        for _ in range(_MOST_EVENTS):
            await self._play_what_is_due()
            if self.clock.now() >= until:
                return
            self.pass_to(min(self._next_event(), until))
        raise AssertionError(f"too much happens within {duration}: {self._conditions()}")

    def pass_to(self, at: datetime) -> None:
        """Let time pass and nothing else happen but what is under way."""
        self.trouble.let_late_writes_in(before=at)
        self.clock.advance_to(at)

    def pass_time(self, duration: timedelta) -> None:
        """The same, by a duration."""
        self.pass_to(self.clock.now() + duration)

    def sync(self) -> None:
        """Have every site sync that can."""
        self._synced = self.clock.now()
        for site in self.azure.sites.values():
            site.sync()

    def devices_act(self) -> None:
        """Have every device do what it does."""
        for device in self.devices.values():
            device.acts(self.azure)

    async def look(self, key: DeviceKey) -> None:
        """One pass over a device now, whatever its schedule says."""
        _, version = self.cloud.records[key]
        record = changed(self.cloud.record(key), due_at=self.clock.now())
        self.cloud.records[key] = to_json(record), version
        await self.attempt(lambda application: application.worker.reconcile(key))

    async def _play_what_is_due(self) -> None:
        now = self.clock.now()
        if now - self._synced >= _SYNC:
            self.sync()
        if now - self._timer_ran >= _TIMER:
            await self.run_timer()
        while any(hint.visible_at <= self.clock.now() for hint in self.cloud.queue):
            await self.deliver()
        self.devices_act()

    def _next_event(self) -> datetime:
        """When there is something to play again."""
        times = [self._synced + _SYNC, *(hint.visible_at for hint in self.cloud.queue)]
        times += [
            max(record.schedule.due_at + GRACE, self._timer_ran + _TIMER)
            for record in self.records()
            if record.schedule.due_at < self.clock.now() + _SYNC
        ]
        return min(times)

    async def _deliver(self, hint: Hint) -> None:
        number, process = self._next_process()
        try:
            await process.application.worker.reconcile(hint.device)
        except Crashed:
            self._restart(number)
        except FirstpullError as error:
            self.words.heard(str(error))
            if hint.dequeued + 1 < _POISON_AFTER:
                again = replace(
                    hint,
                    visible_at=self.clock.now() + _REDELIVERY,
                    dequeued=hint.dequeued + 1,
                )
                self.cloud.queue.append(again)

    def _next_process(self) -> tuple[int, Process]:
        self._turn = (self._turn + 1) % len(self.processes)
        return self._turn, self.processes[self._turn]

    def _restart(self, number: int) -> None:
        if self.processes[number].line.dead:
            self.processes[number] = self._start()

    def _start(self) -> Process:
        line = LifetimeLine(self.cloud, self.trouble)
        ports = Ports(
            registries=LocalContainerRegistries(line, self.azure, self.watch),
            secrets=LocalSecrets(line, self.azure, self.watch),
            hubs=LocalHubs(line, self.azure, self.watch),
            records=FakeRecords(line),
            queue=FakeWorkQueue(line),
            ledgers=FakeLedgers(line),
            locks=FakeLocks(line),
            sweeps=FakeSweeps(line),
            poison=NoPoison(),
            clock=self.clock,
        )
        return Process(line, wire(_SETTINGS, ports))

    def _conditions(self) -> str:
        return ", ".join(
            f"{r.device.device_id} is {r.status.condition.state} ({r.status.condition.reason})"
            for r in self.records()
        )
