"""One pass over one device. docs/onboarding-cycle.md has its steps, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model import transitions
from firstpull.model.clock import MOST_OFF, Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Claim, Condition, Delivery, DeviceRecord, Grant, State
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.history import Journal, entry
from firstpull.model.ports import Records, Stored, WorkQueue
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import next_check
from firstpull.observability import telemetry
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.actions import TagSecret
from firstpull.reconcile.apply import Applier, Guard
from firstpull.reconcile.apply_teardown import TeardownApplier
from firstpull.reconcile.observe import Observed, Observer
from firstpull.reconcile.plan import (
    Plan,
    ProvisionPlan,
    TeardownPlan,
    is_still_unacknowledged,
)
from firstpull.reconcile.prepare import Planned, Preparation, Prepared
from firstpull.reconcile.status import (
    after_failure,
    after_pass,
    after_upkeep,
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
    preparation: Preparation
    applier: Applier
    teardown_applier: TeardownApplier
    clock: Clock
    clock_offset: Callable[[], timedelta]
    new_id: Callable[[], str]

    @property
    def observer(self) -> Observer:
        """Reads what exists for a device."""
        return self.preparation.observer

    async def reconcile(self, device: DeviceKey) -> None:
        """Run one pass over a device, and schedule the next.

        The record has any error of the pass. Raises only the errors of reading and writing the
        record itself.
        """
        try:
            stored = await self.records.get(device)
        except Blocked as error:
            if error.reason is not Reason.RECORD_NOT_READABLE:
                raise
            emit_warning(
                LogEvent.DEVICE_RECORD_UNREADABLE, hub=device.hub, device_id=device.device_id
            )
            return
        if stored is None or not self._is_free(stored.value):
            return
        if abs(offset := self.clock_offset()) > MOST_OFF:
            # Other clocks decide on what this host does: when a password ends, when a site synced.
            # The timer requeues the device, for a host whose clock is right.
            emit_warning(
                LogEvent.HOST_CLOCK_OFF,
                hub=device.hub,
                device_id=device.device_id,
                seconds=round(offset.total_seconds()),
            )
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
            stored = await self._take_back(stored)
            prepared = await self.preparation.prepare(stored.value)
            work, delivery = prepared.work, None
            if work is not None:
                before = stored.value
                stored, claim = await self._claim(stored, work)
                if _takes_token(before, work.observed) and await self._is_contested(stored.value):
                    stored = await self._give_up_token(stored, before)
                    contested = Conflict("Another device is taking the same token.")
                    await self._conclude(stored, self._failed(contested), journal)
                    return
                guard = Guard(until=claim.until, clock=self.clock)
                delivery = await self._apply(work.plan, guard, journal)
        except Blocked as refusal:
            stored, outcome = await self._refused(stored, refusal, journal)
            await self._conclude(stored, outcome, journal)
        except FirstpullError as error:
            await self._conclude(stored, self._failed(error), journal, failure=error)
        except Exception as error:
            emit_crash(
                LogEvent.DEVICE_RECONCILE_CRASHED, error, hub=device.hub, device_id=device.device_id
            )
            defect = Transient(Reason.INTERNAL_ERROR, MEANING[Reason.INTERNAL_ERROR])
            await self._conclude(stored, self._failed(defect), journal)
        else:
            await self._conclude(stored, self._outcome(prepared, delivery), journal)

    async def _take_back(self, stored: Stored[DeviceRecord]) -> Stored[DeviceRecord]:
        """The record of a device that keeps what it had when an earlier record was lost."""
        before, record = stored.value, await self.preparation.taken_back(stored.value)
        if record == before:
            return stored
        stored = await self.records.replace(record, etag=stored.etag)
        if await self._is_contested(record):
            return await self.records.replace(before, etag=stored.etag)
        device = record.device
        emit_warning(
            LogEvent.DEVICE_RECORD_REBUILT,
            hub=device.hub,
            device_id=device.device_id,
            generation=record.spec.generation,
        )
        return stored

    async def _refused(
        self, stored: Stored[DeviceRecord], refusal: Blocked, journal: Journal
    ) -> tuple[Stored[DeviceRecord], Outcome]:
        """The record after a pass that a service refused: what the device has is maintained."""
        failed = self._failed(refusal)
        if refusal.reason is Reason.RECORD_OUT_OF_DATE:
            return stored, failed
        try:
            upkeep, delivery = await self.preparation.upkeep(stored.value), None
            if upkeep is None:
                return stored, failed
            if upkeep.plan.actions:
                stored, claim = await self._claim(stored, upkeep)
                guard = Guard(until=claim.until, clock=self.clock)
                delivery = await self._apply(upkeep.plan, guard, journal)
        except FirstpullError:
            return stored, failed
        return stored, self._outcome(Prepared(refusal=refusal, upkeep=upkeep), delivery)

    def _outcome(self, prepared: Prepared, delivery: Delivery | None) -> Outcome:
        """The record after the pass, with what it did for the change and for what there is."""
        now, upkeep, change = self.clock.now(), prepared.upkeep, prepared.change
        if prepared.refusal is not None:
            then: Outcome | None = self._failed(prepared.refusal)
        else:
            then = self._changed(change, delivery) if change is not None else None
        if upkeep is None:
            return then or transitions.unclaimed
        return partial(
            after_upkeep,
            observed=upkeep.observed,
            plan=upkeep.plan,
            delivery=delivery,
            then=then,
            now=now,
        )

    def _changed(self, change: Planned, delivery: Delivery | None) -> Outcome:
        """The record after the change. The pass failed if a part could not be read."""
        observed, plan = change.observed, change.plan
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
        condition = record.status.condition
        is_delivered = condition.state is State.DELIVERED
        is_delivered = is_delivered or condition.reason is Reason.AWAITING_DEVICE
        if not is_delivered or seen is None or now - seen > _TWIN_ONLY:
            return False
        twin = await self.observer.hubs.twin(record.device)
        return twin is not None and is_still_unacknowledged(record, twin)

    def _postponed(self, record: DeviceRecord) -> DeviceRecord:
        condition = record.status.condition
        due_at = next_check(condition, now=self.clock.now(), renew_at=None)
        return transitions.woken(record, due_at)

    async def _claim(
        self, stored: Stored[DeviceRecord], work: Planned
    ) -> tuple[Stored[DeviceRecord], Claim]:
        """Write the claim, and the names of everything that the plan will make."""
        observed, plan = work.observed, work.plan
        view, credential = observed.chosen, observed.credential
        record = transitions.with_found_grants(stored.value, observed.found.grants)
        if view is not None and credential is not None:
            grant = Grant(ref=view.ref, names=credential.names)
            slots = plan.slots_to_fill if isinstance(plan, ProvisionPlan) else ()
            if work.is_upkeep:  # the record names this grant already
                record = transitions.requested(record, grant, slots=slots)
            else:
                record = transitions.granted(
                    record, grant, slots=slots, hub_generation_id=observed.hub_generation_id
                )
        noted = {a.secret for a in plan.actions if isinstance(a, TagSecret)}
        record = transitions.with_noted_secrets(record, noted)
        claim = Claim(owner=self.new_id(), until=self.clock.now() + CLAIM)
        record = transitions.claimed(
            record,
            claim,
            condition=self._condition_while_claimed(record, plan),
            due_at=claim.until + timedelta(seconds=REQUEST_DEADLINE),
        )
        return await self.records.replace(record, etag=stored.etag), claim

    async def _is_contested(self, record: DeviceRecord) -> bool:
        """Whether another record names the token that this record is about to take.

        Called after the claim names the token, so at least one of two concurrent takers sees
        the other.
        """
        grant = record.status.grant
        if grant is None:
            return False
        return await self.observer.is_named_elsewhere(record, grant.token_id)

    async def _give_up_token(
        self, stored: Stored[DeviceRecord], before: DeviceRecord
    ) -> Stored[DeviceRecord]:
        given_up = transitions.without_contested_token(stored.value, before)
        return await self.records.replace(given_up, etag=stored.etag)

    def _condition_while_claimed(self, record: DeviceRecord, plan: Plan) -> Condition:
        """A device stays blocked, or failing, until a pass has succeeded."""
        if record.status.condition.state is State.BLOCKED or record.schedule.attempts:
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
            if stored.value.spec.generation != begun.spec.generation:
                record = transitions.interrupted(record, stored.value, now=self.clock.now())
            elif stored.value.schedule.due_at != begun.schedule.due_at:  # woken meanwhile
                due_at = min(stored.value.schedule.due_at, record.schedule.due_at)
                record = transitions.woken(record, due_at)
            found = list(changes(stored.value, record))
            noted = [entry(event, at=self.clock.now(), detail=text) for event, text in found]
            record = transitions.with_history(record, [*journal.entries, *noted])
            has_failed = record.schedule.attempts > stored.value.schedule.attempts
            if has_failed and LogEvent.DEVICE_RECONCILE_BLOCKED not in dict(found):
                is_repeated = stored.value.schedule.attempts > 0
                event, reason, message = _end_of_pass(begun, record, failure)
                failed = entry(event, at=self.clock.now(), detail=f"{reason.value}: {message}")
                record = transitions.with_failure(record, failed, is_repeated=is_repeated)
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
        if begun.spec.revocation is None and (revocation := record.spec.revocation) is not None:
            emit(
                LogEvent.DEVICE_REVOKE_RECORDED,
                hub=device.hub,
                device_id=device.device_id,
                generation=record.spec.generation,
                requested_by=revocation.requested_by,
            )
        for event in found:
            if event not in _LOGGED_AS_WARNINGS:
                emit(event, hub=device.hub, device_id=device.device_id)
        log_new_warnings(begun, record)
        since = begun.status.awaits_first_pull_since
        if since is not None and LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED in found:
            waited = self.clock.now() - since
            telemetry.FIRST_PULL.record(waited.total_seconds())
        report = emit_warning if record.status.condition.state is State.BLOCKED else emit
        event, reason, _ = _end_of_pass(begun, record, failure)
        report(
            event,
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


def _end_of_pass(
    begun: DeviceRecord, record: DeviceRecord, failure: FirstpullError | None
) -> tuple[LogEvent, Reason, str]:
    """How a pass ended: the condition, or a failure that left the condition as it was."""
    if failure is not None and is_unchanged_by(begun, failure):
        return LogEvent.DEVICE_RECONCILE_CONVERGING, failure.reason, failure.message
    condition = record.status.condition
    return _ENDED[condition.state], condition.reason, condition.message


def _takes_token(before: DeviceRecord, observed: Observed) -> bool:
    """Whether the claim makes the record name a token that exists already."""
    found = observed.credential
    return before.status.grant is None and found is not None and found.token is not None
