"""One pass over one device. docs/onboarding-cycle.md has its steps, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model import transitions
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Claim, Condition, Delivery, DeviceRecord, Grant, State
from firstpull.model.errors import Conflict, FirstpullError, Transient
from firstpull.model.history import Journal, entry
from firstpull.model.ports import Records, Stored, WorkQueue
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import next_check
from firstpull.observability import telemetry
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.apply import Applier, Guard
from firstpull.reconcile.apply_teardown import TeardownApplier
from firstpull.reconcile.observe import Observed, Observer
from firstpull.reconcile.plan import (
    Plan,
    ProvisionPlan,
    TeardownPlan,
    is_still_unacknowledged,
    make_plan,
)
from firstpull.reconcile.status import (
    after_failure,
    after_pass,
    changes,
    condition_after,
    is_unchanged_by,
)
from firstpull.reconcile.warnings import log_new_warnings

CLAIM = timedelta(seconds=120)
"""How long a worker may write to one device."""
_QUEUE_LIMIT = timedelta(minutes=10)
"""The timer requeues a device whose next pass is later than this."""
_TWIN_ONLY = timedelta(minutes=2)
"""How long after a whole pass a read of the twin alone may replace another whole pass."""
_EARLY = timedelta(seconds=1)
"""A reconcile request may be this early: the clocks of two hosts differ."""
_ATTEMPTS = 8
"""Conditional writes of the record after a pass, while requests change it."""
_LOGGED_AS_WARNINGS = (LogEvent.DEVICE_RECONCILE_BLOCKED, LogEvent.DEVICE_WARNING_RAISED)
"""`_log` logs these separately, with their reason."""
_ENDED = {
    State.PENDING: LogEvent.DEVICE_RECONCILE_PENDING,
    State.CONVERGING: LogEvent.DEVICE_RECONCILE_CONVERGING,
    State.WAITING: LogEvent.DEVICE_RECONCILE_WAITING,
    State.BLOCKED: LogEvent.DEVICE_RECONCILE_BLOCKED,
    State.DELIVERED: LogEvent.DEVICE_RECONCILE_DELIVERED,
    State.READY: LogEvent.DEVICE_RECONCILE_READY,
    State.REVOKING: LogEvent.DEVICE_RECONCILE_REVOKING,
    State.REVOKED: LogEvent.DEVICE_RECONCILE_REVOKED,
}
"""The event of a pass, by the state in which it ended."""

type Outcome = Callable[[DeviceRecord], DeviceRecord]


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Reconciles devices, one call each."""

    records: Records
    queue: WorkQueue
    observer: Observer
    applier: Applier
    teardown_applier: TeardownApplier
    clock: Clock
    new_id: Callable[[], str]
    validity: timedelta

    async def reconcile(self, device: DeviceKey) -> None:
        """Run one pass over a device, and schedule the next.

        The record has any error of the pass. Raises only the errors of reading and writing the
        record itself.
        """
        stored = await self.records.get(device)
        if stored is None or not self._is_free(stored.value):
            return
        with telemetry.span("reconcile device", hub=device.hub, device_id=device.device_id):
            await self._run(stored)

    async def _run(self, stored: Stored[DeviceRecord]) -> None:
        device = stored.value.device
        journal = Journal(device=device, clock=self.clock)
        try:
            if await self._is_still_unacknowledged(stored.value):
                await self._conclude(stored, self._postponed, journal)
                return
            observed = await self.observer.observe(stored.value)
            plan = make_plan(observed, now=self.clock.now(), validity=self.validity)
            delivery = None
            if plan.actions:
                before = stored.value
                stored, claim = await self._claim(stored, observed, plan)
                if before.token_to_adopt is not None and await self._is_contested(stored.value):
                    stored = await self._give_up_token(stored, before)
                    contested = Conflict("Another device is adopting the same token.")
                    await self._conclude(stored, self._failed(contested), journal)
                    return
                guard = Guard(until=claim.until, clock=self.clock)
                delivery = await self._apply(plan, guard, journal)
        except FirstpullError as error:
            await self._conclude(stored, self._failed(error), journal, failure=error)
        except Exception as error:
            emit_crash(
                LogEvent.DEVICE_RECONCILE_CRASHED, error, hub=device.hub, device_id=device.device_id
            )
            defect = Transient(Reason.INTERNAL_ERROR, MEANING[Reason.INTERNAL_ERROR])
            await self._conclude(stored, self._failed(defect), journal)
        else:
            await self._conclude(stored, self._outcome(observed, plan, delivery), journal)

    def _outcome(self, observed: Observed, plan: Plan, delivery: Delivery | None) -> Outcome:
        """The record after the pass. A part that could not be read makes the pass a failed one."""
        outcome: Outcome = partial(
            after_pass, observed=observed, plan=plan, delivery=delivery, now=self.clock.now()
        )
        if observed.unread and isinstance(plan, TeardownPlan):
            return self._failed(observed.unread[0])
        if observed.unread and isinstance(plan, ProvisionPlan) and plan.retire is not None:
            failed = self._failed(observed.unread[0])
            return lambda record: failed(outcome(record))
        return outcome

    def _failed(self, error: FirstpullError) -> Outcome:
        return partial(after_failure, error=error, now=self.clock.now())

    def _is_free(self, record: DeviceRecord) -> bool:
        """Whether the device is due and no worker has claimed it.

        An expired claim counts for the time of one more request: its holder may still be writing.
        """
        now = self.clock.now()
        claim = record.claim
        held = claim is not None and now < claim.until + timedelta(seconds=REQUEST_DEADLINE)
        return record.schedule.due_at <= now + _EARLY and not held

    async def _is_still_unacknowledged(self, record: DeviceRecord) -> bool:
        """Whether one read of the twin shows that nothing happened since the last whole pass.

        Most passes are over devices that have not logged in yet. Reading everything each time
        would use up Azure Resource Manager's request limit.
        """
        now, seen = self.clock.now(), record.status.observed_at
        is_delivered = record.status.condition.state is State.DELIVERED
        if not is_delivered or seen is None or now - seen > _TWIN_ONLY:
            return False
        twin = await self.observer.hubs.twin(record.device)
        return twin is not None and is_still_unacknowledged(record, twin)

    def _postponed(self, record: DeviceRecord) -> DeviceRecord:
        condition = record.status.condition
        due_at = next_check(condition, now=self.clock.now(), renew_at=None)
        return transitions.woken(record, due_at)

    async def _claim(
        self, stored: Stored[DeviceRecord], observed: Observed, plan: Plan
    ) -> tuple[Stored[DeviceRecord], Claim]:
        """Write the claim, and the names of everything that the plan will make."""
        record, view, credential = stored.value, observed.chosen, observed.credential
        if view is not None and credential is not None:
            record = transitions.granted(
                record,
                Grant(ref=view.ref, names=credential.names),
                slots=plan.slots_to_fill if isinstance(plan, ProvisionPlan) else (),
                hub_generation_id=observed.hub_generation_id,
            )
        claim = Claim(owner=self.new_id(), until=self.clock.now() + CLAIM)
        record = transitions.claimed(
            record,
            claim,
            condition=self._condition_while_claimed(record, plan),
            due_at=claim.until + timedelta(seconds=REQUEST_DEADLINE),
        )
        return await self.records.replace(record, etag=stored.etag), claim

    async def _is_contested(self, record: DeviceRecord) -> bool:
        """Whether another record names the token that this record is about to adopt.

        Called after the claim names the token, so at least one of two concurrent adopters sees
        the other.
        """
        grant = record.status.grant
        if grant is None:
            return False
        return await self.observer.is_named_elsewhere(record, grant.ref, grant.names.token)

    async def _give_up_token(
        self, stored: Stored[DeviceRecord], before: DeviceRecord
    ) -> Stored[DeviceRecord]:
        given_up = transitions.without_contested_token(stored.value, before)
        return await self.records.replace(given_up, etag=stored.etag)

    def _condition_while_claimed(self, record: DeviceRecord, plan: Plan) -> Condition:
        """A blocked device stays blocked until a pass has succeeded."""
        if record.status.condition.state is State.BLOCKED:
            return record.status.condition
        revoked = record.spec.revocation is not None
        return condition_after(
            record,
            State.REVOKING if revoked else State.CONVERGING,
            Reason.REVOKING if revoked else Reason.CONVERGING,
            "; ".join(action.why for action in plan.actions),
            now=self.clock.now(),
        )

    async def _apply(self, plan: Plan, guard: Guard, journal: Journal) -> Delivery | None:
        teardown = plan if isinstance(plan, TeardownPlan) else None
        if isinstance(plan, ProvisionPlan):
            teardown = plan.retire
            steps = plan.steps
        elif not isinstance(plan, TeardownPlan):
            steps = plan.actions
        else:
            steps = ()
        delivery = await self.applier.apply(steps, guard=guard, journal=journal)
        if teardown is not None:
            await self.teardown_applier.apply(teardown.actions, guard=guard, journal=journal)
        return delivery

    async def _conclude(
        self,
        stored: Stored[DeviceRecord],
        outcome: Outcome,
        journal: Journal,
        *,
        failure: FirstpullError | None = None,
    ) -> None:
        """Write the outcome and release the claim. A request made meanwhile is due at once.

        A pass without a claim has changed nothing. If another writer changed the record
        meanwhile, the pass drops its outdated outcome: that writer has scheduled the next pass.
        """
        begun = stored.value
        for _ in range(_ATTEMPTS):
            record = outcome(stored.value)
            if record.spec.generation != begun.spec.generation:
                record = transitions.interrupted(record, stored.value, now=self.clock.now())
            elif stored.value.schedule.due_at != begun.schedule.due_at:  # woken meanwhile
                due_at = min(stored.value.schedule.due_at, record.schedule.due_at)
                record = transitions.woken(record, due_at)
            found = list(changes(stored.value, record))
            noted = [entry(event, at=self.clock.now(), detail=text) for event, text in found]
            record = transitions.with_history(record, [*journal.entries, *noted])
            try:
                stored = await self.records.replace(record, etag=stored.etag)
                break
            except Conflict:
                again = await self.records.get(begun.device)
                if again is None or begun.claim is None or again.value.claim != begun.claim:
                    return
                stored = again
        else:
            return  # the claim expires, and the timer requeues the device
        self._log(begun, record, [event for event, _ in found], failure=failure)
        await self._enqueue(stored.value)

    def _log(
        self,
        begun: DeviceRecord,
        record: DeviceRecord,
        found: list[LogEvent],
        *,
        failure: FirstpullError | None,
    ) -> None:
        device = record.device
        for event in found:
            if event not in _LOGGED_AS_WARNINGS:
                emit(event, hub=device.hub, device_id=device.device_id)
        log_new_warnings(begun, record)
        since = begun.status.awaits_first_pull_since
        if since is not None and LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED in found:
            waited = self.clock.now() - since
            telemetry.FIRST_PULL.record(waited.total_seconds())
        condition = record.status.condition
        report = emit_warning if condition.state is State.BLOCKED else emit
        state, reason = condition.state, condition.reason
        if failure is not None and is_unchanged_by(begun, failure):
            state, reason = State.CONVERGING, failure.reason
        report(
            _ENDED[state],
            hub=device.hub,
            device_id=device.device_id,
            generation=record.spec.generation,
            reason=reason.value,
            attempts=record.schedule.attempts,
        )

    async def _enqueue(self, record: DeviceRecord) -> None:
        wait = record.schedule.due_at - self.clock.now()
        if wait <= _QUEUE_LIMIT:
            delay = max(wait.total_seconds(), 0)
            await self.queue.put(record.device, delay_seconds=delay)
