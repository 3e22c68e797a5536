"""Hosts with clocks of their own, over the fake cloud, whose answers have the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from firstpull.bootstrap import wire
from firstpull.model.clock import ServiceClock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.ports import Page, Query, Records, Stored
from tests.firstpull.harness import Harness, Process, _settings, make_process, steady_chance
from tests.firstpull.virtual_clock import VirtualClock


@dataclass
class HostClock:
    """The clock of a host: Azure's time, and how far it is off."""

    azure: VirtualClock
    off: timedelta

    def now(self) -> datetime:
        return self.azure.now() + self.off

    async def sleep(self, seconds: float) -> None:
        await self.azure.sleep(seconds)


@dataclass(frozen=True)
class DatedRecords:
    """Records whose answers have a `Date`, in whole seconds of Azure's time."""

    real: Records
    clock: ServiceClock
    azure: VirtualClock

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        return await self._dated(self.real.get(device))

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        return await self._dated(self.real.insert(record))

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        return await self._dated(self.real.replace(record, etag=etag))

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        await self._dated(self.real.delete(device, etag=etag))

    def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        return self.real.due(now)

    async def page(self, query: Query) -> Page:
        return await self._dated(self.real.page(query))

    async def _dated[T](self, call: Awaitable[T]) -> T:
        sent_at = self.clock.host_time()
        try:
            return await call
        finally:
            self.clock.answered(whole_second(self.azure.now()), sent_at=sent_at)


def whole_second(at: datetime) -> datetime:
    """A time as headers, queues and webhooks have it."""
    return at.replace(microsecond=0)


def host(harness: Harness, off: timedelta) -> Process:
    """A process of the app on a host whose clock is off."""
    process = make_process(harness.cloud, harness.policy)
    clock = ServiceClock(HostClock(harness.clock, off))
    ports = process.application.ports
    ports = replace(
        ports,
        clock=clock,
        clock_offset=clock.offset,
        records=DatedRecords(ports.records, clock, harness.clock),
    )
    settings = _settings().model_copy(update={"policy": harness.policy})
    return Process(process.line, wire(settings, ports, chance=steady_chance()))


def on_hosts(*off: timedelta) -> Harness:
    """The app on hosts whose clocks are off by so much."""
    harness = Harness()
    harness.processes = [host(harness, each) for each in off]
    return harness
