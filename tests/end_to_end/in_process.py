"""firstpull with its real adapters in this process, and a clock that the tests move."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobLeaseClient, BlobServiceClient

from firstpull import bootstrap
from firstpull.adapters.iot_hub import IotHubAdapter
from firstpull.bootstrap import Application, Ports
from firstpull.config.settings import Settings, read_settings
from firstpull.intake.requests import read_request
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME
from tests.firstpull.records import changed

from .cloud import MEMBERSHIP_CONTAINER, operations_end

_REDELIVERY = timedelta(seconds=30)
_PASSES = 12
_LONG_AFTER = timedelta(minutes=5)
"""So long after a pass the next one observes everything again."""
_SOON = timedelta(seconds=1)
_LONG = timedelta(hours=1)
"""A device that is due later than this waits for nothing that a test brings about."""
_RESTING = (State.WAITING, State.BLOCKED, State.DELIVERED, State.READY, State.REVOKED)


class MovableClock:
    """The time of the local Azure, shifted. Sleeping moves it instead of waiting."""

    def __init__(self, azures_time: Callable[[], datetime]) -> None:
        self._azures_time = azures_time
        self._shift = timedelta()

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._azures_time() + self._shift

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; other tasks run meanwhile."""
        self.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    def advance(self, by: timedelta) -> None:
        """Move forward."""
        self._shift += by

    def keep_azures_time(self) -> None:
        """Drop the shift, so that a sync at Azure's time is later than what happens now."""
        self._shift = timedelta()

    def advance_to(self, at: datetime) -> None:
        """Move forward to a time, unless it has passed."""
        self.advance(max(at - self.now(), timedelta()))


@dataclass(frozen=True)
class _WorkersClock:
    """The worker's time. It sleeps only between renewals of a claim, which no pass here needs.

    A sleep beside a pass would move the time while the pass works.
    """

    clock: MovableClock

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self.clock.now()

    async def sleep(self, seconds: float) -> None:
        """Wait to be cancelled: the pass ends first."""
        del seconds
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Firstpull:
    """One process of firstpull on the stack, and ports of its own that no test makes fail."""

    stack: Stack
    settings: Settings
    ports: Ports
    clock: MovableClock

    def application(self, ports: Ports | None = None) -> Application:
        """A process that was started just now, over these ports or the real ones."""
        wired = bootstrap.wire(self.settings, ports or self.ports)
        return replace(wired, worker=replace(wired.worker, clock=_WorkersClock(self.clock)))

    def device(self, device_id: str) -> DeviceKey:
        """A device of the stack's hub."""
        return DeviceKey(hub=self.stack.iot_hub_host_name, device_id=device_id)

    async def record(self, device_id: str) -> DeviceRecord:
        """The record as it is stored."""
        stored = await self.ports.records.get(self.device(device_id))
        assert stored is not None
        return stored.value

    async def ask(
        self,
        application: Application,
        device_id: str,
        plant: str,
        **more: Any,  # noqa: ANN401 - JSON
    ) -> None:
        """Request that a device is onboarded, again and again while the request fails."""
        body = {"deviceId": device_id, "connectedRegistry": plant, "repositories": ["hello-world"]}
        request = read_request(json.dumps({**body, **more}).encode())
        for _ in range(5):
            try:
                await application.onboarding.ask(request, requested_by="a test")
            except Transient:
                self.clock.advance(timedelta(seconds=1))
            else:
                return
        raise AssertionError("no request was taken")

    async def settle(self, application: Application, device_id: str, plant: str) -> None:
        """Reconcile a device whenever it is due, until its generation is done."""
        for _ in range(_PASSES):
            record = await self._reconcile(application, device_id, plant)
            if record.is_converged:
                return
            self.clock.advance_to(record.schedule.due_at)
        raise AssertionError(f"{device_id} after {_PASSES} passes: {record.status.condition}")

    async def come_to_rest(
        self, application: Application, device_id: str, plant: str
    ) -> DeviceRecord:
        """Reconcile a device whenever it is due, until it is done or waits; returns its record."""
        record = await self.record(device_id)
        for _ in range(_PASSES):
            if record.schedule.due_at - self.clock.now() > _LONG:
                return record
            self.clock.advance_to(record.schedule.due_at)
            record = await self._reconcile(application, device_id, plant)
            is_due_soon = record.schedule.due_at - self.clock.now() <= _SOON
            if record.status.condition.state in _RESTING and not is_due_soon:
                return record
        raise AssertionError(f"{device_id} after {_PASSES} passes: {record.status.condition}")

    async def reconcile_again(self, application: Application, device_id: str) -> list[str]:
        """One more full pass, whatever the schedule says; returns its writing calls."""
        self.clock.advance(_LONG_AFTER)
        stored = await self.ports.records.get(self.device(device_id))
        assert stored is not None
        due = changed(stored.value, due_at=self.clock.now())
        await self.ports.records.replace(due, etag=stored.etag)
        self.stack.kernel.calls.reset()
        await application.worker.reconcile(self.device(device_id))
        calls = self.stack.kernel.calls.latest()
        assert any(call.service == "arm" for call in calls), "this was not a full pass"
        return [f"{c.service}.{c.operation}" for c in calls if c.method != "GET"]

    async def _reconcile(
        self, application: Application, device_id: str, plant: str
    ) -> DeviceRecord:
        """One pass, as the queue has it done; returns the record afterwards."""
        try:
            await application.worker.reconcile(self.device(device_id))
        except FirstpullError:
            self.clock.advance(_REDELIVERY)
        record = await self.record(device_id)
        if record.status.condition.reason is Reason.MEMBERSHIP_PENDING:
            await self._let_the_lease_run_out(plant)
        if record.schedule.attempts > 1:
            # It may wait for an operation, which ends in the cloud's time and not in `clock`.
            await operations_end(self.stack)
        return record

    async def _let_the_lease_run_out(self, plant: str) -> None:
        """Break a lease that a dead process holds: leases run on the storage's own time."""
        text = self.stack.storage.connection_string
        async with BlobServiceClient.from_connection_string(text) as blobs:
            lock = blobs.get_blob_client(MEMBERSHIP_CONTAINER, f"{REGISTRY_NAME}/{plant}.lock")
            with suppress(ResourceNotFoundError, ResourceExistsError):  # never taken, or given back
                await BlobLeaseClient(lock).break_lease(lease_break_period=0)


@asynccontextmanager
async def connected(
    stack: Stack, more_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Firstpull]:
    """The real adapters with the settings of an app on this stack, and `more_settings`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**app_settings(stack), **(more_settings or {})}.items():
            patch.setenv(name, value)
        settings = read_settings()
    clock = MovableClock(stack.kernel.clock.now)
    async with AsyncExitStack() as cleanup:
        ports = await bootstrap.connect(settings, cleanup=cleanup)
        hubs = cast("IotHubAdapter", ports.hubs)
        cleanup.push_async_callback(_connections_of_threads_closed, hubs)
        # This process runs in the local Azure's time, like its functions hosts.
        ports = replace(ports, clock=clock, clock_offset=timedelta)
        yield Firstpull(stack, settings, ports, clock)


async def _connections_of_threads_closed(hubs: IotHubAdapter) -> None:
    """Each thread has a session of its own, in a cycle; its sockets close when both are gone."""
    for line in hubs._lines.values():
        await asyncio.to_thread(line.threads.shutdown)
    gc.collect()
