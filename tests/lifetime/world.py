"""Two processes of the app on the local Azure, with their queue, timer, sites and devices."""

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
    NoPoison,
    ReconcileRequest,
)
from tests.firstpull.records import changed
from tests.firstpull.virtual_clock import VirtualClock
from tests.lifetime.azure import DEPLOYMENT, VAULT, Azure, make_policy
from tests.lifetime.device import Device
from tests.lifetime.faults import FaultInjector, LifetimeLine
from tests.lifetime.ports import LocalContainerRegistries, LocalHubs, LocalSecrets
from tests.lifetime.watch import Watch

QUERY_LAG = timedelta(minutes=3)
"""The lag of the hub's query."""
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


class Messages(logging.Handler):
    """The texts of log records and errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a log record."""
        self._texts.append(self.format(record))

    def add(self, text: str) -> None:
        """Keep the text of an answer."""
        self._texts.append(text)

    def take(self) -> tuple[str, str]:
        """The texts since the last time."""
        texts, self._texts = self._texts, []
        return "messages", "\n".join(texts)


class World:
    """All of it. Time passes only within its methods."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cloud = FakeCloud(self.clock)
        self.azure = Azure(self.clock)
        self.azure.hub.index.lag = QUERY_LAG
        self.devices: dict[DeviceKey, Device] = {}
        self.watch = Watch(self.azure, self.cloud, self.devices)
        self.messages = Messages()
        self.watch.texts.append(self.messages.take)
        self.cloud.after_write = self.watch.after_write
        self.injector = FaultInjector(self.cloud)
        self.processes = [self._start(), self._start()]
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._timer_ran = self.clock.now()
        self._synced = self.clock.now()
        self._logger = logging.getLogger("firstpull")
        self._level, self._propagates = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self.messages)

    def close(self) -> None:
        """Detach from the log, and close the event loop."""
        self._logger.removeHandler(self.messages)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagates
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._loop.run_until_complete(coroutine)

    # The hub

    def register(self, key: DeviceKey, *, tag: dict[str, Any] | None = None) -> None:
        """Create an identity: a new device, even if the id was in use before."""
        identity = self.azure.hub.create_device(DeviceSettings(key.device_id))
        self.devices[key] = Device(key, identity.generation_id)
        if tag is not None:
            self.azure.hub.patch_twin(key.device_id, TwinPatch(tags={"firstpull": tag}), etag=None)

    def delete(self, key: DeviceKey) -> None:
        """Delete an identity."""
        self.azure.hub.delete_device(key.device_id, etag=None)
        self.devices.pop(key, None)

    # The endpoints

    async def retry[T](self, call: Callable[[Application], Awaitable[T]]) -> T | Invalid:
        """The answer of an endpoint, called again after a crash or a transient error."""
        for _ in range(_TRIES):
            number, process = self._next_process()
            try:
                return await call(process.application)
            except Crashed:
                self._restart(number)
            except Invalid as refusal:
                self.messages.add(f"{refusal} {refusal.errors}")
                return refusal
            except Transient as error:
                self.messages.add(str(error))
            await self.clock.sleep(1)
        raise AssertionError(f"no answer after {_TRIES} calls")

    async def attempt(self, call: Callable[[Application], Awaitable[object]]) -> object:
        """The answer of one call; None after a crash or an error."""
        number, process = self._next_process()
        try:
            return await call(process.application)
        except Crashed:
            self._restart(number)
        except FirstpullError as error:
            self.messages.add(str(error))
        return None

    # Queue, timer and time

    def record(self, key: DeviceKey) -> DeviceRecord | None:
        """The record of a device."""
        return self.cloud.record(key) if key in self.cloud.records else None

    def records(self) -> list[DeviceRecord]:
        """All records."""
        return self.cloud.all_records()

    async def run_timer(self) -> None:
        """Requeue the devices that are overdue."""
        self._timer_ran = self.clock.now()
        await self.attempt(lambda application: application.requeue_overdue())

    async def sweep(self, *, approve: bool) -> None:
        """Sweep once; with `approve`, let the next sweep revoke the devices that this one held."""
        report = await self.attempt(lambda application: application.sweeper.run())
        if approve and isinstance(report, SweepReport) and report.held:
            await self.attempt(lambda application: application.sweeper.approve(report.id))

    async def deliver(self) -> None:
        """Deliver all reconcile requests that are due, at once and to the processes in turn."""
        due = [request for request in self.cloud.queue if request.visible_at <= self.clock.now()]
        for request in due:
            self.cloud.queue.remove(request)
        await asyncio.gather(*(self._deliver(request) for request in due))

    async def run_for(self, duration: timedelta) -> None:
        """Let time pass: sites sync, the timer runs, the queue delivers, devices act."""
        until = self.clock.now() + duration
        for _ in range(_MOST_EVENTS):
            await self._run_what_is_due()
            if self.clock.now() >= until:
                return
            self.pass_to(min(self._next_event(), until))
        raise AssertionError(f"too many events within {duration}: {self._conditions()}")

    def pass_to(self, at: datetime) -> None:
        """Let time pass while nothing happens but late writes."""
        self.injector.finish_writes(before=at)
        self.clock.advance_to(at)

    def pass_time(self, duration: timedelta) -> None:
        """The same, by a duration."""
        self.pass_to(self.clock.now() + duration)

    def sync(self) -> None:
        """Sync every site that is online."""
        self._synced = self.clock.now()
        for site in self.azure.sites.values():
            site.sync()

    async def reconcile(self, key: DeviceKey) -> None:
        """Reconcile a device once, now, whatever its schedule says."""
        _, version = self.cloud.records[key]
        record = changed(self.cloud.record(key), due_at=self.clock.now())
        self.cloud.records[key] = to_json(record), version
        await self.attempt(lambda application: application.worker.reconcile(key))

    async def _run_what_is_due(self) -> None:
        now = self.clock.now()
        if now - self._synced >= _SYNC:
            self.sync()
        if now - self._timer_ran >= _TIMER:
            await self.run_timer()
        while any(request.visible_at <= self.clock.now() for request in self.cloud.queue):
            await self.deliver()
        for device in self.devices.values():
            device.act(self.azure)

    def _next_event(self) -> datetime:
        """When something is due next."""
        times = [self._synced + _SYNC, *(request.visible_at for request in self.cloud.queue)]
        times += [
            max(record.schedule.due_at + GRACE, self._timer_ran + _TIMER)
            for record in self.records()
            if record.schedule.due_at < self.clock.now() + _SYNC
        ]
        return min(times)

    async def _deliver(self, request: ReconcileRequest) -> None:
        number, process = self._next_process()
        try:
            await process.application.worker.reconcile(request.device)
        except Crashed:
            self._restart(number)
        except FirstpullError as error:
            self.messages.add(str(error))
            dequeued = request.dequeued + 1
            if dequeued < _POISON_AFTER:
                visible_at = self.clock.now() + _REDELIVERY
                self.cloud.queue.append(replace(request, visible_at=visible_at, dequeued=dequeued))

    def _next_process(self) -> tuple[int, Process]:
        self._turn = (self._turn + 1) % len(self.processes)
        return self._turn, self.processes[self._turn]

    def _restart(self, number: int) -> None:
        if self.processes[number].line.dead:
            self.processes[number] = self._start()

    def _start(self) -> Process:
        line = LifetimeLine(self.cloud, self.injector)
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
