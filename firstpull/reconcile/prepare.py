"""What one pass is about to do: about the requested change, and about what the device has.

While a change is blocked, the device keeps what it has: a pass repairs it, renews its password and
warns. An immediate rotation comes before a change, because it ends what the device has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from firstpull.model.clock import Clock
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.errors import Blocked, FirstpullError, record_out_of_date
from firstpull.model.hub_identity import by_etag, is_by_etag
from firstpull.model.last_request import LastRequest, last_request
from firstpull.model.reasons import Reason
from firstpull.model.transitions import asked_for, before_change, in_place_of
from firstpull.reconcile.ahead import Ahead
from firstpull.reconcile.observe import Observed, Observer
from firstpull.reconcile.plan import BlockedPlan, Plan, make_plan
from firstpull.reconcile.plan_passwords import ends_at_once
from firstpull.reconcile.rebuild import Problem, rebuilt
from firstpull.reconcile.traces import Traces


@dataclass(frozen=True, kw_only=True)
class Planned:
    """An observation and its plan. With `is_upkeep`, of the record without the change."""

    observed: Observed
    plan: Plan
    is_upkeep: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The plans of a pass; at most one has actions.

    `change` is None where an immediate rotation comes first, or where `refusal` blocks it.
    """

    change: Planned | None = None
    refusal: Blocked | None = None
    upkeep: Planned | None = None

    @property
    def work(self) -> Planned | None:
        """The plan to apply, None if there is nothing to do."""
        found = (p for p in (self.change, self.upkeep) if p is not None and p.plan.actions)
        return next(found, None)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Observes and plans. Writes nothing, for a pass as for a dry run."""

    observer: Observer
    clock: Clock
    validity: timedelta

    def begin(self, record: DeviceRecord) -> Ahead:
        """Begin the reads that `taken_back` and `prepare` of a new request will need."""
        return self.observer.begin(record)

    async def taken_back(self, record: DeviceRecord, ahead: Ahead | None = None) -> DeviceRecord:
        """The record of a device that has something already, because an earlier record is lost.

        The device keeps what it has, and then gets what the record asks for. Otherwise the record
        itself. Raises Blocked if the lost record had a later request.
        """
        lost = await self._traces_of_lost(record, ahead) if record.has_nothing else None
        if lost is None:
            return record
        (traces, last), now = lost, self.clock.now()
        found = rebuilt(traces, last, policy=self.observer.policy, now=now)
        if isinstance(found, Problem):
            return record
        if found.spec.revocation is not None:
            return in_place_of(record, found, now)
        if not await self._may_keep(record, found.status.grant):
            return record
        return asked_for(in_place_of(record, found, now), record.spec.intent)

    async def _traces_of_lost(
        self, record: DeviceRecord, ahead: Ahead | None
    ) -> tuple[Traces, LastRequest] | None:
        """A device's traces and last request, which its record does not know; None without one."""
        stored = await self.observer.traces.stored(record.device, ahead)
        last = last_request(chain(*stored.values()))
        if last is None:
            return None
        if not await self._stays_revoked(record, last):
            self._check_date(record, last)
            if last.is_revoke:
                return None
        return await self.observer.traces.read(record.device, stored), last

    async def _may_keep(self, record: DeviceRecord, grant: Grant | None) -> bool:
        """Whether the token is the device's alone, and the one that it asks for."""
        adopt = record.spec.intent.adopt
        if grant is None or adopt not in (None, grant.names.token):
            return False
        return not await self.observer.is_named_elsewhere(record, grant.token_id)

    async def _stays_revoked(self, record: DeviceRecord, last: LastRequest) -> bool:
        """Whether a device was revoked before its record was lost, and nobody has asked since.

        With a record it would have a tombstone. Another device with the same id is not revoked.
        """
        is_first = record.spec.intent.implicit and record.spec.intent_generation == 1
        if not (is_first and last.is_revoke):
            return False
        if is_by_etag(last.identity):
            twin = await self.observer.hubs.twin(record.device)
            return twin is not None and last.identity == by_etag(twin.device_etag)
        identity = await self.observer.hubs.generation_id(record.device)
        return identity is not None and last.identity in (None, identity)

    async def prepare(self, record: DeviceRecord, ahead: Ahead | None = None) -> Prepared:
        """The plans for a record. Raises what observing it raises, and Blocked if it is too old."""
        before = before_change(record)
        if before is not None and ends_at_once(before):
            first = await self._look(before, of=record, is_upkeep=True)
            if first.plan.actions:
                return Prepared(upkeep=first)
        try:
            change = await self._look(record, of=record, ahead=ahead)
        except Blocked as refusal:
            if before is None or refusal.reason is Reason.RECORD_OUT_OF_DATE:
                raise
            return Prepared(refusal=refusal, upkeep=await self.upkeep(record))
        is_blocked = isinstance(change.plan, BlockedPlan) and not change.plan.actions
        return Prepared(change=change, upkeep=await self.upkeep(record) if is_blocked else None)

    async def upkeep(self, record: DeviceRecord) -> Planned | None:
        """The plan for what the device has; None if it has nothing, or that cannot be read now."""
        before = before_change(record)
        if before is None:
            return None
        try:
            return await self._look(before, of=record, is_upkeep=True)
        except FirstpullError:
            return None  # the change is blocked all the same; the next pass looks again

    async def _look(
        self,
        record: DeviceRecord,
        *,
        of: DeviceRecord,
        is_upkeep: bool = False,
        ahead: Ahead | None = None,
    ) -> Planned:
        observed = await self.observer.observe(record, ahead)
        self._check_date(of, observed.last_request)
        plan = make_plan(observed, now=self.clock.now(), validity=self.validity)
        return Planned(observed=observed, plan=plan, is_upkeep=is_upkeep)

    def _check_date(self, record: DeviceRecord, last: LastRequest | None) -> None:
        """Raises Blocked for a record that misses a request: nothing may be done by it."""
        if last is not None and last.is_later_than(record):
            raise record_out_of_date(record.device, requested_at=last.at)
