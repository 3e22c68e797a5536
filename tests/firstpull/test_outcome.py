from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.device_record import (
    Claim,
    Condition,
    DeviceRecord,
    DeviceWarning,
    RetiringGrant,
    Revocation,
    Rotation,
    State,
)
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import to_json
from firstpull.model.schedule import NEVER, SECOND_LOOK
from firstpull.model.transitions import with_intent, with_revocation, with_rotation
from firstpull.reconcile.plan import Answer, Plan, make_plan
from firstpull.reconcile.preconditions import Blocker
from firstpull.reconcile.status import after_failure, after_pass, condition_after, transitions
from tests.firstpull.builders import (
    INTENT,
    MADE,
    NAMES,
    NEW,
    NOW,
    READY,
    World,
    record,
)
from tests.firstpull.fakes import FakeToken, Fault, FaultKind
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, VALIDITY, Harness
from tests.firstpull.records import changed, grant_of

MINUTE = timedelta(minutes=1)
CLAIMED = Claim(owner="me", until=NOW + MINUTE)
REVOKED = Revocation(requested_by="a test", at=NOW)
LOGGED_IN = Answer(logged_in=True, reason=None)
DENIED = Blocked(Reason.ACCESS_DENIED, "A role is missing.", remedy="Give it.")


def looked(
    world: World, stored: DeviceRecord | None = None, plan: Plan | None = None
) -> DeviceRecord:
    """The record after a pass over a world, where `stored` is what it has become meanwhile."""
    observed = world.observed()
    made = plan or make_plan(observed, now=NOW, validity=VALIDITY)
    return after_pass(stored or world.record, observed, made, None, now=NOW)


def test_a_pass_that_found_all_in_order_notes_when_and_gives_the_claim_back() -> None:
    after = looked(replace(READY, record=record(claim=CLAIMED, attempts=3)))
    assert (after.claim, after.schedule.attempts, after.status.observed_at) == (None, 0, NOW)
    assert (after.status.condition.state, after.status.condition.since) == (State.READY, MADE)
    assert after.is_converged


def test_an_acknowledgement_is_noted_when_it_is_first_seen() -> None:
    waits = record(
        acknowledged_at=None,
        condition=Condition(state=State.DELIVERED, reason=Reason.DELIVERED, message="", since=MADE),
    )
    after = looked(replace(READY, record=waits))
    assert after.status.acknowledged_at == NOW
    assert (after.status.condition.state, after.status.condition.since) == (State.READY, NOW)
    assert looked(replace(READY, record=record())).status.acknowledged_at == MADE


def test_an_answer_is_needed_only_once_though_it_goes_from_the_twin() -> None:
    after = looked(replace(READY, reported={}))
    assert after.status.acknowledged_at == MADE
    assert after.status.condition.reason is Reason.DELIVERED


@pytest.mark.parametrize(
    ("error", "state", "seconds"),
    [
        (Conflict("Changed."), State.CONVERGING, 0.5),
        (Transient(Reason.SERVICE_UNAVAILABLE, "Down."), State.CONVERGING, 2),
        (Transient(Reason.THROTTLED, "Slow.", retry_after=40), State.CONVERGING, 40),
        (DENIED, State.BLOCKED, 60),
    ],
)
def test_a_pass_that_failed_says_why_and_is_tried_again(
    error: FirstpullError, state: State, seconds: float
) -> None:
    after = after_failure(record(claim=CLAIMED), error, now=NOW)
    assert after.status.condition.state is state
    assert after.status.condition.reason is error.reason
    assert (after.claim, after.schedule.attempts) == (None, 1)
    assert seconds <= (after.schedule.due_at - NOW).total_seconds() <= 1.5 * seconds
    assert after.status.delivery == record().status.delivery


def test_a_revoke_that_failed_is_still_a_revoke() -> None:
    revoked = with_revocation(record(), REVOKED)
    error = Transient(Reason.SERVICE_UNAVAILABLE, "Down.")
    assert after_failure(revoked, error, now=NOW).status.condition.state is State.REVOKING
    assert after_failure(revoked, DENIED, now=NOW).status.condition.state is State.BLOCKED
    assert after_failure(revoked, DENIED, now=NOW).spec.revocation == REVOKED


