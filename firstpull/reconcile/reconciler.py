"""One pass over one device. docs/onboarding-cycle.md has its steps, and what a crash leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from firstpull.model import transitions
from firstpull.model.clock import MOST_OFF, Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Claim, Condition, Delivery, DeviceRecord, Grant, State
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.history import Journal, entry
from firstpull.model.ports import Records, Stored, WorkQueue
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import next_check, share_of
from firstpull.observability import telemetry
from firstpull.observability.log import emit, emit_crash, emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.actions import TagSecret
from firstpull.reconcile.ahead import Ahead
from firstpull.reconcile.apply import Applier
from firstpull.reconcile.apply_teardown import TeardownApplier
from firstpull.reconcile.claim import CLAIM, LONGEST_HELD, HeldClaim, comes_back_at, is_woken
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
from firstpull.reconcile.twins import read_twin
from firstpull.reconcile.warnings import log_new_warnings

_QUEUE_LIMIT = timedelta(minutes=10)
"""The timer requeues a device whose next pass is later than this."""
_TWIN_ONLY = timedelta(minutes=2)
"""How long after a whole pass a read of the twin alone may replace another whole pass."""
_AT_THE_DOOR = 60.0
"""Seconds that a new device waits in a worker until there is room for its requests."""
_UNTIL_ROOM = timedelta(minutes=1)
"""The least time until a look for which Azure Resource Manager had no room; at most twice this."""
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


class _Pass:
    """One pass over a device: its record as the pass knows it, its claim, and its history."""

    def __init__(self, stored: Stored[DeviceRecord], clock: Clock) -> None:
        self.begun = stored.value
        """The record as the pass found it, or as its claim left it."""
        self.claim: HeldClaim | None = None
        self.began_at = clock.now()
        self.journal = Journal(device=stored.value.device, clock=clock, began_at=self.began_at)
        self._stored = stored

    @property
    def stored(self) -> Stored[DeviceRecord]:
        """The record, with the renewals of the claim."""
        return self.claim.stored if self.claim is not None else self._stored

    def wrote(self, stored: Stored[DeviceRecord], claim: HeldClaim | None) -> None:
        """Note a write of the record."""
        self._stored, self.claim, self.begun = stored, claim, stored.value


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
    most_seconds: float = 150.0
    """For one pass, until it writes the record: no device may occupy a worker for longer."""

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
        if stored is None or not await self._is_free(stored.value):
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
            waited_since = self.clock.now()
            if not await self._may_begin(stored.value):
                return
            if self.clock.now() - waited_since > _EARLY:  # another worker may have begun
                again = await self.records.get(device)
                if again is None or not await self._is_free(again.value):
                    return
                stored = again
            await self._run(stored)

    async def _may_begin(self, record: DeviceRecord) -> bool:
        """Whether Azure Resource Manager has room for a new device; else it comes back later.

        A pass that has begun waits for nothing but its own requests, so its claim lasts.
        """
        refs = record.spec.intent.candidates
        if record.status.condition.state is not State.PENDING or not refs:
            return True
        try:
            async with asyncio.timeout(_AT_THE_DOOR):
                await self.observer.registries.admit(refs[0].registry)
        except TimeoutError:
            await self.queue.put(record.device)
            return False
        return True

    async def _run(self, stored: Stored[DeviceRecord]) -> None:
        turn, failure = _Pass(stored, self.clock), None
        try:
            async with asyncio.timeout(self.most_seconds):
                outcome = await self._work(turn)
        except FirstpullError as error:
            outcome, failure = self._failed(error), error
        except TimeoutError:
            outcome = self._cut_off(turn)
        except Exception as error:
            device = stored.value.device
            emit_crash(
                LogEvent.DEVICE_RECONCILE_CRASHED, error, hub=device.hub, device_id=device.device_id
            )
            defect = Transient(Reason.INTERNAL_ERROR, MEANING[Reason.INTERNAL_ERROR])
            outcome = self._failed(defect)
        await self._conclude(turn, outcome, failure=failure)

    async def _prepare(self, turn: _Pass) -> Prepared:
        """The plans of the pass, after the device was taken back if an earlier record was lost."""
        before = turn.stored.value
        ahead = self.preparation.begin(before)
        try:
            await self._take_back(turn, ahead)
            record = turn.stored.value
            return await self.preparation.prepare(record, ahead if record is before else None)
        finally:
            await ahead.end()

    async def _take_back(self, turn: _Pass, ahead: Ahead) -> None:
        """Let a device keep what it had when an earlier record was lost."""
        before = turn.stored.value
        record = await self.preparation.taken_back(before, ahead)
        if record == before:
            return
        turn.wrote(await self.records.replace(record, etag=turn.stored.etag), None)
        if await self._is_contested(record):
            turn.wrote(await self.records.replace(before, etag=turn.stored.etag), None)
            return
        device = record.device
        emit_warning(
            LogEvent.DEVICE_RECORD_REBUILT,
            hub=device.hub,
            device_id=device.device_id,
            generation=record.spec.generation,
        )

    async def _work(self, turn: _Pass) -> Outcome:
        """The record after observing the device and carrying out what it needs."""
        before = turn.stored.value
        try:
            if await self._is_still_unacknowledged(before):
                return self._postponed
            if not self._has_room(before):
                return self._when_there_is_room
            prepared = await self._prepare(turn)
            before = turn.stored.value
            work, delivery = prepared.work, None
            if work is not None:
                await self._claim(turn, work)
                record = turn.stored.value
                if _takes_token(before, work.observed) and await self._is_contested(record):
                    await self._give_up_token(turn, before)
                    return self._failed(Conflict("Another device is taking the same token."))
                delivery = await self._apply(work.plan, turn)
        except Blocked as refusal:
            return await self._refused(turn, refusal)
        return self._outcome(prepared, delivery)

    async def _refused(self, turn: _Pass, refusal: Blocked) -> Outcome:
        """The outcome of a pass that a service refused: what the device has is maintained."""
        failed = self._failed(refusal)
        if refusal.reason is Reason.RECORD_OUT_OF_DATE:
            return failed
        try:
            upkeep, delivery = await self.preparation.upkeep(turn.stored.value), None
            if upkeep is None:
                return failed
            if upkeep.plan.actions:
                await self._claim(turn, upkeep)
                delivery = await self._apply(upkeep.plan, turn)
        except FirstpullError:
            return failed
        return self._outcome(Prepared(refusal=refusal, upkeep=upkeep), delivery)

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

    def _cut_off(self, turn: _Pass) -> Outcome:
        """The record after a pass that took too long: retried later each time.

        Its last write may still be under way, so that its claim counts until now.
        """
        failed = self._failed(
            Transient(Reason.OUT_OF_TIME, f"The pass took longer than {self.most_seconds:g} s.")
        )
        if turn.claim is None:
            return failed
        owner, now = turn.claim.owner, self.clock.now()
        claim = Claim(owner=owner, until=now)

        def outcome(record: DeviceRecord) -> DeviceRecord:
            record = failed(record)
            due_at = max(record.schedule.due_at, comes_back_at(claim))
            return transitions.renewed(record, claim, due_at=due_at)

        return outcome

    def _failed(self, error: FirstpullError) -> Outcome:
        return partial(after_failure, error=error, now=self.clock.now())

    async def _is_free(self, record: DeviceRecord) -> bool:
        """Whether the device is due and no worker has claimed it.

        An expired claim counts for the time of one more request: its holder may still be writing.
        The reconcile request of a claimed device comes back then, because its holder may be dead.
        """
        now, claim = self.clock.now(), record.claim
        if claim is not None and now < comes_back_at(claim):
            await self._request_later(record.device, comes_back_at(claim) - now)
            return False
        return record.schedule.due_at <= now + _EARLY

    async def _request_later(self, device: DeviceKey, wait: timedelta) -> None:
        """Send a reconcile request for the end of a claim, whose holder may be dead by then.

        A failure is no error: a timer requeues the device, only later.
        """
        with suppress(FirstpullError):
            await self.queue.put(device, delay_seconds=wait.total_seconds())

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
        kinds = (record.delivery_kind.name,)
        twin = await read_twin(self.observer.hubs, record.device, kinds=kinds)
        return twin is not None and is_still_unacknowledged(record, twin)

    def _has_room(self, record: DeviceRecord) -> bool:
        """Whether this pass may take reads that new devices need: not if nobody waits for it."""
        grant = record.status.grant
        if grant is None or not record.is_converged or record.spec.revocation is not None:
            return True
        return self.observer.registries.has_room(grant.ref.registry)

    def _when_there_is_room(self, record: DeviceRecord) -> DeviceRecord:
        later = _UNTIL_ROOM * (1 + share_of(record.device))
        return transitions.woken(record, self.clock.now() + later)

    def _postponed(self, record: DeviceRecord) -> DeviceRecord:
        condition = record.status.condition
        due_at = next_check(condition, now=self.clock.now(), renew_at=None)
        return transitions.woken(record, due_at)

    async def _claim(self, turn: _Pass, work: Planned) -> None:
        """Write the claim, and the names of everything that the plan will make."""
        observed, plan = work.observed, work.plan
        view, credential = observed.chosen, observed.credential
        stored = turn.stored
        record = transitions.with_found_grants(stored.value, observed.found.grants)
        if view is not None and credential is not None:
            kind = observed.record.delivery_kind
            grant = Grant(ref=view.ref, names=credential.names, delivery=kind.name)
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
            due_at=comes_back_at(claim),
        )
        stored, _ = await asyncio.gather(
            self.records.replace(record, etag=stored.etag),
            self._request_later(record.device, LONGEST_HELD),  # the worker may die right after
        )
        turn.wrote(stored, HeldClaim(stored, records=self.records, clock=self.clock))

    async def _is_contested(self, record: DeviceRecord) -> bool:
        """Whether another record names the token that this record is about to take.

        Called after the claim names the token, so at least one of two concurrent takers sees
        the other.
        """
        grant = record.status.grant
        if grant is None:
            return False
        return await self.observer.is_named_elsewhere(record, grant.token_id)

    async def _give_up_token(self, turn: _Pass, before: DeviceRecord) -> None:
        given_up = transitions.without_contested_token(turn.stored.value, before)
        stored = await self.records.replace(given_up, etag=turn.stored.etag)
        turn.wrote(stored, HeldClaim(stored, records=self.records, clock=self.clock))

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

    async def _apply(self, plan: Plan, turn: _Pass) -> Delivery | None:
        teardown = plan if isinstance(plan, TeardownPlan) else None
        if isinstance(plan, ProvisionPlan):
            teardown = plan.retire
            steps = plan.steps
        elif not isinstance(plan, TeardownPlan):
            steps = plan.actions
        else:
            steps = ()
        claim, journal = turn.claim, turn.journal
        if claim is None:
            raise ValueError("nothing is written without a claim")
        async with claim.renewing():
            delivery = await self.applier.apply(steps, guard=claim, journal=journal)
            if teardown is not None:
                await self.teardown_applier.apply(teardown.steps, guard=claim, journal=journal)
        return delivery

    async def _conclude(
        self, turn: _Pass, outcome: Outcome, *, failure: FirstpullError | None = None
    ) -> None:
        """Write the outcome and release the claim. A request made meanwhile is due at once.

        A pass without a claim has changed nothing. If another writer changed the record
        meanwhile, the pass drops its outdated outcome: that writer has scheduled the next pass.
        """
        begun, stored, claim = turn.begun, turn.stored, turn.claim
        for _ in range(_ATTEMPTS):
            record = outcome(stored.value)
            if stored.value.spec.generation != begun.spec.generation:
                record = transitions.interrupted(record, stored.value, now=self.clock.now())
            elif claim is not None and is_woken(stored.value):
                due_at = min(stored.value.schedule.due_at, record.schedule.due_at)
                record = transitions.woken(record, due_at)
            record = transitions.looked_at(record, stored.value.schedule, began_at=turn.began_at)
            found = list(changes(stored.value, record))
            noted = [entry(event, at=self.clock.now(), detail=text) for event, text in found]
            record = transitions.with_history(record, [*turn.journal.entries, *noted])
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
                if again is None or claim is None or not claim.is_of(again.value):
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
