"""Every change of a device record, as a pure function from the record before to the one after.

The first part is what requests change, the second what the reconciler and the sweep change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from firstpull.model.azure_resources import HubIdentity, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Claim,
    Condition,
    Delivery,
    DeviceRecord,
    DeviceWarning,
    Grant,
    Intent,
    Message,
    Rejection,
    RetiringGrant,
    Revocation,
    Rotation,
    Schedule,
    Spec,
    State,
    Status,
)
from firstpull.model.history import HistoryEntry, entry, extended
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import MOST_SCOPE_ACTIONS
from firstpull.observability.log_events import LogEvent

_MOST_SUPERSEDED = 50
"""Runs of generations that a record keeps; an older operation reads as done."""
_SAME_MOMENT = timedelta(seconds=1)
"""Storage queues keep times to the second: requests within one second have no order."""
_EVER = datetime.min.replace(tzinfo=UTC)
_SOON = timedelta(seconds=5)
"""A device that is due this soon needs no earlier time."""


def new_record(device: DeviceKey, intent: Intent) -> DeviceRecord:
    """The first record of a device: generation 1, due at once."""
    return DeviceRecord(
        device=device,
        spec=Spec(intent=intent, generation=1),
        status=Status(
            condition=_accepted(intent.at), awaits_first_pull_since=_first_asked_at(intent)
        ),
        schedule=Schedule(due_at=intent.at),
        history=(_recorded(intent),),
    )


def with_intent(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record after a request for something else.

    A device that moves keeps its old grant until it has logged in with the new one. After a
    revoke the device starts from nothing, and the rest of the teardown comes first.
    """
    grant = record.status.grant
    if record.spec.revocation is not None:
        base = _started_over(record, intent)
    elif grant is not None and grant.ref not in intent.candidates:
        base = _moved(record, grant, intent)
    else:
        base = record
    status = base.status
    if status.grant is None and intent.adopt != record.spec.intent.adopt:
        status = replace(status, slots_requested=frozenset())  # the slots of another token
    starts_with_nothing = record.spec.revocation is not None or record.status.adopted
    status = replace(
        status,
        retained_actions=frozenset() if starts_with_nothing else _retained_actions(record),
    )
    return _next_generation(
        replace(base, status=status),
        replace(base.spec, intent=intent),
        condition=_accepted(intent.at),
        entry=_recorded(intent),
    )


def asked_again(record: DeviceRecord, intent: Intent, *, now: datetime) -> DeviceRecord:
    """The record after the same request: only late messages are compared with the newer time."""
    spec = record.spec
    if intent.at - spec.intent.at >= _SAME_MOMENT:
        record = replace(record, spec=replace(spec, intent=replace(spec.intent, at=intent.at)))
    is_idle = record.status.condition.state is not State.CONVERGING
    return woken(record, now) if is_idle and record.schedule.due_at > now + _SOON else record


def with_message(record: DeviceRecord, message: Message) -> DeviceRecord:
    """The record that recognises a repetition of this message.

    It forgets the messages that are older than its latest request: their time refuses them.
    """
    spec = record.spec
    latest = max(spec.intent.at, spec.revocation.at if spec.revocation is not None else _EVER)
    kept = (m for m in (*spec.messages, message) if m.at >= latest.replace(microsecond=0))
    return replace(record, spec=replace(spec, messages=tuple(kept)))


def with_revocation(record: DeviceRecord, revocation: Revocation) -> DeviceRecord:
    """The record after a revoke. A second revoke only moves the time of the first."""
    before = record.spec.revocation
    if before is not None:
        later = replace(before, at=max(revocation.at, before.at))
        return replace(record, spec=replace(record.spec, revocation=later))
    return _next_generation(
        record,
        replace(record.spec, revocation=revocation, rotation=None),
        condition=Condition(
            state=State.REVOKING,
            reason=Reason.REVOKING,
            message="Recorded; the teardown begins.",
            since=revocation.at,
        ),
        entry=entry(LogEvent.DEVICE_REVOKE_RECORDED, at=revocation.at, by=revocation.requested_by),
    )