def test_a_condition_began_when_it_became_what_it_is() -> None:
    ready = record()
    same = condition_after(ready, State.READY, Reason.ACKNOWLEDGED, "Other words.", now=NOW)
    other = condition_after(ready, State.READY, Reason.ADOPTED, "It has.", now=NOW)
    anew = condition_after(ready, State.READY, Reason.ACKNOWLEDGED, "It has.", now=NOW, anew=True)
    assert (same.since, other.since, anew.since) == (MADE, NOW, NOW)
    assert same.message == "Other words."


def test_what_a_pass_made_counts_for_nothing_where_the_device_was_revoked_meanwhile() -> None:
    observed = NEW.observed(record=record(observed_generation=0))
    revoked = with_revocation(observed.record, REVOKED)
    delivered = replace(revoked, delivery=None, acknowledged_at=None)
    after = after_pass(
        delivered, observed, Plan(answer=LOGGED_IN), record().status.delivery, now=NOW
    )
    assert (after.status.delivery, after.spec.revocation, after.schedule.due_at) == (
        None,
        REVOKED,
        NOW,
    )
    assert not after.is_converged


def test_what_a_pass_made_at_the_connected_registry_of_before_counts_for_nothing_after_a_move() -> (
    None
):
    moved = with_intent(record(), replace(INTENT, candidates=(PLANT_TWO,), at=NOW))
    after = looked(READY, moved, Plan(answer=LOGGED_IN))
    assert (grant_of(after).ref, after.status.delivery, after.status.acknowledged_at) == (
        None,
        None,
        None,
    )
    assert after.schedule.due_at == NOW
    assert after.status.retiring == moved.retiring


def test_what_a_pass_made_is_noted_where_others_were_asked_for_at_the_same_connected_registry() -> (
    None
):
    other = with_intent(record(), replace(INTENT, repositories=("plant/b",), at=NOW))
    after = looked(READY, other, Plan(answer=LOGGED_IN))
    assert (after.spec.generation, after.status.observed_generation) == (2, 1)
    assert after.status.retained_actions == INTENT.scope_actions
    assert not after.is_converged


def test_what_is_kept_goes_with_the_acknowledgement_of_the_same_generation() -> None:
    kept = record(retained_actions=frozenset({"repositories/plant/old/content/read"}))
    acknowledged = looked(replace(READY, record=kept), plan=Plan(answer=LOGGED_IN))
    assert acknowledged.status.retained_actions == frozenset()
    assert acknowledged.schedule.due_at == NOW
    unknown = changed(kept, acknowledged_at=None)
    waiting = looked(replace(READY, record=unknown, reported={}), plan=Plan())
    assert waiting.status.retained_actions == kept.status.retained_actions


def test_a_rotation_is_over_when_it_is_delivered_and_not_before() -> None:
    rotation = Rotation(replaces="v1", immediately=False, requested_by="a test", at=NOW)
    asked = with_rotation(record(), rotation)
    world = replace(READY, record=asked)
    waits = looked(world, plan=Plan(answer=LOGGED_IN, is_settled=False))
    assert (waits.spec.rotation, waits.status.condition.reason) == (rotation, Reason.AWAITING_SYNC)
    assert (waits.spec.generation, waits.status.observed_generation) == (2, 1)
    done = looked(world, plan=Plan(answer=LOGGED_IN, is_settled=True))
    assert (done.spec.rotation, done.status.observed_generation) == (None, 2)


def test_a_rotation_that_was_asked_for_meanwhile_is_not_over_with_the_one_before() -> None:
    rotation = Rotation(replaces="v1", immediately=True, requested_by="a test", at=NOW)
    after = looked(READY, with_rotation(record(), rotation), Plan(answer=LOGGED_IN))
    assert after.spec.rotation == rotation


def test_a_tombstone_is_reconciled_once_more_and_then_never() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), retiring=(), chosen=None)
    first = after_pass(revoked, observed, Plan(is_teardown=True), None, now=NOW)
    assert first.is_tombstone
    assert first.schedule.due_at == NOW + SECOND_LOOK
    assert (first.status.delivery, first.status.acknowledged_at, first.status.retained_actions) == (
        None,
        None,
        frozenset(),
    )
    assert (grant_of(first).ref, grant_of(first).names) == (PLANT_ONE, NAMES)
    later = NOW + SECOND_LOOK
    second = after_pass(first, replace(observed, record=first), Plan(), None, now=later)
    assert second.schedule.due_at == NEVER
    assert second.status.condition.since == NOW


