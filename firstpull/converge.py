"""Making it true: one pass over one device, from its record to its record.

1. Read the record. Not due, or claimed by a live worker: nothing to do.
2. Observe and plan; for a device that was delivered to lately, a look at its twin may do.
   Nothing is written yet.
3. Claim the device: one guarded write of the record with the worker's name, the place, the
   names of all that will be made, the slot that will be filled, and a due time after the
   claim's end. A crash here leaves a record that names things which do not exist yet, and a
   claim that runs out.
4. Hold room at the connected registry. A crash leaves room held, which the next pass finds.
   Where the last room went meanwhile, the next pass finds another place or says there is none.
5. Scope map, then token. A crash leaves either; both are found by name and used.
6. Side by side:
   a. the password: made in the named slot, then stored in Key Vault. A crash between the two
      leaves a password that nobody knows in a slot that the record names: it is made again.
      A crash after it leaves a secret version that is tied to the password by its tags: it is used.
   b. membership (see `membership`).
7. Deliver into the twin, guarded by its ETag. A crash after it leaves an entry whose digest
   the next pass computes again and recognises.
8. Disable secret versions whose password is gone. A crash leaves some for the next pass.
9. Write the outcome into the record and give the claim back. A crash before it leaves the
   claim, which runs out; the next pass finds nothing left to do but this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from firstpull.actions import GeneratePassword
from firstpull.apply import Applier, Guard
from firstpull.clock import Clock
from firstpull.devices import DeviceKey
from firstpull.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.events import emit, emit_crash, emit_warning
from firstpull.membership import REQUEST_DEADLINE
from firstpull.observation import Observed, Observer
from firstpull.plan import Plan, has_not_answered, make_plan
from firstpull.ports import Records, Stored, WorkQueue
from firstpull.reasons import Reason
from firstpull.records import Claim, Condition, Delivery, DeviceRecord, State
from firstpull.schedule import next_look, retry_at

CLAIM = timedelta(seconds=120)
"""How long a worker may be at one device."""
_HINT_LIMIT = timedelta(minutes=10)
"""A later look is left to the timer; the queue is for what is soon."""
_GLANCES = timedelta(minutes=2)
"""How long a look at the twin alone may stand for a full one."""
_EARLY = timedelta(seconds=1)
"""A hint may be this early: the clocks of two hosts differ."""
_ATTEMPTS = 8
"""To write the outcome, while requests change the intent."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Looks at devices, one call each."""

    records: Records
    queue: WorkQueue
    observer: Observer
    applier: Applier
    clock: Clock
    new_id: Callable[[], str]
    validity: timedelta

    async def look_at(self, device: DeviceKey) -> None:
        """Bring one device nearer to what is wanted, and note when to look again.

        What goes wrong is noted in the record. Raises only what keeps the record itself from
        being read or written.
        """
        stored = await self.records.get(device)
        if stored is None or not self._is_free(stored.value):
            return
        try:
            if await self._is_still_waiting(stored.value):
                await self._conclude(stored, self._put_off)
                return
            observed = await self.observer.observe(stored.value)
            plan = make_plan(observed, now=self.clock.now(), validity=self.validity)
            delivery = None
            if plan.actions:
                stored = await self._claim(stored, observed, plan)
                delivery = await self._apply(stored.value, observed, plan)
        except FirstpullError as error:
            await self._conclude(stored, partial(self._failed, error))
        except Exception as error:
            emit_crash(
                "device.convergence.crashed", error, hub=device.hub, device_id=device.device_id
            )
            fault = Transient(Reason.INTERNAL_ERROR, "A fault of firstpull; its log has more.")
            await self._conclude(stored, partial(self._failed, fault))
        else:
            await self._conclude(stored, partial(self._looked_at, observed, plan, delivery))

    def _is_free(self, record: DeviceRecord) -> bool:
        """Whether the device is due and no worker holds it.

        A claim that ran out is respected for one request's time more: a write of its holder
        may still be under way.
        """
        now = self.clock.now()
        claim = record.claim
        held = claim is not None and now < claim.until + timedelta(seconds=REQUEST_DEADLINE)
        return record.due_at <= now + _EARLY and not held

    async def _is_still_waiting(self, record: DeviceRecord) -> bool:
        """Whether one read of the twin says that nothing has happened since the last full look.

        Most looks are at devices that have not answered yet. Reading everything each time
        would spend Azure Resource Manager's allowance on them.
        """
        now, seen = self.clock.now(), record.observed_at
        if record.condition.state is not State.DELIVERED or seen is None or now - seen > _GLANCES:
            return False
        twin = await self.observer.hubs.twin(record.device)
        return twin is not None and has_not_answered(record, twin)

    def _put_off(self, record: DeviceRecord) -> DeviceRecord:
        now = self.clock.now()
        return replace(record, due_at=next_look(record.condition, now=now, renew_at=None))

    async def _claim(
        self, stored: Stored[DeviceRecord], observed: Observed, plan: Plan
    ) -> Stored[DeviceRecord]:
        """Step 3."""
        record, view, credential = stored.value, observed.chosen, observed.credential
        if view is None or credential is None:
            raise AssertionError("a plan with actions has a place")
        filling = {a.slot for a in plan.actions if isinstance(a, GeneratePassword)}
        until = self.clock.now() + CLAIM
        claimed = replace(
            record,
            claim=Claim(owner=self.new_id(), until=until),
            place=view.place,
            names=credential.names,
            slots_requested=record.slots_requested | filling,
            condition=_condition(
                record,
                State.CONVERGING,
                Reason.CONVERGING,
                "; ".join(action.why for action in plan.actions),
                now=self.clock.now(),
            ),
            due_at=until + timedelta(seconds=REQUEST_DEADLINE),
        )
        return await self.records.replace(claimed, etag=stored.etag)

    async def _apply(self, record: DeviceRecord, observed: Observed, plan: Plan) -> Delivery | None:
        if record.claim is None or observed.chosen is None:
            raise AssertionError("a plan is applied under a claim")
        guard = Guard(until=record.claim.until, clock=self.clock)
        return await self.applier.apply(plan.actions, observed, observed.chosen, guard)

    def _looked_at(
        self, observed: Observed, plan: Plan, delivery: Delivery | None, record: DeviceRecord
    ) -> DeviceRecord:
        """The record after a pass in which nothing went wrong."""
        now = self.clock.now()
        if plan.finding is not None:
            found = plan.finding
            condition = _condition(
                record, found.state, found.reason, found.message, remedy=found.remedy, now=now
            )
            if found.reason is Reason.CONNECTED_REGISTRY_FULL and _has_nothing_yet(
                record, observed
            ):
                record = replace(record, place=None, names=None)
            elsewhere = record.place is None and observed.record.place is not None
            due_at = now if elsewhere else next_look(condition, now=now, renew_at=None)
            return replace(record, condition=condition, due_at=due_at, attempts=0, claim=None)
        acknowledged_at = record.acknowledged_at
        if delivery is not None:
            acknowledged_at = None
        elif plan.answer is not None and plan.answer.logged_in:
            acknowledged_at = acknowledged_at or now
        condition = self._how_far(record, plan, delivery)
        return replace(
            record,
            condition=condition,
            due_at=next_look(condition, now=now, renew_at=plan.renew_at),
            observed_generation=observed.record.generation,
            delivery=delivery or record.delivery,
            acknowledged_at=acknowledged_at,
            slots_requested=frozenset() if delivery else record.slots_requested,
            hub_generation_id=observed.hub_generation_id,
            hub_device_etag=observed.twin.device_etag if observed.twin else None,
            observed_at=now,
            attempts=0,
            claim=None,
        )

    def _how_far(self, record: DeviceRecord, plan: Plan, delivery: Delivery | None) -> Condition:
        now, answer = self.clock.now(), plan.answer
        if delivery is not None or answer is None:
            return _condition(
                record,
                State.DELIVERED,
                Reason.DELIVERED,
                "The credentials are in the twin; the device has not answered yet.",
                now=now,
                anew=delivery is not None,
            )
        if answer.logged_in:
            return _condition(
                record, State.READY, Reason.ACKNOWLEDGED, "The device has logged in.", now=now
            )
        return _condition(
            record,
            State.DELIVERED,
            Reason.DEVICE_REPORTS_FAILURE,
            f"The device could not log in yet: {answer.reason or 'no reason given'}.",
            now=now,
        )

    def _failed(self, error: FirstpullError, record: DeviceRecord) -> DeviceRecord:
        """The record after a pass that ended with an error."""
        now = self.clock.now()
        if isinstance(error, Blocked):
            condition = _condition(
                record, State.BLOCKED, error.reason, error.message, remedy=error.remedy, now=now
            )
        else:
            condition = _condition(record, State.CONVERGING, error.reason, error.message, now=now)
        due_at = retry_at(error, attempts=record.attempts, device=record.device, now=now)
        return replace(
            record, condition=condition, due_at=due_at, attempts=record.attempts + 1, claim=None
        )

    async def _conclude(
        self,
        stored: Stored[DeviceRecord],
        outcome: Callable[[DeviceRecord], DeviceRecord],
    ) -> None:
        """Step 9. A request that came meanwhile keeps its intent, and is due at once.

        A pass without a claim has done nothing: where the record was written meanwhile, what
        it saw is old, and whoever wrote has seen to the next look.
        """
        begun = stored.value
        for _ in range(_ATTEMPTS):
            record = outcome(stored.value)
            if record.generation != begun.generation:
                record = replace(
                    record, condition=stored.value.condition, due_at=self.clock.now(), attempts=0
                )
            elif stored.value.due_at != begun.due_at:  # woken meanwhile
                record = replace(record, due_at=min(stored.value.due_at, record.due_at))
            try:
                stored = await self.records.replace(record, etag=stored.etag)
                break
            except Conflict:
                again = await self.records.get(begun.device)
                if again is None or begun.claim is None or again.value.claim != begun.claim:
                    return
                stored = again
        else:
            return  # the claim runs out, and the timer comes back to it
        self._report(stored.value)
        await self._hint(stored.value)

    async def _hint(self, record: DeviceRecord) -> None:
        wait = record.due_at - self.clock.now()
        if wait <= _HINT_LIMIT:
            delay = max(wait.total_seconds(), 0)
            await self.queue.put(record.device, delay_seconds=delay)

    def _report(self, record: DeviceRecord) -> None:
        report = emit_warning if record.condition.state is State.BLOCKED else emit
        report(
            f"device.convergence.{record.condition.state.value.lower()}",
            hub=record.device.hub,
            device_id=record.device.device_id,
            generation=record.generation,
            reason=record.condition.reason.value,
            attempts=record.attempts,
        )


def _has_nothing_yet(record: DeviceRecord, observed: Observed) -> bool:
    """Whether a recorded place is only a plan: no room is held there, and no token was made."""
    token = observed.credential.token if observed.credential is not None else None
    return record.place is not None and record.delivery is None and token is None


def _condition(
    record: DeviceRecord,
    state: State,
    reason: Reason,
    message: str,
    *,
    now: datetime,
    remedy: str | None = None,
    anew: bool = False,
) -> Condition:
    """A condition that began when the record's did, where it is the same one."""
    same = not anew and (record.condition.state, record.condition.reason) == (state, reason)
    return Condition(
        state=state,
        reason=reason,
        message=message,
        remedy=remedy,
        since=record.condition.since if same else now,
    )
