"""The record after a pass: a pure function of the record before, what was seen, and the time.

A request may have changed the record while the pass was under way. What the pass made is noted
then as far as it is still about what the device has; the rest is found by the next look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from firstpull.errors import Blocked, FirstpullError
from firstpull.history import HistoryEntry, entry
from firstpull.observation import Observed
from firstpull.plan import Plan, adopts
from firstpull.reasons import Reason
from firstpull.records import (
    Condition,
    Delivery,
    DeviceRecord,
    Holding,
    Leaving,
    State,
    Warned,
    made_true,
    tokens_left_in,
    without,
)
from firstpull.schedule import look_after_revoke, next_look, retry_at
from firstpull.warned import awaiting_sync, warnings_for

ACKNOWLEDGED = "device.credential.acknowledged"
"""The event by which a device is known to have logged in."""
_FULL = (Reason.CONNECTED_REGISTRY_FULL, Reason.SITE_FULL)


def after_look(
    record: DeviceRecord,
    observed: Observed,
    plan: Plan,
    delivery: Delivery | None,
    *,
    now: datetime,
) -> DeviceRecord:
    """The record after a pass in which nothing went wrong."""
    record = replace(record, claim=None)
    if observed.record.revocation is not None:
        return _after_revoke(record, observed, now=now)
    if plan.forgets:
        return _after_forgetting(record, observed, now=now)
    record, begun = without(record, plan.gone), observed.record
    if observed.chosen is None and begun.leaving and plan.finding is None:
        return replace(record, due_at=now, attempts=0)  # what had to go first has gone
    if plan.finding is not None:
        return _after_finding(record, observed, plan, now=now)
    if (record.place, record.revocation) != (_place_of(observed), begun.revocation):
        return replace(record, due_at=now, attempts=0)
    return _after_convergence(record, observed, plan, delivery, now=now)


def after_failure(record: DeviceRecord, error: FirstpullError, *, now: datetime) -> DeviceRecord:
    """The record after a pass that ended with an error."""
    if isinstance(error, Blocked):
        condition = condition_after(
            record, State.BLOCKED, error.reason, error.message, remedy=error.remedy, now=now
        )
    else:
        state = State.REVOKING if record.revocation is not None else State.CONVERGING
        condition = condition_after(record, state, error.reason, error.message, now=now)
    due_at = retry_at(error, attempts=record.attempts, device=record.device, now=now)
    return replace(
        record, condition=condition, due_at=due_at, attempts=record.attempts + 1, claim=None
    )


def transitions(before: DeviceRecord, after: DeviceRecord, *, at: datetime) -> list[HistoryEntry]:
    """What a pass has found out, beside what it did."""
    return [entry(event, at=at, detail=detail) for event, detail in _transitions(before, after)]


def condition_after(
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


def _transitions(before: DeviceRecord, after: DeviceRecord) -> Iterator[tuple[str, str]]:
    if after.acknowledged_at is not None and before.acknowledged_at is None:
        yield ACKNOWLEDGED, ""
    was, is_ = before.condition, after.condition
    if is_.state is State.BLOCKED and (was.state, was.reason) != (is_.state, is_.reason):
        yield "device.convergence.blocked", f"{is_.reason.value}: {is_.message}"
    if is_.state is State.REVOKED and was.state is not State.REVOKED:
        yield "device.access.revoked", ""
    known = {warned.reason for warned in before.warnings}
    for warned in after.warnings:
        if warned.reason not in known:
            yield "device.warning.raised", f"{warned.reason.value}: {warned.message}"


def _after_revoke(record: DeviceRecord, observed: Observed, *, now: datetime) -> DeviceRecord:
    if record.revocation is None:  # asked for again meanwhile
        return replace(without(record, observed.record.holdings), due_at=now, attempts=0)
    if record.revocation != observed.record.revocation:  # and revoked again
        return replace(record, due_at=now, attempts=0)
    condition = condition_after(
        record,
        State.REVOKED,
        Reason.REVOKED,
        "The device's access was taken away; nothing of it is left.",
        now=now,
    )
    known = {warned.reason: warned.since for warned in record.warnings}
    warnings: dict[str, Warned] = {}
    for view in observed.leaving:
        for warned in awaiting_sync(
            view.holding.place, view.connected_registry, since=condition.since, now=now
        ):
            warnings[warned.message] = replace(warned, since=known.get(warned.reason, now))
    return replace(
        made_true(record, observed.record.generation),
        condition=condition,
        due_at=look_after_revoke(condition.since, now=now, is_settled=not warnings),
        leaving=tuple(
            Leaving(place=h.place, names=h.names, at_once=True) for h in observed.record.leaving
        ),
        hub_generation_id=observed.hub_generation_id,
        hub_device_etag=observed.twin.device_etag
        if observed.twin is not None and not observed.record.is_tombstone
        else record.hub_device_etag,
        delivery=None,
        acknowledged_at=None,
        slots_requested=frozenset(),
        keeps=frozenset(),
        warnings=tuple(warnings.values()),
        observed_at=now,
        attempts=0,
    )


def _has_same_token(record: DeviceRecord, holding: Holding) -> bool:
    """Whether the token of a holding is the one that the device has."""
    if record.place is None or record.names is None:
        return False
    here = (record.place.registry, record.names.token)
    return (holding.place.registry, holding.names.token) == here


def _after_forgetting(record: DeviceRecord, observed: Observed, *, now: datetime) -> DeviceRecord:
    """From here on the record is about the device that is there now, which has nothing yet."""
    return replace(
        record,
        hub_generation_id=observed.hub_generation_id,
        hub_device_etag=observed.twin.device_etag if observed.twin is not None else None,
        leaving=tuple(
            replace(held, at_once=not _has_same_token(record, held)) for held in record.leaving
        ),
        keeps=frozenset(),
        adopted=False,
        rotation=None,
        delivery=None,
        acknowledged_at=None,
        slots_requested=frozenset(),
        due_at=now,
        attempts=0,
    )


def _after_finding(
    record: DeviceRecord, observed: Observed, plan: Plan, *, now: datetime
) -> DeviceRecord:
    found = plan.finding
    if found is None:
        raise AssertionError("there is a finding")
    condition = condition_after(
        record, found.state, found.reason, found.message, remedy=found.remedy, now=now
    )
    if found.reason in _FULL and _has_nothing_yet(record, observed):
        record = replace(record, place=None, names=None, adopted=False)
    elsewhere = record.place is None and observed.record.place is not None
    due_at = now if elsewhere else next_look(condition, now=now, renew_at=None)
    return replace(record, condition=condition, due_at=due_at, attempts=0, warnings=())


def _after_convergence(
    record: DeviceRecord,
    observed: Observed,
    plan: Plan,
    delivery: Delivery | None,
    *,
    now: datetime,
) -> DeviceRecord:
    acknowledged_at = record.acknowledged_at
    if delivery is not None:
        acknowledged_at = None
    elif plan.answer is not None and plan.answer.logged_in:
        acknowledged_at = acknowledged_at or now
    adopted = record.adopted or adopts(observed.record)
    if delivery is None and record.delivery is not None and acknowledged_at is not None:
        adopted = False
    record = replace(
        record,
        delivery=delivery or record.delivery,
        acknowledged_at=acknowledged_at,
        awaits_first_pull_since=None if acknowledged_at else record.awaits_first_pull_since,
        adopted=adopted,
        slots_requested=frozenset() if delivery else record.slots_requested,
    )
    condition = _how_far(record, plan, delivery, now=now)
    same = record.generation == observed.record.generation
    narrows = bool(record.keeps) and acknowledged_at is not None and same and plan.is_settled
    if plan.is_settled:
        record = made_true(record, observed.record.generation)
    return replace(
        record,
        condition=condition,
        due_at=now if narrows else next_look(condition, now=now, renew_at=plan.renew_at),
        rotation=None if plan.is_settled and same else record.rotation,
        keeps=frozenset() if narrows else record.keeps,
        warnings=_warnings(record, observed, now=now),
        hub_generation_id=observed.hub_generation_id,
        hub_device_etag=observed.twin.device_etag if observed.twin else None,
        observed_at=now,
        vault_seen_at=_vault_seen_at(observed),
        attempts=0,
    )


def _vault_seen_at(observed: Observed) -> datetime | None:
    versions = observed.credential.secrets if observed.credential is not None else ()
    disabled = (v.updated_at for v in versions if not v.enabled)
    return max((at for at in disabled if at is not None), default=None)


def _how_far(
    record: DeviceRecord, plan: Plan, delivery: Delivery | None, *, now: datetime
) -> Condition:
    answer = plan.answer
    if record.adopted and record.delivery is None and not record.leaving:
        return condition_after(
            record,
            State.READY,
            Reason.ADOPTED,
            "The token was taken over; the device keeps the password that it has.",
            now=now,
        )
    if delivery is not None or answer is None:
        return condition_after(
            record,
            State.DELIVERED,
            Reason.DELIVERED,
            "The credentials are in the twin; the device has not answered yet.",
            now=now,
            anew=delivery is not None,
        )
    if answer.logged_in and not plan.is_settled and record.observed_generation < record.generation:
        return condition_after(
            record,
            State.WAITING,
            Reason.AWAITING_SYNC,
            "The new password is stored; it is delivered when the connected registry has synced.",
            now=now,
        )
    if answer.logged_in:
        return condition_after(
            record, State.READY, Reason.ACKNOWLEDGED, "The device has logged in.", now=now
        )
    return condition_after(
        record,
        State.DELIVERED,
        Reason.DEVICE_REPORTS_FAILURE,
        f"The device could not log in yet: {answer.reason or 'no reason given'}.",
        now=now,
    )


def _warnings(record: DeviceRecord, observed: Observed, *, now: datetime) -> tuple[Warned, ...]:
    view, credential = observed.chosen, observed.credential
    return warnings_for(
        record,
        connected_registry=view.connected_registry if view else None,
        synced_actions=credential.synced_actions if credential else None,
        token=credential.token if credential else None,
        now=now,
    )


def _place_of(observed: Observed) -> object:
    return observed.chosen.place if observed.chosen is not None else None


def _has_nothing_yet(record: DeviceRecord, observed: Observed) -> bool:
    """Whether a recorded place is only a plan: no room is held there, and no token was made."""
    token = observed.credential.token if observed.credential is not None else None
    if record.place is None or record.delivery is not None:
        return False
    brought = {record.intent.adopt, *tokens_left_in(record, record.place.registry)}
    return token is None or token.name in brought
