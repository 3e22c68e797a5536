"""The record after a pass: a pure function of the record before, the observation and the time.

A request may change the record during the pass. The record after the pass then has what
belongs to the current grant; the next pass finds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from firstpull.model import transitions
from firstpull.model.azure_resources import HubIdentity
from firstpull.model.device_record import (
    Condition,
    Delivery,
    DeviceRecord,
    DeviceWarning,
    Revocation,
    State,
)
from firstpull.model.errors import Blocked, FirstpullError
from firstpull.model.hub_identity import is_by_etag, read_later_at
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.schedule import next_check, next_check_after_revoke, retry_at, share_of
from firstpull.model.twin_entry import Acknowledgement
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.observe import Observed
from firstpull.reconcile.plan import (
    BlockedPlan,
    GonePlan,
    Plan,
    ProvisionPlan,
    ResetPlan,
    TeardownPlan,
)
from firstpull.reconcile.warnings import awaiting_sync, new_warnings, warnings_for

_FULL = (Reason.CONNECTED_REGISTRY_FULL, Reason.SITE_FULL)
_UPKEEP = timedelta(minutes=1)
"""How soon a blocked device is looked at again after its present credential was changed."""
GONE = "device registered anew"
"""Who revokes a device whose id another device has."""


def after_pass(
    record: DeviceRecord,
    observed: Observed,
    plan: Plan,
    delivery: Delivery | None,
    *,
    now: datetime,
) -> DeviceRecord:
    """The record after a pass without an error."""
    record = transitions.unclaimed(record)
    match plan:
        case TeardownPlan():
            return _after_teardown(record, observed, plan, now=now)
        case ResetPlan():
            return transitions.reset_to_identity(record, identity=_identity(observed), now=now)
        case GonePlan(gone=gone):
            if record.spec != observed.record.spec:  # asked for during the pass
                return transitions.due_again(record, now)
            revocation = Revocation(requested_by=GONE, at=now, gone=gone)
            return transitions.with_revocation(record, revocation)
        case BlockedPlan():
            return _after_blocked(record, observed, plan, now=now)
        case ProvisionPlan():
            return _after_provision(record, observed, plan, delivery, now=now)
        case _:
            assert_never(plan)


def after_upkeep(
    record: DeviceRecord,
    observed: Observed,
    plan: Plan,
    delivery: Delivery | None,
    *,
    then: Callable[[DeviceRecord], DeviceRecord] | None,
    now: datetime,
) -> DeviceRecord:
    """The record after a pass over what the device has, and `then` over the blocked change.

    Without `then` the pass only ended the passwords that must end at once: the change is due now.
    """
    record = transitions.unclaimed(record)
    before = transitions.before_change(record)
    if before is None or before.status.grant != observed.record.status.grant:
        return transitions.due_again(record, now)  # another request came meanwhile
    after = after_pass(before, observed, plan, delivery, now=now)
    record = transitions.maintained(record, after)
    if then is None:
        return transitions.due_again(record, now)
    record = then(record)
    soon = min(record.schedule.due_at, now + _UPKEEP)
    return transitions.woken(record, soon) if plan.actions else record


def after_failure(record: DeviceRecord, error: FirstpullError, *, now: datetime) -> DeviceRecord:
    """The record after a pass that an error ended.

    A look that failed, such as one that was throttled, says nothing of a converged device.
    """
    if is_unchanged_by(record, error):
        condition = record.status.condition
    elif isinstance(error, Blocked):
        condition = condition_after(
            record, State.BLOCKED, error.reason, error.message, remedy=error.remedy, now=now
        )
    else:
        state = State.REVOKING if record.spec.revocation is not None else State.CONVERGING
        condition = condition_after(record, state, error.reason, error.message, now=now)
    attempts = record.schedule.attempts
    due_at = retry_at(
        error,
        attempts=attempts,
        device=record.device,
        now=now,
        takes_away=record.needs_teardown,
    )
    return transitions.failed(record, condition, due_at=due_at)


def is_unchanged_by(record: DeviceRecord, error: FirstpullError) -> bool:
    """Whether a failed pass leaves the condition: the device is converged, and the error passes.

    A worker that writes to a device has made it `Converging` before.
    """
    passes = not isinstance(error, Blocked) and error.reason is not Reason.INTERNAL_ERROR
    return passes and record.is_converged


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
    """A condition. It keeps its time while state and reason stay the same, unless `anew`."""
    before = record.status.condition
    same = not anew and (before.state, before.reason) == (state, reason)
    return Condition(
        state=state,
        reason=reason,
        message=message,
        remedy=remedy,
        since=before.since if same else now,
    )


def changes(before: DeviceRecord, after: DeviceRecord) -> Iterator[tuple[LogEvent, str]]:
    """The events of a pass that no action logs, each with its detail."""
    if after.status.acknowledged_at is not None and before.status.acknowledged_at is None:
        yield LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED, ""
    was, is_ = before.status.condition, after.status.condition
    if is_.state is State.BLOCKED and (was.state, was.reason) != (is_.state, is_.reason):
        yield LogEvent.DEVICE_RECONCILE_BLOCKED, f"{is_.reason.value}: {is_.message}"
    if is_.state is State.REVOKED and was.state is not State.REVOKED:
        yield LogEvent.DEVICE_ACCESS_REVOKED, ""
    for warning in new_warnings(before, after):
        yield LogEvent.DEVICE_WARNING_RAISED, f"{warning.reason.value}: {warning.message}"


def _after_teardown(
    record: DeviceRecord, observed: Observed, plan: TeardownPlan, *, now: datetime
) -> DeviceRecord:
    revocation = observed.record.spec.revocation
    if revocation is None:
        return transitions.due_again(transitions.torn_down(record, plan.gone), now)
    if record.spec.revocation is None:  # onboarded again during the pass
        return transitions.due_again(transitions.torn_down(record, observed.record.grants), now)
    if record.spec.revocation != revocation:  # revoked again during the pass
        return transitions.due_again(record, now)
    condition = condition_after(
        record,
        State.REVOKED,
        Reason.REVOKED,
        " ".join((MEANING[Reason.REVOKED], *_left_alone(observed))),
        now=now,
    )
    warnings = _unsynced_revokes(record, observed, since=condition.since, now=now)
    identity = _identity(observed)
    if revocation.gone is not None:
        identity = HubIdentity(generation_id=revocation.gone, etag=record.status.hub_device_etag)
    elif identity.etag is None or observed.record.is_tombstone:
        identity = replace(identity, etag=record.status.hub_device_etag)
    return transitions.revoked(
        record,
        generation=observed.record.spec.generation,
        condition=condition,
        identity=identity,
        warnings=warnings,
        due_at=next_check_after_revoke(condition.since, now=now, is_settled=not warnings),
        now=now,
    )


def _left_alone(observed: Observed) -> Iterator[str]:
    """What the revoke did not end."""
    for token_id in observed.found.unproven:
        yield (
            f"But a token {token_id.name} exists in {token_id.registry.name}, and nothing shows "
            "that firstpull made it: delete it if nothing else uses it."
        )
    for view in observed.retiring:
        if view.is_anothers:
            yield f"The token {view.token_id.name} stays: another device has it."


def _unsynced_revokes(
    record: DeviceRecord, observed: Observed, *, since: datetime, now: datetime
) -> tuple[DeviceWarning, ...]:
    """A warning for each connected registry that may still accept the device."""
    known = {warning.reason: warning.since for warning in record.status.warnings}
    warnings: dict[str, DeviceWarning] = {}
    for view in observed.retiring:
        for warning in awaiting_sync(view.grant.ref, view.connected_registry, since=since, now=now):
            warnings[warning.message] = replace(warning, since=known.get(warning.reason, now))
    return tuple(warnings.values())


def _identity(observed: Observed) -> HubIdentity:
    return HubIdentity(
        generation_id=observed.hub_generation_id,
        etag=observed.twin.device_etag if observed.twin else None,
    )


def _after_blocked(
    record: DeviceRecord, observed: Observed, plan: BlockedPlan, *, now: datetime
) -> DeviceRecord:
    blocker = plan.blocker
    condition = condition_after(
        record, blocker.state, blocker.reason, blocker.message, remedy=blocker.remedy, now=now
    )
    if blocker.reason in _FULL and _has_nothing_yet(record, observed):
        record = transitions.without_grant(record)
    lost_its_grant = record.status.grant is None and observed.record.status.grant is not None
    due_at = now if lost_its_grant else next_check(condition, now=now, renew_at=None)
    warnings = record.status.warnings
    if transitions.before_change(record) is None:  # else a pass over that has its warnings
        warnings = _warnings(record, observed, now=now) if record.status.grant else ()
    return transitions.blocked(record, condition, warnings=warnings, due_at=due_at)


def _has_nothing_yet(record: DeviceRecord, observed: Observed) -> bool:
    """Whether firstpull has made nothing for the recorded grant: no token and no delivery."""
    token = observed.credential.token if observed.credential is not None else None
    grant = record.status.grant
    if grant is None or record.status.delivery is not None:
        return False
    brought = {record.spec.intent.adopt, *record.retiring_tokens_in(grant.ref.registry)}
    return token is None or token.name in brought


def _after_provision(
    record: DeviceRecord,
    observed: Observed,
    plan: ProvisionPlan,
    delivery: Delivery | None,
    *,
    now: datetime,
) -> DeviceRecord:
    if plan.retire is not None:
        record = transitions.torn_down(record, plan.retire.gone)
    grant = record.status.grant
    is_of_grant = grant is not None and grant.is_delivered_with(plan.grant)
    if not is_of_grant or record.spec.revocation != observed.record.spec.revocation:
        return transitions.due_again(record, now)
    is_acknowledged = plan.answer is not None and plan.answer.logged_in
    if delivery is not None:
        record = transitions.delivered(record, delivery)
    elif is_acknowledged or record.status.acknowledged_at is not None:
        record = transitions.acknowledged(record, now)
    has_switched = delivery is None and is_acknowledged and plan.has_newest
    frees = observed.record.delivery_kind.frees_old_slot(record.spec.intent.delivery_options)
    if has_switched and frees and not plan.slots_to_fill:
        record = transitions.without_lost_passwords(record)
    condition = _condition(record, plan, delivery, now=now)
    same = record.spec.generation == observed.record.spec.generation
    narrows = (
        bool(record.status.retained_actions)
        and record.status.acknowledged_at is not None
        and same
        and plan.has_newest
    )
    if plan.has_newest:
        record = transitions.carried_out(record, observed.record.spec)
    warnings = _warnings(record, observed, now=now)
    was_planned = record.spec.rotation == observed.record.spec.rotation
    if plan.has_newest and plan.is_rotated and was_planned:
        record = transitions.rotated(record)
    if narrows:
        record = transitions.narrowed(record)
    due_at = next_check(condition, now=now, renew_at=plan.renew_at)
    if is_by_etag(observed.hub_generation_id):
        due_at = min(due_at, read_later_at(now, share=share_of(record.device)))
    return transitions.reconciled(
        record,
        condition=condition,
        due_at=now if narrows else due_at,
        identity=_identity(observed),
        warnings=warnings,
        vault_seen_at=_vault_seen_at(observed),
        now=now,
    )


def _vault_seen_at(observed: Observed) -> datetime | None:
    versions = observed.credential.secrets if observed.credential is not None else ()
    disabled = (v.updated_at for v in versions if not v.enabled)
    return max((at for at in disabled if at is not None), default=None)


def _condition(
    record: DeviceRecord, plan: ProvisionPlan, delivery: Delivery | None, *, now: datetime
) -> Condition:
    answer, status = plan.answer, record.status
    if status.adopted and status.delivery is None and not status.retiring:
        return condition_after(
            record,
            State.READY,
            Reason.ADOPTED,
            MEANING[Reason.ADOPTED],
            now=now,
        )
    if delivery is None and (waits_for := plan.waits_for) is not None:
        return condition_after(
            record,
            waits_for.state,
            waits_for.reason,
            waits_for.message,
            remedy=waits_for.remedy,
            now=now,
        )
    if delivery is not None or answer is None:
        return condition_after(
            record,
            State.DELIVERED,
            Reason.DELIVERED,
            MEANING[Reason.DELIVERED],
            now=now,
            anew=delivery is not None,
        )
    is_settled = plan.has_newest and plan.is_rotated
    if answer.logged_in and not is_settled and record.pending:
        return condition_after(
            record,
            State.WAITING,
            Reason.AWAITING_SYNC,
            "The new password is stored; firstpull delivers it after the connected registry syncs.",
            now=now,
        )
    if answer.logged_in:
        return condition_after(
            record, State.READY, Reason.ACKNOWLEDGED, "The device has logged in.", now=now
        )
    return _unaccepted(record, answer, now=now)


def _unaccepted(record: DeviceRecord, answer: Acknowledgement, *, now: datetime) -> Condition:
    """The condition of a device that has answered, and not logged in."""
    if answer.awaits_sync:
        return condition_after(
            record,
            State.DELIVERED,
            Reason.AWAITING_SYNC,
            "The consumer has taken the credentials; they count when the connected registry has "
            "synced once more.",
            now=now,
        )
    return condition_after(
        record,
        State.DELIVERED,
        Reason.DEVICE_REPORTS_FAILURE,
        f"The device could not log in yet: {answer.reason or 'no reason given'}.",
        now=now,
    )


def _warnings(
    record: DeviceRecord, observed: Observed, *, now: datetime
) -> tuple[DeviceWarning, ...]:
    view, credential = observed.chosen, observed.credential
    return warnings_for(
        record,
        connected_registry=view.connected_registry if view else None,
        synced_actions=credential.synced_actions if credential else None,
        token=credential.token if credential else None,
        twin=observed.twin,
        now=now,
    )
