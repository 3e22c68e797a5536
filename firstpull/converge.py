"""Making it true: one pass over one device, from its record to its record.

1. Read the record. Not due, or claimed by a live worker: nothing to do.
2. Observe and plan; for a device that was delivered to lately, a look at its twin may do.
   Nothing is written yet.
3. Claim the device: one guarded write of the record with the worker's name, the place, the
   names of all that will be made, the slot that will be filled, and a due time after the
   claim's end. A crash here leaves a record that names things which do not exist yet, and a
   claim that runs out.

Where there is something to give:

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

Where access is taken away, by a revoke or at a place that the device has left:

4. Disable the token: from here on it lets nobody in whom a connected registry asks about anew.
5. Leave the list of clients; the room is free when the list is seen without the token.
6. Take the entry out of the twin, guarded by its ETag. A device that is gone has none.
7. Disable the secret versions.
8. Delete the token. A crash after any of these leaves the later ones to the next pass, which
   finds what is left by the names in the record.

And always:

9. Write the outcome into the record and give the claim back. A crash before it leaves the
   claim, which runs out; the next pass finds nothing left to do but this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from firstpull import telemetry
from firstpull.actions import GeneratePassword
from firstpull.apply import Applier, Guard
from firstpull.apply_withdrawal import Withdrawer
from firstpull.clock import Clock
from firstpull.devices import DeviceKey
from firstpull.errors import Conflict, FirstpullError, Transient
from firstpull.events import emit, emit_crash, emit_warning
from firstpull.history import HistoryEntry, Journal, extended
from firstpull.membership import REQUEST_DEADLINE
from firstpull.observation import Observed, Observer
from firstpull.outcome import (
    ACKNOWLEDGED,
    after_failure,
    after_look,
    condition_after,
    transitions,
)
from firstpull.plan import Plan, adopts, has_not_answered, make_plan
from firstpull.ports import Records, Stored, WorkQueue
from firstpull.reasons import Reason
from firstpull.records import Claim, Condition, Delivery, DeviceRecord, State
from firstpull.schedule import next_look
from firstpull.warned import tell_of_warnings

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
_TOLD_BELOW = ("device.convergence.blocked", "device.warning.raised")
"""Entries of the history that the log has as warnings, with their reason as a field."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Looks at devices, one call each."""

    records: Records
    queue: WorkQueue
    observer: Observer
    applier: Applier
    withdrawer: Withdrawer
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
        with telemetry.span("look at device", hub=device.hub, device_id=device.device_id):
            await self._look(stored)

    async def _look(self, stored: Stored[DeviceRecord]) -> None:
        device = stored.value.device
        journal = Journal(device=device, clock=self.clock)
        try:
            if await self._is_still_waiting(stored.value):
                await self._conclude(stored, self._put_off, journal)
                return
            observed = await self.observer.observe(stored.value)
            plan = make_plan(observed, now=self.clock.now(), validity=self.validity)
            delivery = None
            if plan.actions:
                before, stored = stored, await self._claim(stored, observed, plan)
                if adopts(before.value) and await self._is_contested(stored.value):
                    stored = await self._give_up_token(stored, before.value)
                    contested = Conflict("Another device asks for the same token just now.")
                    await self._conclude(stored, self._failed(contested), journal)
                    return
                delivery = await self._apply(stored.value, observed, plan, journal)
        except FirstpullError as error:
            await self._conclude(stored, self._failed(error), journal)
        except Exception as error:
            emit_crash(
                "device.convergence.crashed", error, hub=device.hub, device_id=device.device_id
            )
            fault = Transient(Reason.INTERNAL_ERROR, "A fault of firstpull; its log has more.")
            await self._conclude(stored, self._failed(fault), journal)
        else:
            outcome: Callable[[DeviceRecord], DeviceRecord] = partial(
                after_look, observed=observed, plan=plan, delivery=delivery, now=self.clock.now()
            )
            if observed.unread and observed.chosen is None:
                outcome = self._failed(observed.unread[0])
            elif observed.unread and plan.takes_away:
                outcome = self._held_up(outcome, observed.unread[0])
            await self._conclude(stored, outcome, journal)

    def _failed(self, error: FirstpullError) -> Callable[[DeviceRecord], DeviceRecord]:
        return partial(after_failure, error=error, now=self.clock.now())

    def _held_up(
        self, outcome: Callable[[DeviceRecord], DeviceRecord], error: FirstpullError
    ) -> Callable[[DeviceRecord], DeviceRecord]:
        """What was done counts, and what is left of before could not be read."""
        return lambda record: after_failure(outcome(record), error, now=self.clock.now())

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
        if view is not None and credential is not None:
            filling = {a.slot for a in plan.actions if isinstance(a, GeneratePassword)}
            record = replace(
                record,
                adopted=record.adopted or adopts(record),
                place=view.place,
                names=credential.names,
                slots_requested=record.slots_requested | filling,
                # Whose password this will be; another one's is told by it.
                hub_generation_id=record.hub_generation_id or observed.hub_generation_id,
                leaving=tuple(
                    h
                    for h in record.leaving
                    if (h.place, h.names.token) != (view.place, credential.names.token)
                ),
            )
        until = self.clock.now() + CLAIM
        claimed = replace(
            record,
            claim=Claim(owner=self.new_id(), until=until),
            condition=self._while_claimed(record, plan),
            due_at=until + timedelta(seconds=REQUEST_DEADLINE),
        )
        return await self.records.replace(claimed, etag=stored.etag)

    async def _is_contested(self, record: DeviceRecord) -> bool:
        """Whether another record names the token that this one is about to take over.

        Asked when the claim names it: of two that ask at once, at least one sees the other.
        """
        if record.place is None or record.names is None:
            return False
        return await self.observer.is_named_elsewhere(record, record.place, record.names.token)

    async def _give_up_token(
        self, stored: Stored[DeviceRecord], before: DeviceRecord
    ) -> Stored[DeviceRecord]:
        """Name it no more: nothing was done with it."""
        given_up = replace(
            stored.value,
            place=before.place,
            names=before.names,
            adopted=before.adopted,
            slots_requested=before.slots_requested,
            leaving=before.leaving,
        )
        return await self.records.replace(given_up, etag=stored.etag)

    def _while_claimed(self, record: DeviceRecord, plan: Plan) -> Condition:
        """What blocks a device is tried again now and then: until it is gone, it is blocked."""
        if record.condition.state is State.BLOCKED:
            return record.condition
        revoked = record.revocation is not None
        return condition_after(
            record,
            State.REVOKING if revoked else State.CONVERGING,
            Reason.REVOKING if revoked else Reason.CONVERGING,
            "; ".join(action.why for action in plan.actions),
            now=self.clock.now(),
        )

    async def _apply(
        self, record: DeviceRecord, observed: Observed, plan: Plan, journal: Journal
    ) -> Delivery | None:
        if record.claim is None:
            raise AssertionError("a plan is applied under a claim")
        guard = Guard(until=record.claim.until, clock=self.clock)
        if plan.takes_away or observed.chosen is None:
            await self.withdrawer.apply(plan.actions, observed, guard=guard, journal=journal)
            return None
        return await self.applier.apply(
            plan.actions, observed, observed.chosen, guard=guard, journal=journal
        )

    async def _conclude(
        self,
        stored: Stored[DeviceRecord],
        outcome: Callable[[DeviceRecord], DeviceRecord],
        journal: Journal,
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
            found = transitions(stored.value, record, at=self.clock.now())
            record = replace(record, history=extended(record.history, [*journal.entries, *found]))
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
        self._tell(begun, record, found)
        await self._hint(stored.value)

    def _tell(self, begun: DeviceRecord, record: DeviceRecord, found: list[HistoryEntry]) -> None:
        """Log what was found out and how it stands, and how long the first pull took."""
        device = record.device
        for entry in found:
            if entry.event not in _TOLD_BELOW:
                emit(entry.event, hub=device.hub, device_id=device.device_id)
        tell_of_warnings(begun, record)
        since = begun.awaits_first_pull_since
        if since is not None and any(entry.event == ACKNOWLEDGED for entry in found):
            waited = self.clock.now() - since
            telemetry.FIRST_PULL.record(waited.total_seconds())
        self._report(record)

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
