"""Everything that can happen to devices, in any order: a state machine for Hypothesis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import NoReturn

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firstpull.bootstrap import Application
from firstpull.intake.event_grid import DeviceEvent, SecretEvent
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Invalid
from tests.firstpull.records import changed
from tests.lifetime import reached
from tests.lifetime.ending import asks_for, check_the_end
from tests.lifetime.expected_state import ExpectedState
from tests.lifetime.external_actor import DeviceChange, ExternalActor, ListChange
from tests.lifetime.sites import REFS, SITES, VAULT, ref_of
from tests.lifetime.world import World
from tests.world.calls import READS, WRITES, Fault, When
from tests.world.cloud import HUB

DEVICES = ("press-1", "press-2", "press-3")
TARGETS = (*(ref.name for ref in REFS), *SITES)
REPOSITORIES = (["plant/app"], ["plant/app", "plant/model"], ["plant/model"])

devices = st.sampled_from(DEVICES)
refs = st.sampled_from([ref.name for ref in REFS])
targets = st.sampled_from(TARGETS)
repositories = st.sampled_from(REPOSITORIES)
minutes = st.sampled_from((1, 7, 30, 130))
leaps = st.sampled_from((2 / 60, 3, 16, 60, 24 * 60, 40 * 24 * 60, 50 * 24 * 60, 100 * 24 * 60))
calls: st.SearchStrategy[When] = st.one_of(st.sampled_from(WRITES), st.integers(1, 40))
now_or_at_a_call = st.one_of(st.just(0), calls)


class Lifetime(RuleBasedStateMachine):
    """Devices from their first request to their last revoke, in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.external_actor = ExternalActor(self.world.cloud)
        self.expected: dict[DeviceKey, ExpectedState] = {}
        self.requests: dict[DeviceKey, OnboardingRequest] = {}
        self.is_broken = False

    @initialize(ready=st.lists(devices, max_size=3, unique=True), where=targets)
    def some_are_there(self, ready: list[str], where: str) -> None:
        for device in ready:
            self.world.register(device)
            self._ask(device, where, ["plant/app"])
        self.world.run(self.world.run_for(timedelta(minutes=15)))

    # Requests

    @rule(device=devices, where=targets, what=repositories, meanwhile=st.booleans())
    def ask(self, device: str, where: str, what: list[str], meanwhile: bool) -> None:  # noqa: FBT001 - drawn
        self._ask(device, where, what, meanwhile=meanwhile)

    @precondition(lambda self: self.requests)
    @rule(device=devices)
    def ask_again(self, device: str) -> None:
        key, before = device_key(device), self.world.record(device_key(device))
        if before is None or before.spec.revocation is not None or key not in self.requests:
            return
        request = self.requests[key]
        if not asks_for(request, before):
            return
        after = self._retry(lambda app: app.onboarding.ask(request, requested_by="again"))
        if not isinstance(after, DeviceRecord):
            self._fail(f"P8: asking again was refused: {after}")
        same = changed(
            after,
            intent=replace(after.spec.intent, at=before.spec.intent.at),
            due_at=before.schedule.due_at,
        )
        if same != before:
            parts = [
                f.name for f in fields(same) if getattr(same, f.name) != getattr(before, f.name)
            ]
            self._fail(f"P8: asking again changed {', '.join(parts)}")

    @precondition(lambda self: self.requests)
    @rule(device=devices, where=targets, age=st.sampled_from((1, 20, 3 * 60)))
    def ask_late(self, device: str, where: str, age: int) -> None:
        """A message that was written a while ago is delivered now."""
        asked_at = self.world.clock.now() - timedelta(minutes=age)
        self._ask(device, where, ["plant/app"], asked_at=asked_at)

    @precondition(lambda self: self.requests)
    @rule(device=devices, meanwhile=st.booleans())
    def revoke(self, device: str, meanwhile: bool) -> None:  # noqa: FBT001 - drawn
        key = device_key(device)
        answer = self._retry(
            lambda app: app.revoking.revoke(key, requested_by="a person"), meanwhile=meanwhile
        )
        if isinstance(answer, DeviceRecord):
            self._expected(key).was_revoked(self.world.clock.now())

    @precondition(lambda self: self.requests)
    @rule(device=devices, immediately=st.booleans(), meanwhile=st.booleans())
    def rotate(self, device: str, immediately: bool, meanwhile: bool) -> None:  # noqa: FBT001 - drawn
        self._retry(
            lambda app: app.rotating.rotate(
                device_key(device), immediately=immediately, requested_by="a person"
            ),
            meanwhile=meanwhile,
        )

    @rule(device=devices, ref=refs, registers=st.booleans())
    def adopt(self, device: str, ref: str, registers: bool) -> None:  # noqa: FBT001 - drawn
        """Ask to take over a token that a person made for the device."""
        key = device_key(device)
        if registers and key not in self.world.cloud.devices:
            self.register(device, tagged=False)
        if key not in self.world.cloud.devices:
            return
        token = self.external_actor.make_by_hand(self.world.cloud.devices[key], ref_of(ref))
        self._ask(device, ref, ["plant/app"], adopt=token)

    @rule(device=devices, where=targets, what=repositories)
    def dry_run(self, device: str, where: str, what: list[str]) -> None:
        key, request = device_key(device), self.world.request_to(where, device, what)

        async def dry_run(app: Application) -> None:
            plan_for = app.dry_run.plan_for
            await plan_for(await app.onboarding.propose(request, requested_by="a person"))
            await plan_for(await app.revoking.propose_within_limit(key, requested_by="a person"))
            await plan_for(
                await app.rotating.propose(key, immediately=True, requested_by="a person")
            )

        before = len(self.world.cloud.calls)
        self.world.run(self.world.attempt(dry_run))
        if writes := set(self.world.cloud.calls[before:]) - READS:
            self._fail(f"P9: a dry run called {', '.join(sorted(writes))}")

    # The hub

    @rule(device=devices, tagged=st.booleans())
    def register(self, device: str, tagged: bool) -> None:  # noqa: FBT001 - drawn
        key = device_key(device)
        if key in self.world.cloud.devices:
            return
        self.world.register(device)
        if tagged:
            self.world.opt_in(key, "planttwo")
        self._expected(key).was_registered(tagged=tagged)

    @precondition(lambda self: self.world.cloud.devices)
    @rule(device=devices, announced=st.booleans(), comes_back=st.booleans())
    def delete(self, device: str, announced: bool, comes_back: bool) -> None:  # noqa: FBT001 - drawn
        key = device_key(device)
        if key not in self.world.cloud.devices:
            return
        self.world.cloud.unregister(key)
        self._expected(key).was_deleted()
        if announced:
            self._handle(device, created=False)
        if comes_back:
            self.register(device, tagged=False)

    @precondition(lambda self: self.world.cloud.devices)
    @rule(device=devices, enabled=st.booleans())
    def change_identity(self, device: str, enabled: bool) -> None:  # noqa: FBT001 - drawn
        if device_key(device) in self.world.cloud.devices:
            self.world.cloud.change_identity(device_key(device), enabled=enabled)

    @rule(device=devices, created=st.booleans(), age=st.sampled_from((0, 20, 24 * 60)))
    def device_event(self, device: str, created: bool, age: int) -> None:  # noqa: FBT001 - drawn
        """An event of the hub, which may be an old one."""
        self._handle(device, created=created, age=age)

    @precondition(lambda self: self.requests)
    @rule(device=devices, created=st.booleans())
    def secret_event(self, device: str, created: bool) -> None:  # noqa: FBT001 - drawn
        record = self.world.record(device_key(device))
        if record is None or record.status.grant is None:
            return
        event = SecretEvent(
            vault_host=VAULT,
            secret=record.status.grant.names.secret,
            version="another",
            created=created,
        )
        self.world.run(self.world.attempt(lambda app: app.event_handler.handle(event)))

    # External actors

    @rule(ref=refs, change=st.sampled_from(ListChange), at=now_or_at_a_call)
    def change_list(self, ref: str, change: ListChange, at: When) -> None:
        actor = self.external_actor
        self.world.cloud.act(lambda: actor.change_list(ref_of(ref), change), at=at)

    @precondition(lambda self: self.requests)
    @rule(device=devices, change=st.sampled_from(DeviceChange), at=now_or_at_a_call)
    def change_device(self, device: str, change: DeviceChange, at: When) -> None:
        def act() -> None:
            if (record := self.world.record(device_key(device))) is not None:
                self.external_actor.change_device(record, change)

        self.world.cloud.act(act, at=at)

    # Faults

    @rule(fault=st.sampled_from(Fault), at=calls)
    def inject(self, fault: Fault, at: When) -> None:
        self.world.cloud.inject(fault, at=at)

    @precondition(lambda self: self.world.cloud.queue)
    @rule()
    def lose_reconcile_requests(self) -> None:
        self.world.cloud.queue.clear()

    @precondition(lambda self: self.world.cloud.queue)
    @rule()
    def repeat_reconcile_requests(self) -> None:
        self.world.cloud.queue *= 2

    @precondition(lambda self: self.world.cloud.queue)
    @rule(by=st.integers(1, 30))
    def delay_reconcile_requests(self, by: int) -> None:
        delay = timedelta(minutes=by)
        self.world.cloud.queue[:] = [
            replace(request, visible_at=request.visible_at + delay)
            for request in self.world.cloud.queue
        ]

    # Time

    @precondition(lambda self: self.world.cloud.queue)
    @rule()
    def deliver(self) -> None:
        self.world.run(self.world.deliver())

    @rule(duration=minutes)
    def run_for(self, duration: int) -> None:
        self.world.run(self.world.run_for(timedelta(minutes=duration)))

    @rule(by=leaps)
    def pass_time(self, by: float) -> None:
        self.world.cloud.pass_to(self.world.clock.now() + timedelta(minutes=by))

    @rule(ref=refs, goes_offline=st.booleans())
    def sync(self, ref: str, goes_offline: bool) -> None:  # noqa: FBT001 - drawn
        site = self.world.cloud.sites[ref_of(ref)]
        site.go_online()
        site.sync()
        if goes_offline:
            site.go_offline()

    @precondition(lambda self: self.world.cloud.devices)
    @rule(device=devices, away=st.booleans())
    def act(self, device: str, away: bool) -> None:  # noqa: FBT001 - drawn
        acting = self.world.cloud.devices.get(device_key(device))
        if acting is not None:
            acting.is_away = False
            acting.act(self.world.cloud)
            acting.is_away = away

    @rule()
    def run_timer(self) -> None:
        self.world.run(self.world.run_timer())

    @rule(approve=st.booleans())
    def sweep(self, approve: bool) -> None:  # noqa: FBT001 - drawn
        self.world.run(self.world.try_sweep(approve=approve))

    # Promises

    @invariant()
    def promises_hold(self) -> None:
        self.is_broken = True
        self.world.cloud.watch.check()
        self.is_broken = False
        reached.note(self.world)

    def teardown(self) -> None:
        try:
            if not self.is_broken:
                self.is_broken = True
                check_the_end(self.world, self.expected, self.requests)
        finally:
            self.world.close()

    def _ask(
        self,
        device: str,
        where: str,
        what: list[str],
        *,
        adopt: str | None = None,
        asked_at: datetime | None = None,
        meanwhile: bool = False,
    ) -> None:
        key, request = device_key(device), self.world.request_to(where, device, what, adopt=adopt)
        answer = self._retry(
            lambda app: app.onboarding.ask(request, requested_by="a person", asked_at=asked_at),
            meanwhile=meanwhile,
        )
        expected = self._expected(key)
        if not isinstance(answer, DeviceRecord):
            return
        if expected.forbids(asked_at):
            self._fail(f"P7: a request of {asked_at} was accepted after a later revoke")
        self.requests[key] = request
        expected.was_asked_for(is_there=key in self.world.cloud.devices)

    def _retry(
        self, call: Callable[[Application], Awaitable[DeviceRecord]], *, meanwhile: bool = False
    ) -> DeviceRecord | Invalid:
        async def answer() -> DeviceRecord | Invalid:
            try:
                return await self.world.retry(call)
            except Invalid as refusal:
                return refusal

        async def both() -> DeviceRecord | Invalid:
            waiting = self.world.deliver() if meanwhile else asyncio.sleep(0)
            found, _ = await asyncio.gather(answer(), waiting)
            return found

        return self.world.run(both())

    def _handle(self, device: str, *, created: bool, age: int = 0) -> None:
        event = DeviceEvent(
            hub_name=HUB.split(".", maxsplit=1)[0],
            device_id=device,
            created=created,
            at=self.world.clock.now() - timedelta(minutes=age),
        )
        self.world.run(self.world.attempt(lambda app: app.event_handler.handle(event)))

    def _fail(self, promise: str) -> NoReturn:
        self.is_broken = True
        raise AssertionError(promise)

    def _expected(self, key: DeviceKey) -> ExpectedState:
        return self.expected.setdefault(key, ExpectedState())


def device_key(device: str) -> DeviceKey:
    return DeviceKey(hub=HUB, device_id=device)
