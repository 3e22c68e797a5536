"""Every change of a device record, as a pure function from the record before to the one after.

The first part is what requests change, the second what the reconciler and the sweep change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from firstpull.model.azure_resources import HubIdentity, Slot
from firstpull.model.clock import whole_second
from firstpull.model.delivery_kinds import same_place
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Applied,
    Claim,
    Condition,
    Delivery,
    DeviceRecord,
    DeviceWarning,
    Grant,
    Held,
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
    TokenSlot,
)
from firstpull.model.history import HistoryEntry, entry, extended, with_repeated
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import MOST_SCOPE_ACTIONS
from firstpull.observability.log_events import LogEvent

_MOST_SUPERSEDED = 50
"""Runs of generations that a record keeps; an older operation reads as done."""
_EVER = datetime.min.replace(tzinfo=UTC)
_TWIN_REPLACED = timedelta(seconds=30)
"""After a registration, the provisioning service has replaced the twin, if it does."""
_SOON = timedelta(seconds=5)
"""A device that is due this soon needs no earlier time."""


def new_record(device: DeviceKey, intent: Intent) -> DeviceRecord:
    """The first record of a device: generation 1, due at once."""
    return DeviceRecord(
        device=device,
        spec=Spec(intent=intent, generation=1, intent_generation=1),
        status=Status(
            condition=accepted(intent.at), awaits_first_pull_since=_first_asked_at(intent)
        ),
        schedule=Schedule(due_at=intent.at),
        history=(_recorded(intent),),
    )


def unknown_device(device: DeviceKey, revocation: Revocation | None = None) -> DeviceRecord:
    """The record of a device that is revoked although no request for it is recorded."""
    revocation = revocation or Revocation(requested_by="", at=_EVER)
    intent = Intent(
        target="unknown",
        candidates=(),
        repositories=(),
        actions=(),
        requested_by=revocation.requested_by,
        at=revocation.at,
    )
    return with_revocation(new_record(device, intent), revocation)


def with_found_grants(record: DeviceRecord, found: Iterable[Grant]) -> DeviceRecord:
    """The record that names grants of its device which it did not name; they end at once."""
    retiring = (*record.status.retiring, *(_retiring(grant, at_once=True) for grant in found))
    return replace(record, status=replace(record.status, retiring=retiring))


def in_place_of(before: DeviceRecord | None, record: DeviceRecord, now: datetime) -> DeviceRecord:
    """A rebuilt record in the place of one that is out of date or lost; generations go on."""
    spec, status = record.spec, record.status
    messages, history = spec.messages, record.history
    generation, retired_secrets = spec.generation, status.retired_secrets
    if before is not None:
        messages, history = before.spec.messages, before.history
        generation = max(generation, before.spec.generation + 1)
        retired_secrets |= before.status.retired_secrets
    ahead, applied = generation - spec.generation, status.applied
    return replace(
        record,
        spec=replace(
            spec,
            generation=generation,
            intent_generation=spec.intent_generation + ahead,
            messages=messages,
        ),
        status=replace(
            status,
            observed_generation=status.observed_generation + ahead,
            applied=replace(applied, generation=applied.generation + ahead) if applied else None,
            retired_secrets=retired_secrets,
        ),
        history=extended(history, [entry(LogEvent.DEVICE_RECORD_REBUILT, at=now)]),
    )


def with_noted_secrets(record: DeviceRecord, secrets: Collection[str]) -> DeviceRecord:
    """The record that names secrets of which no version has a password."""
    named = {grant.names.secret for grant in record.grants}
    retired = record.status.retired_secrets | (frozenset(secrets) - named)
    return replace(record, status=replace(record.status, retired_secrets=retired))


def with_intent(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record after a request for something else.

    A device that moves keeps its old grant until it has logged in with the new one, and a
    rotation goes on. After a revoke the device starts from nothing, and the rest of the teardown
    comes first.
    """
    grant, held = record.status.grant, record.held_grant
    if record.spec.revocation is not None:
        base = _started_over(record, intent)
    elif held is not None and _is_wanted(held[0], intent):
        base = _stayed(record, *held, intent)
    elif grant is not None and grant.ref not in intent.candidates:
        base = _with_leaked_ending(_moved(record, grant, intent), intent)
    elif grant is not None and grant.delivery != intent.delivery:
        base = _with_leaked_ending(_with_other_kind(record, grant, intent), intent)
    else:
        base = _with_leaked_ending(record, intent)
    starts_with_nothing = record.spec.revocation is not None or record.status.adopted
    status = replace(
        base.status,
        retained_actions=frozenset() if starts_with_nothing else _retained_actions(record),
    )
    return _next_generation(
        replace(base, status=status),
        replace(base.spec, intent=intent, intent_generation=record.spec.generation + 1),
        supersedes=record.pending & {record.spec.intent_generation},
        condition=accepted(intent.at),
        entry=_recorded(intent),
    )


