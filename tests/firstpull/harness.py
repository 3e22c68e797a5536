"""firstpull's processes over the fake cloud, with a loop that plays queue, timer and devices."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import Any

from firstpull.bootstrap import Application, Ports, wire
from firstpull.config.policy import Policy
from firstpull.config.settings import Settings
from firstpull.intake.event_grid import DeviceEvent
from firstpull.intake.event_handler import OPT_IN_TAG
from firstpull.intake.onboard import Onboarding
from firstpull.intake.requests import OnboardingRequest, read_request
from firstpull.membership import Membership
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from firstpull.model.record_update import Chance
from firstpull.model.sweep_report import SweepReport
from firstpull.reconcile.reconciler import Reconciler
from local_azure.iot_hub.twins import JsonObject
from tests.firstpull.virtual_clock import VirtualClock
from tests.world import cloud as world
from tests.world.calls import Crashed
from tests.world.cloud import Cloud, Line, ReconcileRequest
from tests.world.edge import Edge
from tests.world.ports import FakeContainerRegistries, FakeHubs, FakeSecrets
from tests.world.storage import (
    FakeLedgers,
    FakeLocks,
    FakeRecords,
    FakeWorkQueue,
    NoPoison,
    fake_page_seals,
    fake_revoke_counts,
    fake_sweeps,
)

HUB = world.HUB
REGISTRY = RegistryId(
    "/subscriptions/0000/resourceGroups/Site-Group/providers"
    "/Microsoft.ContainerRegistry/registries/acrtest"
)
PLANT_ONE = ConnectedRegistryRef(registry=REGISTRY, name="plantone")
PLANT_TWO = ConnectedRegistryRef(registry=REGISTRY, name="planttwo")
OTHER_REGISTRY = RegistryId(f"{REGISTRY}2")
PORT_ONE = ConnectedRegistryRef(registry=OTHER_REGISTRY, name="portone")
VALIDITY = timedelta(days=90)
DEPLOYMENT = "test"
OUR_PREFIX = "fp-"

_TIMER = timedelta(seconds=30)
_REDELIVERY = timedelta(seconds=30)
_POISON_AFTER = 5
_QUIET = timedelta(minutes=3)
_UNFINISHED = (State.PENDING, State.CONVERGING)


def make_policy(**changes: Any) -> Policy:  # noqa: ANN401 - JSON
    """Two connected registries that form a site. `changes` replace parts of the document."""
    document = {
        "hubs": [HUB],
        "containerRegistries": [REGISTRY],
        "connectedRegistries": [{"name": "plantone"}, {"name": "planttwo"}],
        "sites": [{"name": "plant", "connectedRegistries": ["plantone", "planttwo"]}],
        **changes,
    }
    return Policy.model_validate_json(json.dumps(document, default=str))


def make_cloud(clock: VirtualClock) -> Cloud:
    """A cloud with both connected registries, each syncing everything below `plant/`."""
    cloud = Cloud(clock)
    for ref in (PLANT_ONE, PLANT_TWO):
        cloud.connect(ref, login_server=f"{ref.name}.site.example:8000")
    return cloud


@dataclass(frozen=True)
class Process:
    """One host process of the app: its own objects, its own connection."""

    line: Line
    application: Application

    @property
    def worker(self) -> Reconciler:
        """Reconciles devices."""
        return self.application.worker

    @property
    def onboarding(self) -> Onboarding:
        """Takes requests for devices."""
        return self.application.onboarding

    @property
    def membership(self) -> Membership:
        """Adds tokens to the lists of clients, and removes them."""
        return self.worker.applier.membership


def make_process(cloud: Cloud, policy: Policy, *, requires_sealing: bool = False) -> Process:
    """A new process, wired as the real ones are."""
    cloud.watch.policy = policy
    line = Line(cloud)
    ports = Ports(
        registries=FakeContainerRegistries(line),
        secrets=FakeSecrets(line),
        hubs=FakeHubs(line),
        records=FakeRecords(line),
        queue=FakeWorkQueue(line),
        ledgers=FakeLedgers(line),
        locks=FakeLocks(line),
        sweeps=fake_sweeps(line),
        revoke_counts=fake_revoke_counts(line),
        page_seals=fake_page_seals(line),
        poison=NoPoison(),
        clock=cloud.clock,
    )
    update = {"policy": policy, "require_sealed_delivery": requires_sealing}
    settings = _settings().model_copy(update=update)
    return Process(line, wire(settings, ports, chance=steady_chance()))


def steady_chance() -> Chance:
    """The same random numbers each time."""
    return random.Random(0).random  # noqa: S311 - chance, not secrets


@cache
def _settings() -> Settings:
    """Read once: a source of settings takes longer than a pass."""
    return Settings.model_validate(
        {
            "deployment": DEPLOYMENT,
            "policy": make_policy(),
            "key_vault_url": "https://vault.example",
            "AzureWebJobsStorage": "unused",
        }
    )


class Harness:
    """The whole app in virtual time.

    Reconcile requests are delivered when they are due, all at once and to the processes in turn.
    The request of a pass that raises is delivered again; that of a process that crashed is lost.
    Devices read their twin, log in at the connected registry as it was at its last sync, and
    report. With `sync_every` of None, the test syncs the connected registries.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        processes: int = 1,
        sync_every: timedelta | None = timedelta(minutes=1),
        cloud: Cloud | None = None,
    ) -> None:
        self.cloud = cloud or make_cloud(VirtualClock())
        self.clock = self.cloud.clock
        self.cloud.after_write = self._check
        self.policy = policy or make_policy()
        self.processes = [self._start() for _ in range(processes)]
        self.devices_answer = True
        self.asks_with: Mapping[str, Any] = {}
        """What each request says besides, such as the delivery kind."""
        self.must_stay_logged_in: set[DeviceKey] = set()
        """Devices that the connected registry has to let in at any time."""
        self.crashes = 0
        self._turn = 0
        self._sync_every = sync_every
        self._next_timer = self.clock.now() + _TIMER
        self._next_sync = self.clock.now()

    def register(self, device_id: str = "press-1") -> DeviceKey:
        """Register a device in the hub, with the Edge runtime where requests ask for it."""
        key = DeviceKey(hub=HUB, device_id=device_id)
        if self.asks_with.get("delivery") == "edgeAgent":
            Edge(self.cloud, key)
        else:
            self.cloud.register(key)
        return key

    def request(self, device_id: str = "press-1", **changes: Any) -> OnboardingRequest:  # noqa: ANN401 - JSON
        """A request for one repository at the first connected registry, with changes."""
        body = {
            "deviceId": device_id,
            "connectedRegistry": "plantone",
            "repositories": ["plant/app"],
            **self.asks_with,
            **changes,
        }
        return read_request(json.dumps({k: v for k, v in body.items() if v is not None}).encode())

    async def ask(
        self,
        device_id: str = "press-1",
        **changes: Any,  # noqa: ANN401 - JSON
    ) -> DeviceRecord:
        """Ask for a device, again while the answer is an error that passes."""
        request = self.request(device_id, **changes)
        return await self.retry(lambda app: app.onboarding.ask(request, requested_by="a test"))

    async def revoke(self, device: DeviceKey) -> DeviceRecord:
        """Revoke a device, likewise."""
        return await self.retry(lambda app: app.revoking.revoke(device, requested_by="a test"))

    async def rotate(self, device: DeviceKey, *, immediately: bool = False) -> DeviceRecord:
        """Ask for another password, likewise."""
        return await self.retry(
            lambda app: app.rotating.rotate(device, immediately=immediately, requested_by="a test")
        )

    async def sweep(self) -> SweepReport:
        """Run the sweep once."""
        _, process = self._next_process()
        return await process.application.sweeper.run()

    async def handle(self, device: DeviceKey, *, created: bool, at: datetime | None = None) -> None:
        """Handle the event that a device was created in its hub, or deleted there."""
        event = DeviceEvent(
            hub_name=device.hub.split(".", 1)[0],
            device_id=device.device_id,
            created=created,
            at=at or self.clock.now(),
        )
        _, process = self._next_process()
        await process.application.event_handler.handle(event)

    def opt_in(self, device: DeviceKey, connected_registry: str = "plantone") -> None:
        """Give a device the tag by which it asks for what `request` asks for."""
        target: JsonObject = {
            "connectedRegistry": connected_registry,
            "repositories": ["plant/app"],
        }
        self.cloud.patch_twin(device, tags={OPT_IN_TAG: target})

    @contextmanager
    def at_call(
        self, number: int, act: Callable[[], Coroutine[Any, Any, object]]
    ) -> Iterator[list[asyncio.Task[object]]]:
        """Have `act` begin at a call, counted from the next one; the list is empty until then."""
        tasks: list[asyncio.Task[object]] = []
        self.cloud.act(lambda: tasks.append(asyncio.create_task(act())), at=number)
        yield tasks

    async def retry[T](self, call: Callable[[Application], Awaitable[T]]) -> T:
        """The answer of an endpoint, called again after a crash or an error that passes."""
        while True:
            number, process = self._next_process()
            try:
                return await call(process.application)
            except Crashed:
                self.restart(number)
            except FirstpullError as error:
                self.cloud.watch.messages.add(error)
                if not isinstance(error, Transient):
                    raise
            await self.clock.sleep(1)

    async def attempt(self, call: Callable[[Application], Awaitable[object]]) -> object:
        """The answer of one call; None after a crash or an error."""
        number, process = self._next_process()
        try:
            return await call(process.application)
        except Crashed:
            self.restart(number)
        except FirstpullError as error:
            self.cloud.watch.messages.add(error)
        return None

    @asynccontextmanager
    async def while_held(
        self, operation: str, work: Coroutine[Any, Any, object], *, answer: bool = False
    ) -> AsyncIterator[None]:
        """Run the body while the next call of an operation in `work` waits; then end `work`."""
        with self.cloud.hold_call(operation, answer=answer) as held:
            task = asyncio.create_task(work)
            await held.reached.wait()
            yield
        await task

    async def make_ready(self, device_id: str = "press-1", **changes: Any) -> DeviceKey:  # noqa: ANN401 - JSON
        """Register a device, onboard it, and let it log in after a sync."""
        device = self.register(device_id)
        await self.ask(device_id, **changes)
        if self._sync_every is None:
            await self.run_for(timedelta(minutes=1))
            for ref in self.cloud.sites:
                self.cloud.sync(ref)
        await self.run_until_quiet()
        if self.state(device) is not State.READY:
            raise AssertionError(self.cloud.record(device).status.condition)
        return device

    async def make_fleet(self, count: int) -> list[DeviceKey]:
        """Register devices, and onboard them at once."""
        devices = [self.register(f"press-{n}") for n in range(count)]
        await asyncio.gather(*(self.ask(device.device_id) for device in devices))
        await self.run_until_quiet()
        if any(self.state(device) is not State.READY for device in devices):
            raise AssertionError([r.status.condition for r in self.cloud.all_records()])
        return devices

    def state(self, device: DeviceKey) -> State:
        """The state of the device's condition."""
        return self.cloud.record(device).status.condition.state

    def reason(self, device: DeviceKey) -> Reason:
        """The reason of the device's condition."""
        return self.cloud.record(device).status.condition.reason

    async def reconcile(self, device: DeviceKey) -> None:
        """Reconcile a device once, now, whatever its schedule says."""
        self.make_due(device)
        _, process = self._next_process()
        await process.worker.reconcile(device)

    def make_due(self, device: DeviceKey) -> None:
        """Make the device due now."""
        text, version = self.cloud.records[device]
        document = json.loads(text)
        document["due_at"] = self.clock.now().isoformat()
        self.cloud.records[device] = json.dumps(document), version

    async def run_until_quiet(self, limit: timedelta = timedelta(hours=3)) -> None:
        """Play until nothing runs and nothing is due for a few minutes, then check the promises."""
        if not await self.run_until(self._is_quiet, limit):
            conditions = [r.status.condition for r in self.cloud.all_records()]
            raise AssertionError(f"not quiet after {limit}: {conditions}")
        self.check_promises()

    async def run_for(self, duration: timedelta) -> None:
        """Play for a while, then check the promises."""
        await self.run_until(lambda: False, duration)
        self.check_promises()

    async def run_after(self, duration: timedelta) -> None:
        """Play a day after a time in which no process ran and no device acted."""
        self.cloud.pass_to(self.clock.now() + duration)
        await self.run_for(timedelta(days=1))

    def check_promises(self) -> None:
        """Raise AssertionError where a promise was broken since the beginning."""
        self.cloud.watch.check()

    async def run_until(self, done: Callable[[], bool], limit: timedelta) -> bool:
        """Play until `done`, at most for `limit`. Returns whether it was."""
        give_up = self.clock.now() + limit
        while self.clock.now() < give_up:
            await self.play_what_is_due()
            if done():
                return True
            self.cloud.pass_to(min(give_up, self.next_event()))
        self._catch_up()
        return False

    async def play_what_is_due(self) -> None:
        """Sync, run the timer, deliver reconcile requests, and let the devices act."""
        self._check_logins()
        self._catch_up()
        if self._next_timer <= self.clock.now():
            self._next_timer = self.clock.now() + _TIMER
            await self.run_timer()
        while await self.deliver():
            pass
        self._let_devices_act()

    async def run_timer(self) -> None:
        """Requeue the devices that are overdue."""
        await self.attempt(lambda application: application.requeue_overdue())

    async def deliver(self) -> bool:
        """Deliver the reconcile requests that are due, all at once. Whether there was one."""
        due = [r for r in self.cloud.queue if r.visible_at <= self.clock.now()]
        for request in due:
            self.cloud.queue.remove(request)
        await asyncio.gather(*(self._deliver(request) for request in due))
        return bool(due)

    def _catch_up(self) -> None:
        """Do what the syncs and devices would have done since the last event."""
        now = self.clock.now()
        if self._sync_every is not None and self._next_sync <= now:
            self._next_sync = now + self._sync_every
            for ref in self.cloud.sites:
                self.cloud.sync(ref)
            self._let_devices_act()

    def _let_devices_act(self) -> None:
        if self.devices_answer:
            for device in self.cloud.devices.values():
                device.act(self.cloud)

    async def _deliver(self, request: ReconcileRequest) -> None:
        number, process = self._next_process()
        try:
            await process.worker.reconcile(request.device)
        except Crashed:
            self.restart(number)
        except FirstpullError as error:
            self.cloud.watch.messages.add(error)
            dequeued = request.dequeued + 1
            if dequeued < _POISON_AFTER:
                visible_at = self.clock.now() + _REDELIVERY
                self.cloud.queue.append(replace(request, visible_at=visible_at, dequeued=dequeued))

    def next_event(self) -> datetime:
        """When something can change next.

        A timer that would find no device due is left out, and a sync that would change nothing.
        """
        times = [request.visible_at for request in self.cloud.queue]
        for record in self.cloud.all_records():
            runs = max(0, ceil((record.schedule.due_at - self._next_timer) / _TIMER))
            times.append(self._next_timer + runs * _TIMER)
        if self._sync_every is not None and self.cloud.is_out_of_sync:
            times.append(self._next_sync)
        return min(times, default=self.clock.now() + _TIMER)

    def _is_quiet(self) -> bool:
        soon = self.clock.now() + _QUIET
        return not any(r.visible_at <= soon for r in self.cloud.queue) and not any(
            record.schedule.due_at <= soon
            or record.claim
            or record.status.condition.state in _UNFINISHED
            # A device stays ready while a look at it fails.
            or (record.status.condition.state is State.READY and record.schedule.attempts)
            for record in self.cloud.all_records()
        )

    def _check(self) -> None:
        self.cloud.watch.after_write()
        self.cloud.watch.check_now()
        self._check_logins()

    def _check_logins(self) -> None:
        for device in self.must_stay_logged_in:
            held = self.cloud.devices[device].held
            if not any(
                self.cloud.site_accepts(h.ref, h.names.token, held.get(h.ref.name, ""))
                for h in self.cloud.record(device).grants
            ):
                self.cloud.violations.append(f"P2: {device.device_id} is locked out")

    def _start(self) -> Process:
        return make_process(self.cloud, self.policy)

    def _next_process(self) -> tuple[int, Process]:
        self._turn = (self._turn + 1) % len(self.processes)
        return self._turn, self.processes[self._turn]

    def restart(self, number: int) -> None:
        """Start a process anew where it crashed."""
        if self.processes[number].line.dead:
            self.crashes += 1
            self.processes[number] = self._start()


def over_two_registries(*, capacity: int = 50) -> Harness:
    """Two connected registries of one container registry, one of another, and a site over both.

    `capacity` is that of all but the first.
    """
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER_REGISTRY],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "planttwo", "capacity": capacity},
            {
                "name": "portone",
                "containerRegistry": OTHER_REGISTRY.name,
                "capacity": capacity,
            },
        ],
        sites=[{"name": "all", "connectedRegistries": ["planttwo", "portone"]}],
        adoptableTokens=["by-hand"],
    )
    harness = Harness(policy=policy)
    harness.cloud.connect(PORT_ONE, login_server="portone.other.example:8000")
    return harness