def with_rotation(record: DeviceRecord, rotation: Rotation) -> DeviceRecord:
    """The record after a request for another password."""
    return _next_generation(
        record,
        replace(record.spec, rotation=rotation),
        condition=_accepted(rotation.at),
        entry=entry(
            LogEvent.DEVICE_ROTATION_RECORDED,
            at=rotation.at,
            by=rotation.requested_by,
            detail="immediately" if rotation.immediately else "",
        ),
    )


def with_rejection(record: DeviceRecord, rejection: Rejection) -> DeviceRecord:
    """The record after a message about the device was refused."""
    return replace(record, status=replace(record.status, rejection=rejection))


def woken(record: DeviceRecord, at: datetime) -> DeviceRecord:
    """The record, due at another time. Failed attempts still count."""
    return replace(record, schedule=replace(record.schedule, due_at=at))


def with_drift(record: DeviceRecord, found: HistoryEntry) -> DeviceRecord:
    """The record of a device with drift: a whole pass is due."""
    return replace(
        record,
        status=replace(record.status, observed_at=None),
        schedule=replace(record.schedule, due_at=min(record.schedule.due_at, found.at)),
        history=extended(record.history, [found]),
    )


def with_warnings(record: DeviceRecord, warnings: tuple[DeviceWarning, ...]) -> DeviceRecord:
    """The record with these warnings, unchanged where they say the same as before."""
    before = {(w.reason, w.message) for w in record.status.warnings}
    if before == {(w.reason, w.message) for w in warnings}:
        return record
    return replace(record, status=replace(record.status, warnings=warnings))


def with_history(record: DeviceRecord, entries: Iterable[HistoryEntry]) -> DeviceRecord:
    """The record with later history."""
    return replace(record, history=extended(record.history, entries))


def claimed(
    record: DeviceRecord, claim: Claim, *, condition: Condition, due_at: datetime
) -> DeviceRecord:
    """The record of a device that a worker writes to."""
    return replace(
        record,
        claim=claim,
        status=replace(record.status, condition=condition),
        schedule=replace(record.schedule, due_at=due_at),
    )


def granted(
    record: DeviceRecord, grant: Grant, *, slots: Collection[Slot], hub_generation_id: str | None
) -> DeviceRecord:
    """The record that names everything a worker is about to make.

    `slots` are those that get a password. `hub_generation_id` is the identity that the password
    is for: by it, a later pass recognises another device with the same id.
    """
    status = record.status
    return replace(
        record,
        status=replace(
            status,
            adopted=status.adopted or record.token_to_adopt is not None,
            grant=grant,
            slots_requested=status.slots_requested | frozenset(slots),
            hub_generation_id=status.hub_generation_id or hub_generation_id,
            retiring=tuple(
                held
                for held in status.retiring
                if (held.ref, held.names.token) != (grant.ref, grant.names.token)
            ),
        ),
    )


def without_contested_token(record: DeviceRecord, before: DeviceRecord) -> DeviceRecord:
    """The record without the token to adopt: the worker has done nothing with that token."""
    was = before.status
    return replace(
        record,
        status=replace(
            record.status,
            grant=was.grant,
            adopted=was.adopted,
            slots_requested=was.slots_requested,
            retiring=was.retiring,
        ),
    )


def unclaimed(record: DeviceRecord) -> DeviceRecord:
    """The record that no worker holds."""
    return replace(record, claim=None)


def due_again(record: DeviceRecord, now: datetime) -> DeviceRecord:
    """The record of a device that is due for another pass now."""
    return replace(record, schedule=Schedule(due_at=now))


def torn_down(record: DeviceRecord, gone: Collection[Grant]) -> DeviceRecord:
    """The record after the teardown of these grants; only disabled secrets are left of them."""
    keys = {(grant.ref, grant.names) for grant in gone}
    return replace(
        record,
        status=replace(
            record.status,
            retiring=tuple(g for g in record.status.retiring if (g.ref, g.names) not in keys),
            retired_secrets=record.status.retired_secrets | {g.names.secret for g in gone},
        ),
    )