def asked_for(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record of a device that is not revoked, after the first request or another one.

    A key comes from a caller only, so a request of no caller keeps the one that there is.
    """
    key = record.spec.intent.sealing_key
    if intent.implicit and intent.sealing_key is None and key is not None:
        intent = replace(intent, sealing_key=key)
    if record.spec.intent.asks_the_same(intent):
        return replace(record, spec=replace(record.spec, intent=intent))
    return with_intent(record, intent)


def asked_again(record: DeviceRecord, intent: Intent, *, now: datetime) -> DeviceRecord:
    """The record after the same request: only late messages are compared with the newer time.

    Messages have whole seconds: requests within one second have no order.
    """
    spec = record.spec
    if whole_second(intent.at) > whole_second(spec.intent.at):
        implicit = spec.intent.implicit and intent.implicit
        asked = replace(spec.intent, at=intent.at, implicit=implicit)
        record = replace(record, spec=replace(spec, intent=asked))
    is_idle = record.status.condition.state is not State.CONVERGING
    return woken(record, now) if is_idle and record.schedule.due_at > now + _SOON else record


def with_message(record: DeviceRecord, message: Message) -> DeviceRecord:
    """The record that recognises a repetition of this message.

    It forgets the messages that are older than its latest request: their time refuses them.
    """
    spec = record.spec
    latest = max(spec.intent.at, spec.revocation.at if spec.revocation is not None else _EVER)
    kept = (m for m in (*spec.messages, message) if m.at >= whole_second(latest))
    return replace(record, spec=replace(spec, messages=tuple(kept)))


def with_revocation(record: DeviceRecord, revocation: Revocation) -> DeviceRecord:
    """The record after a revoke. A second revoke only moves the time of the first.

    It is later than what was requested before, whichever host's clock it has.
    """
    before = record.spec.revocation
    revocation = replace(revocation, at=max(revocation.at, record.requested_at))
    if before is not None:
        later = replace(before, at=max(revocation.at, before.at))
        return replace(record, spec=replace(record.spec, revocation=later))
    return _next_generation(
        record,
        replace(
            record.spec,
            revocation=revocation,
            rotation=None,
            intent_generation=record.spec.generation + 1,
        ),
        supersedes=record.pending,
        condition=Condition(
            state=State.REVOKING,
            reason=Reason.REVOKING,
            message="Recorded; the teardown begins.",
            since=revocation.at,
        ),
        entry=entry(LogEvent.DEVICE_REVOKE_RECORDED, at=revocation.at, by=revocation.requested_by),
    )


def with_rotation(record: DeviceRecord, rotation: Rotation) -> DeviceRecord:
    """The record after a request for another password.

    At once, every other token of the device ends too: somebody may know its password.
    """
    rotation = replace(rotation, generation=record.spec.generation + 1)
    before = record.spec.rotation
    if rotation.immediately:
        record = _with_one_token(record)
    return _next_generation(
        record,
        replace(record.spec, rotation=rotation),
        supersedes=frozenset({before.generation} if before is not None else ()),
        condition=accepted(rotation.at),
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


def registered_again(record: DeviceRecord, at: datetime) -> DeviceRecord:
    """The record of a device whose twin may be replaced after this: due now, and once more."""
    schedule = replace(record.schedule, due_at=at, look_again_at=at + _TWIN_REPLACED)
    return replace(record, schedule=schedule)


def looked_at(record: DeviceRecord, before: Schedule, *, began_at: datetime) -> DeviceRecord:
    """The record after a pass, due again no later than it was to be looked at again."""
    again_at = before.look_again_at
    if again_at is None or again_at <= began_at:
        return record
    due_at = min(record.schedule.due_at, again_at)
    return replace(record, schedule=replace(record.schedule, due_at=due_at, look_again_at=again_at))


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


def with_failure(record: DeviceRecord, failure: HistoryEntry, *, is_repeated: bool) -> DeviceRecord:
    """The record with a failed pass in its history, once for each cause where passes fail on."""
    if is_repeated:
        return replace(record, history=with_repeated(record.history, failure))
    return with_history(record, [failure])


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


def renewed(record: DeviceRecord, claim: Claim, *, due_at: datetime) -> DeviceRecord:
    """The record whose claim lasts longer."""
    return replace(record, claim=claim, schedule=replace(record.schedule, due_at=due_at))


def granted(
    record: DeviceRecord, grant: Grant, *, slots: Collection[Slot], hub_generation_id: str | None
) -> DeviceRecord:
    """The record that names everything a worker is about to make.

    `slots` are those that get a password. `hub_generation_id` is the identity that the password
    is for: by it, a later pass recognises another device with the same id.
    """
    record = requested(record, grant, slots=slots)
    status = record.status
    return replace(
        record,
        status=replace(
            status,
            adopted=status.adopted or record.token_to_adopt is not None,
            grant=grant,
            hub_generation_id=status.hub_generation_id or hub_generation_id,
            retiring=tuple(
                held
                for held in status.retiring
                if not (held.is_delivered_with(grant) and held.shares_token_with(grant))
            ),
        ),
    )


def requested(record: DeviceRecord, grant: Grant, *, slots: Collection[Slot]) -> DeviceRecord:
    """The record that names the slots in which a worker is about to make passwords."""
    more = frozenset(TokenSlot(token=grant.token_id, slot=slot) for slot in slots)
    status = record.status
    return replace(record, status=replace(status, slots_requested=status.slots_requested | more))


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
    keys = {(grant.ref, grant.names, grant.delivery) for grant in gone}
    status = record.status
    record = replace(
        record,
        status=replace(
            status,
            retiring=tuple(g for g in status.retiring if (g.ref, g.names, g.delivery) not in keys),
            retired_secrets=status.retired_secrets | {g.names.secret for g in gone},
        ),
    )
    kept = {grant.token_id for grant in record.grants}
    slots = frozenset(s for s in status.slots_requested if s.token in kept)
    return replace(record, status=replace(record.status, slots_requested=slots))


def without_grant(record: DeviceRecord) -> DeviceRecord:
    """The record of a device whose connected registry is full; the next pass chooses again."""
    return replace(record, status=replace(record.status, grant=None, adopted=False))


def blocked(
    record: DeviceRecord,
    condition: Condition,
    *,
    warnings: tuple[DeviceWarning, ...],
    due_at: datetime,
) -> DeviceRecord:
    """The record after a pass that a precondition ended."""
    return replace(
        record,
        status=replace(record.status, condition=condition, warnings=warnings),
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
    return replace(
        record,
        status=replace(
            record.status,
            condition=condition,
            observed_generation=generation,
            applied=None,
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
    """The record of another device with the same id, which was asked for: it has nothing yet."""
    status = record.status
    return replace(
        record,
        spec=replace(record.spec, rotation=None),
        status=replace(
            status,
            applied=None,
            hub_generation_id=identity.generation_id,
            hub_device_etag=identity.etag,
            retiring=tuple(
                replace(
                    held,
                    held=None,
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
    """The record after a delivery that the device has not acknowledged.

    A slot whose password was made and is not the delivered one stays requested: its value may
    be lost.
    """
    status, grant = record.status, record.status.grant
    slots = status.slots_requested
    if grant is not None:
        slots -= {TokenSlot(token=grant.token_id, slot=delivery.slot)}
    return replace(
        record,
        status=replace(
            status,
            delivery=delivery,
            acknowledged_at=None,
            slots_requested=slots,
            retiring=tuple(replace(grant, held=None) for grant in status.retiring),
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


def without_lost_passwords(record: DeviceRecord) -> DeviceRecord:
    """The record of a device whose token has no password any more but the acknowledged one.

    What somebody makes in the other slot from now on is theirs.
    """
    status, grant = record.status, record.status.grant
    slots = (s for s in status.slots_requested if grant is None or s.token != grant.token_id)
    return replace(record, status=replace(status, slots_requested=frozenset(slots)))


def rotated(record: DeviceRecord) -> DeviceRecord:
    """The record after the new password was delivered."""
    return _counted(replace(record, spec=replace(record.spec, rotation=None)))


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


def carried_out(record: DeviceRecord, spec: Spec) -> DeviceRecord:
    """The record of a device that has what the intent of `spec` asks for."""
    applied = Applied(intent=spec.intent, generation=spec.intent_generation)
    return _counted(replace(record, status=replace(record.status, applied=applied)))


def before_change(record: DeviceRecord) -> DeviceRecord | None:
    """The record as if the intent that is not carried out had not come.

    By it, a worker maintains what the device has while the change is blocked. None without such
    an intent, or if the device has nothing yet.
    """
    status, spec, found = record.status, record.spec, record.held_grant
    applied = status.applied
    if applied is None or spec.revocation is not None:
        return None
    if found is not None:
        status = replace(_using(status, *found), retiring=())
    elif status.grant is None or applied.generation >= spec.intent_generation:
        return None
    return replace(
        record,
        spec=replace(spec, intent=applied.intent, intent_generation=applied.generation),
        status=replace(status, observed_generation=spec.generation),
    )


def maintained(record: DeviceRecord, before: DeviceRecord) -> DeviceRecord:
    """The record after a pass over what `before_change` gave, which ended as `before`."""
    now, found = before.status, record.held_grant
    status = replace(
        record.status,
        slots_requested=now.slots_requested,
        hub_generation_id=now.hub_generation_id,
        hub_device_etag=now.hub_device_etag,
        vault_seen_at=now.vault_seen_at,
        warnings=now.warnings,
    )
    if found is None:
        status = replace(
            status,
            delivery=now.delivery,
            acknowledged_at=now.acknowledged_at,
            adopted=now.adopted,
        )
    else:
        retiring = (replace(g, held=_held(now)) if g == found[0] else g for g in status.retiring)
        status = replace(status, retiring=tuple(retiring))
    spec = replace(record.spec, rotation=before.spec.rotation)
    return _counted(replace(record, spec=spec, status=status))


def interrupted(record: DeviceRecord, stored: DeviceRecord, *, now: datetime) -> DeviceRecord:
    """The outcome of a pass during which a request made another generation of `stored`."""
    return replace(
        record,
        status=replace(record.status, condition=stored.status.condition),
        schedule=Schedule(due_at=now),
    )


def _next_generation(
    record: DeviceRecord,
    spec: Spec,
    *,
    supersedes: Collection[int],
    condition: Condition,
    entry: HistoryEntry,
) -> DeviceRecord:
    """The record with another spec, due at once. `supersedes` are generations that it replaces."""
    superseded = record.status.superseded
    for generation in sorted(supersedes):
        first, last = superseded[-1] if superseded else (0, 0)
        if last == generation - 1 > 0:
            superseded = (*superseded[:-1], (first, generation))
        else:
            superseded = (*superseded, (generation, generation))[-_MOST_SUPERSEDED:]
    return replace(
        record,
        spec=replace(spec, generation=record.spec.generation + 1),
        status=replace(record.status, condition=condition, superseded=superseded),
        schedule=Schedule(due_at=condition.since),
        history=extended(record.history, [entry]),
    )


def _counted(record: DeviceRecord) -> DeviceRecord:
    """The record with the number of the generations that are done."""
    spec, status = record.spec, record.status
    done = min(record.pending) - 1 if record.pending else spec.generation
    done = max(done, status.observed_generation)
    return replace(record, status=replace(status, observed_generation=done))


def accepted(at: datetime) -> Condition:
    """The condition of a device for which no worker has begun."""
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
        spec=replace(record.spec, revocation=None, rotation=None),
        status=replace(
            record.status,
            applied=None,
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
    held = None
    if record.held_grant is None and (status.delivery is not None or status.adopted):
        held = _held(status)
    # Within a container registry the device keeps its token, and the token its two slots.
    same_token = {ref.registry for ref in intent.candidates} == {here.ref.registry}
    record = _without_credential(record)
    return replace(
        record,
        status=replace(
            record.status,
            adopted=status.adopted and same_token and intent.adopt == here.names.token,
            retiring=(*status.retiring, replace(_retiring(here, at_once=False), held=held)),
        ),
    )


def _with_one_token(record: DeviceRecord) -> DeviceRecord:
    """The record whose grants retire at once, but for those with the token to be rotated."""
    status, present = record.status, before_change(record)
    kept = present.status.grant if present is not None else status.grant
    grant, retiring = status.grant, status.retiring
    if kept is not None and grant is not None and not grant.shares_token_with(kept):
        retiring = (*retiring, _retiring(grant, at_once=True))
        status = replace(status, grant=None)
    retiring = tuple(
        replace(g, at_once=g.at_once or kept is None or not g.shares_token_with(kept))
        for g in retiring
    )
    return replace(record, status=replace(status, retiring=retiring))


def _with_leaked_ending(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record whose retiring tokens end at once, where a rotation must end their passwords.

    As long as no intent was carried out, no pass maintains what the device has.
    """
    rotation, status = record.spec.rotation, record.status
    if rotation is None or not rotation.immediately or status.applied is not None:
        return record
    retiring = tuple(
        g if _keeps_token(g, intent) else replace(g, at_once=True, held=None)
        for g in status.retiring
    )
    return replace(record, status=replace(status, retiring=retiring))


def _keeps_token(grant: RetiringGrant, intent: Intent) -> bool:
    """Whether the device has the token of a retiring grant wherever the intent takes it."""
    is_adopted = grant.held is not None and grant.held.adopted
    is_own = not is_adopted or intent.adopt == grant.names.token
    return is_own and {ref.registry for ref in intent.candidates} == {grant.ref.registry}


def _is_wanted(grant: Grant, intent: Intent) -> bool:
    """Whether an intent is met by this grant's connected registry and place of delivery."""
    return grant.ref in intent.candidates and same_place(grant.delivery, intent.delivery)


def _stayed(record: DeviceRecord, found: RetiringGrant, held: Held, intent: Intent) -> DeviceRecord:
    """The record with the grant that the device still uses; a new one that it had retires."""
    status = record.status
    left = () if status.grant is None else (_retiring(status.grant, at_once=False),)
    others = (grant for grant in status.retiring if grant != found)
    found = replace(found, delivery=intent.delivery)
    return replace(
        record,
        status=replace(_using(status, found, held), retiring=(*others, *left), observed_at=None),
    )


def _with_other_kind(record: DeviceRecord, here: Grant, intent: Intent) -> DeviceRecord:
    """The record whose token stays where it is, and is delivered in another way.

    The delivery of now retires as after a move. Kinds that share a place, and a token that was
    adopted and never delivered, have nothing to move.
    """
    status, grant = record.status, replace(here, delivery=intent.delivery)
    has_nothing = status.delivery is None and record.held_grant is None
    if same_place(here.delivery, intent.delivery) or (status.adopted and has_nothing):
        return replace(record, status=replace(status, grant=grant, observed_at=None))
    held = _held(status) if record.held_grant is None and status.delivery is not None else None
    status = _without_credential(record).status
    left = replace(_retiring(here, at_once=False), held=held)
    others = (
        g
        for g in status.retiring
        if not (g.is_delivered_with(grant) and g.shares_token_with(grant))
    )
    return replace(
        record,
        status=replace(
            status, grant=grant, adopted=record.status.adopted, retiring=(*others, left)
        ),
    )


def _held(status: Status) -> Held:
    """What the device uses of its grant."""
    return Held(
        delivery=status.delivery, acknowledged_at=status.acknowledged_at, adopted=status.adopted
    )


def _using(status: Status, found: RetiringGrant, held: Held) -> Status:
    """The status with the grant that the device still uses as its own."""
    return replace(
        status,
        grant=Grant(ref=found.ref, names=found.names, delivery=found.delivery),
        delivery=held.delivery,
        acknowledged_at=held.acknowledged_at,
        adopted=held.adopted,
    )


def _without_credential(record: DeviceRecord) -> DeviceRecord:
    return replace(
        record,
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
    if record.delivery is not None:
        retained |= record.spec.intent.scope_actions
    return retained if len(retained) <= MOST_SCOPE_ACTIONS else frozenset()


def _retiring(grant: Grant, *, at_once: bool) -> RetiringGrant:
    return RetiringGrant(ref=grant.ref, names=grant.names, delivery=grant.delivery, at_once=at_once)


def _first_asked_at(intent: Intent) -> datetime | None:
    """The request's time; None with a token to adopt, whose device could already pull."""
    return intent.at if intent.adopt is None else None


def _recorded(intent: Intent) -> HistoryEntry:
    return entry(
        LogEvent.DEVICE_INTENT_RECORDED,
        at=intent.at,
        by=intent.requested_by,
        detail=intent.summary,
    )