def test_asked_for_again_during_a_revoke_the_device_begins_at_once() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), retiring=(), chosen=None)
    asked = with_intent(revoked, replace(INTENT, at=NOW + MINUTE))
    after = after_pass(asked, observed, Plan(is_teardown=True), None, now=NOW)
    assert after.status.retiring == ()
    assert after.status.retired_secrets == {NAMES.secret}
    assert (after.spec.revocation, after.schedule.due_at) == (None, NOW)


def test_what_has_gone_is_no_longer_named_but_for_its_secret() -> None:
    retiring = RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False)
    world = replace(READY, record=record(retiring=(retiring,)))
    after = looked(world, plan=Plan(answer=LOGGED_IN, is_teardown=True, gone=(retiring,)))
    assert after.status.retiring == ()
    assert after.status.retired_secrets == {NAMES.secret}


def told(before: DeviceRecord, after: DeviceRecord) -> list[tuple[str, str]]:
    return [(entry.event, entry.detail) for entry in transitions(before, after, at=NOW)]


def test_what_a_pass_has_found_out_is_told_once() -> None:
    assert told(record(), record()) == []
    waits = record(acknowledged_at=None)
    assert told(waits, record()) == [("device.credential.acknowledged", "")]
    blocked = after_failure(record(), DENIED, now=NOW)
    assert told(record(), blocked) == [
        ("device.convergence.blocked", "AccessDenied: A role is missing.")
    ]
    assert told(blocked, after_failure(blocked, DENIED, now=NOW)) == []
    warning = DeviceWarning(reason=Reason.PASSWORD_EXPIRES_SOON, message="Soon.", since=NOW)
    with_warning = record(warnings=(warning,))
    assert told(record(), with_warning) == [("device.warning.raised", "PasswordExpiresSoon: Soon.")]
    assert told(with_warning, with_warning) == told(with_warning, record()) == []


async def test_an_error_that_comes_back_began_when_it_first_came() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.connected[PLANT_ONE].limit = 0
    harness.cloud.tokens["foreign"] = FakeToken(ScopeMapId("someone's"))
    await harness.run_for(timedelta(hours=1))
    first = harness.cloud.record(device)
    assert first.status.condition.reason is Reason.REFUSED
    await harness.run_for(timedelta(days=3))
    later = harness.cloud.record(device)
    assert later.status.condition.since == first.status.condition.since
    blocked = [e for e in later.history if e.event == "device.convergence.blocked"]
    assert len(blocked) == 1


async def test_a_pass_that_saw_an_old_record_writes_nothing_over_a_newer_one() -> None:
    """It claims nothing, so it made nothing; whoever wrote has seen to the next look."""
    harness = Harness()
    device = await harness.make_ready()
    harness.make_due(device)
    worker = harness.processes[0].worker

    def ask_again(number: int, operation: str) -> None:
        if operation == "hubs.twin":
            harness.cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=False)
            newer = with_revocation(harness.cloud.record(device), REVOKED)
            harness.cloud.records[device] = to_json(newer), harness.cloud.next_number()

    harness.cloud.before_call = ask_again
    await worker.reconcile(device)
    found = harness.cloud.record(device)
    assert found.status.condition.state is State.REVOKING
    assert (found.schedule.attempts, found.spec.revocation) == (0, REVOKED)


@pytest.mark.parametrize(
    ("left", "stays"),
    [(PLANT_TWO, False), (replace(PLANT_TWO, registry=RegistryId(f"{REGISTRY}two")), True)],
    ids=["its own, from this registry", "another one, of the same name elsewhere"],
)
def test_a_full_connected_registry_is_given_up_only_where_its_token_came_along(
    left: ConnectedRegistryRef, *, stays: bool
) -> None:
    retiring = (RetiringGrant(ref=left, names=NAMES, at_once=False),)
    full = Blocker(
        state=State.BLOCKED, reason=Reason.CONNECTED_REGISTRY_FULL, message="Full.", remedy="Wait."
    )
    world = replace(READY, record=record(delivery=None, retiring=retiring))
    after = looked(world, plan=Plan(blocker=full))
    assert (grant_of(after).ref, grant_of(after).names) == (
        (PLANT_ONE, NAMES) if stays else (None, None)
    )