def without_grant(record: DeviceRecord) -> DeviceRecord:
    """The record of a device whose connected registry is full; the next pass chooses again."""
    return replace(record, status=replace(record.status, grant=None, adopted=False))


def blocked(record: DeviceRecord, condition: Condition, *, due_at: datetime) -> DeviceRecord:
    """The record after a pass that a precondition ended."""
    return replace(
        record,
        status=replace(record.status, condition=condition, warnings=()),
        schedule=Schedule(due_at=due_at),
    )


def failed(record: DeviceRecord, condition: Condition, *, due_at: datetime) -> DeviceRecord:
    """The record after a pass that an error ended."""
    return replace(
        record,
        claim=None,
        status=replace(record.status, condition=condition),
        schedule=Schedule(due_at=due_at, attempts=record.schedule.attempts + 1),
    )


def revoked(
    record: DeviceRecord,
    *,
    generation: int,
    condition: Condition,
    identity: HubIdentity,
    warnings: tuple[DeviceWarning, ...],
    due_at: datetime,
    now: datetime,
) -> DeviceRecord:
    """The tombstone of a device after its teardown. `identity` is the revoked one."""
    record = mark_observed(record, generation)
    return replace(
        record,
        status=replace(
            record.status,
            condition=condition,
            retiring=tuple(_retiring(grant, at_once=True) for grant in record.status.retiring),
            hub_generation_id=identity.generation_id,
            hub_device_etag=identity.etag,
            delivery=None,
            acknowledged_at=None,
            slots_requested=frozenset(),
            retained_actions=frozenset(),
            warnings=warnings,
            observed_at=now,
        ),
        schedule=Schedule(due_at=due_at),
    )


def reset_to_identity(
    record: DeviceRecord, *, identity: HubIdentity, now: datetime
) -> DeviceRecord:
    """The record of another device with the same id: it has nothing yet."""
    status = record.status
    return replace(
        record,
        spec=replace(record.spec, rotation=None),
        status=replace(
            status,
            hub_generation_id=identity.generation_id,
            hub_device_etag=identity.etag,
            retiring=tuple(
                replace(
                    held,
                    at_once=status.grant is None or not held.shares_token_with(status.grant),
                )
                for held in status.retiring
            ),
            retained_actions=frozenset(),
            adopted=False,
            delivery=None,
            acknowledged_at=None,
            slots_requested=frozenset(),
        ),
        schedule=Schedule(due_at=now),
    )


def delivered(record: DeviceRecord, delivery: Delivery) -> DeviceRecord:
    """The record after a delivery that the device has not acknowledged."""
    return replace(
        record,
        status=replace(
            record.status, delivery=delivery, acknowledged_at=None, slots_requested=frozenset()
        ),
    )


def acknowledged(record: DeviceRecord, now: datetime) -> DeviceRecord:
    """The record after the device has logged in with the delivered credentials."""
    status = record.status
    return replace(
        record,
        status=replace(
            status,
            acknowledged_at=status.acknowledged_at or now,
            awaits_first_pull_since=None,
            adopted=status.adopted and status.delivery is None,
        ),
    )


def rotated(record: DeviceRecord) -> DeviceRecord:
    """The record after the new password was delivered."""
    return replace(record, spec=replace(record.spec, rotation=None))


def narrowed(record: DeviceRecord) -> DeviceRecord:
    """The record of a device that no longer needs the scope actions of earlier intents."""
    return replace(record, status=replace(record.status, retained_actions=frozenset()))


def reconciled(
    record: DeviceRecord,
    *,
    condition: Condition,
    due_at: datetime,
    identity: HubIdentity,
    warnings: tuple[DeviceWarning, ...],
    vault_seen_at: datetime | None,
    now: datetime,
) -> DeviceRecord:
    """The record after a whole pass in which nothing went wrong."""
    return replace(
        record,
        status=replace(
            record.status,
            condition=condition,
            warnings=warnings,
            hub_generation_id=identity.generation_id,
            hub_device_etag=identity.etag,
            observed_at=now,
            vault_seen_at=vault_seen_at,
        ),
        schedule=Schedule(due_at=due_at),
    )


def mark_observed(record: DeviceRecord, generation: int) -> DeviceRecord:
    """The record when a generation is done; undone earlier ones are superseded."""
    status = record.status
    first, last = status.observed_generation + 1, generation - 1
    skipped = ((first, last),) if first <= last else ()
    return replace(
        record,
        status=replace(
            status,
            observed_generation=generation,
            superseded=(*status.superseded, *skipped)[-_MOST_SUPERSEDED:],
        ),
    )


def interrupted(record: DeviceRecord, stored: DeviceRecord, *, now: datetime) -> DeviceRecord:
    """The outcome of a pass during which a request made another generation of `stored`."""
    return replace(
        record,
        status=replace(record.status, condition=stored.status.condition),
        schedule=Schedule(due_at=now),
    )


def _next_generation(
    record: DeviceRecord, spec: Spec, *, condition: Condition, entry: HistoryEntry
) -> DeviceRecord:
    """The record with another spec, due at once."""
    return replace(
        record,
        spec=replace(spec, generation=record.spec.generation + 1),
        status=replace(record.status, condition=condition),
        schedule=Schedule(due_at=condition.since),
        history=extended(record.history, [entry]),
    )


def _accepted(at: datetime) -> Condition:
    return Condition(
        state=State.PENDING, reason=Reason.ACCEPTED, message="Recorded; work begins.", since=at
    )


def _started_over(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record without a revocation; grants that still exist retire at once."""
    if record.is_tombstone:
        record = torn_down(record, record.grants)
        retiring = record.status.retiring
    else:
        retiring = tuple(_retiring(grant, at_once=True) for grant in record.grants)
    record = _without_credential(record)
    return replace(
        record,
        spec=replace(record.spec, revocation=None),
        status=replace(
            record.status,
            retiring=retiring,
            slots_requested=frozenset(),
            hub_generation_id=None,
            hub_device_etag=None,
            awaits_first_pull_since=_first_asked_at(intent),
        ),
    )


def _moved(record: DeviceRecord, here: Grant, intent: Intent) -> DeviceRecord:
    """The record without its grant, which retires; earlier grants keep retiring."""
    status = record.status
    # Within a container registry the device keeps its token, and the token its two slots.
    same_token = {ref.registry for ref in intent.candidates} == {here.ref.registry}
    record = _without_credential(record)
    return replace(
        record,
        status=replace(
            record.status,
            adopted=status.adopted and same_token and intent.adopt == here.names.token,
            retiring=(*status.retiring, _retiring(here, at_once=False)),
            slots_requested=status.slots_requested if same_token else frozenset(),
        ),
    )


def _without_credential(record: DeviceRecord) -> DeviceRecord:
    return replace(
        record,
        spec=replace(record.spec, rotation=None),
        status=replace(
            record.status,
            grant=None,
            adopted=False,
            delivery=None,
            acknowledged_at=None,
            observed_at=None,
        ),
    )


def _retained_actions(record: DeviceRecord) -> frozenset[str]:
    """The scope actions that the device may have logged in for, if a scope map can hold them."""
    retained = record.status.retained_actions
    if record.status.delivery is not None:
        retained |= record.spec.intent.scope_actions
    return retained if len(retained) <= MOST_SCOPE_ACTIONS else frozenset()


def _retiring(grant: Grant, *, at_once: bool) -> RetiringGrant:
    return RetiringGrant(ref=grant.ref, names=grant.names, at_once=at_once)


def _first_asked_at(intent: Intent) -> datetime | None:
    """The request's time; None with a token to adopt, whose device could already pull."""
    return intent.at if intent.adopt is None else None


def _recorded(intent: Intent) -> HistoryEntry:
    return entry(
        LogEvent.DEVICE_INTENT_RECORDED, at=intent.at, by=intent.requested_by, detail=intent.target
    )
