from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.cloud import Place, RegistryId
from firstpull.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.gate import Finding
from firstpull.outcome import after_failure, after_look, condition_after, transitions
from firstpull.plan import Answer, Plan, make_plan
from firstpull.reasons import Reason
from firstpull.records import (
    Claim,
    Condition,
    DeviceRecord,
    Leaving,
    Revocation,
    Rotation,
    State,
    Warned,
    to_json,
    with_intent,
    with_revocation,
    with_rotation,
)
from firstpull.schedule import NEVER, SECOND_LOOK
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
    return after_look(stored or world.record, observed, made, None, now=NOW)


def test_a_pass_that_found_all_in_order_notes_when_and_gives_the_claim_back() -> None:
    after = looked(replace(READY, record=record(claim=CLAIMED, attempts=3)))
    assert (after.claim, after.attempts, after.observed_at) == (None, 0, NOW)
    assert (after.condition.state, after.condition.since) == (State.READY, MADE)
    assert after.is_converged


def test_an_acknowledgement_is_noted_when_it_is_first_seen() -> None:
    waits = record(
        acknowledged_at=None,
        condition=Condition(state=State.DELIVERED, reason=Reason.DELIVERED, message="", since=MADE),
    )
    after = looked(replace(READY, record=waits))
    assert after.acknowledged_at == NOW
    assert (after.condition.state, after.condition.since) == (State.READY, NOW)
    assert looked(replace(READY, record=record())).acknowledged_at == MADE


def test_an_answer_is_needed_only_once_though_it_goes_from_the_twin() -> None:
    after = looked(replace(READY, reported={}))
    assert after.acknowledged_at == MADE
    assert after.condition.reason is Reason.DELIVERED


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
    assert after.condition.state is state
    assert after.condition.reason is error.reason
    assert (after.claim, after.attempts) == (None, 1)
    assert seconds <= (after.due_at - NOW).total_seconds() <= 1.5 * seconds
    assert after.delivery == record().delivery


def test_a_revoke_that_failed_is_still_a_revoke() -> None:
    revoked = with_revocation(record(), REVOKED)
    error = Transient(Reason.SERVICE_UNAVAILABLE, "Down.")
    assert after_failure(revoked, error, now=NOW).condition.state is State.REVOKING
    assert after_failure(revoked, DENIED, now=NOW).condition.state is State.BLOCKED
    assert after_failure(revoked, DENIED, now=NOW).revocation == REVOKED


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
    after = after_look(delivered, observed, Plan(answer=LOGGED_IN), record().delivery, now=NOW)
    assert (after.delivery, after.revocation, after.due_at) == (None, REVOKED, NOW)
    assert not after.is_converged


def test_what_a_pass_made_at_the_place_of_before_counts_for_nothing_after_a_move() -> None:
    moved = with_intent(record(), replace(INTENT, candidates=(PLANT_TWO,), at=NOW))
    after = looked(READY, moved, Plan(answer=LOGGED_IN))
    assert (after.place, after.delivery, after.acknowledged_at) == (None, None, None)
    assert after.due_at == NOW
    assert after.leaving == moved.leaving


def test_what_a_pass_made_is_noted_where_others_were_asked_for_at_the_same_place() -> None:
    other = with_intent(record(), replace(INTENT, repositories=("plant/b",), at=NOW))
    after = looked(READY, other, Plan(answer=LOGGED_IN))
    assert (after.generation, after.observed_generation) == (2, 1)
    assert after.keeps == INTENT.scope_actions
    assert not after.is_converged


def test_what_is_kept_goes_with_the_acknowledgement_of_the_same_generation() -> None:
    kept = record(keeps=frozenset({"repositories/plant/old/content/read"}))
    acknowledged = looked(replace(READY, record=kept), plan=Plan(answer=LOGGED_IN))
    assert acknowledged.keeps == frozenset()
    assert acknowledged.due_at == NOW
    unknown = replace(kept, acknowledged_at=None)
    waiting = looked(replace(READY, record=unknown, reported={}), plan=Plan())
    assert waiting.keeps == kept.keeps


def test_a_rotation_is_over_when_it_is_delivered_and_not_before() -> None:
    rotation = Rotation(replaces="v1", immediately=False, requested_by="a test", at=NOW)
    asked = with_rotation(record(), rotation)
    world = replace(READY, record=asked)
    waits = looked(world, plan=Plan(answer=LOGGED_IN, is_settled=False))
    assert (waits.rotation, waits.condition.reason) == (rotation, Reason.AWAITING_SYNC)
    assert (waits.generation, waits.observed_generation) == (2, 1)
    done = looked(world, plan=Plan(answer=LOGGED_IN, is_settled=True))
    assert (done.rotation, done.observed_generation) == (None, 2)


def test_a_rotation_that_was_asked_for_meanwhile_is_not_over_with_the_one_before() -> None:
    rotation = Rotation(replaces="v1", immediately=True, requested_by="a test", at=NOW)
    after = looked(READY, with_rotation(record(), rotation), Plan(answer=LOGGED_IN))
    assert after.rotation == rotation


def test_a_tombstone_is_looked_at_once_more_and_then_never() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), leaving=(), chosen=None)
    first = after_look(revoked, observed, Plan(takes_away=True), None, now=NOW)
    assert first.is_tombstone
    assert first.due_at == NOW + SECOND_LOOK
    assert (first.delivery, first.acknowledged_at, first.keeps) == (None, None, frozenset())
    assert (first.place, first.names) == (PLANT_ONE, NAMES)
    later = NOW + SECOND_LOOK
    second = after_look(first, replace(observed, record=first), Plan(), None, now=later)
    assert second.due_at == NEVER
    assert second.condition.since == NOW


def test_asked_for_again_during_a_revoke_the_device_begins_at_once() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), leaving=(), chosen=None)
    asked = with_intent(revoked, replace(INTENT, at=NOW + MINUTE))
    after = after_look(asked, observed, Plan(takes_away=True), None, now=NOW)
    assert after.leaving == ()
    assert after.spent_secrets == {NAMES.secret}
    assert (after.revocation, after.due_at) == (None, NOW)


def test_what_has_gone_is_no_longer_named_but_for_its_secret() -> None:
    leaving = Leaving(place=PLANT_TWO, names=NAMES, at_once=False)
    world = replace(READY, record=record(leaving=(leaving,)))
    after = looked(world, plan=Plan(answer=LOGGED_IN, takes_away=True, gone=(leaving,)))
    assert after.leaving == ()
    assert after.spent_secrets == {NAMES.secret}


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
    warned = Warned(reason=Reason.PASSWORD_EXPIRES_SOON, message="Soon.", since=NOW)
    with_warning = record(warnings=(warned,))
    assert told(record(), with_warning) == [("device.warning.raised", "PasswordExpiresSoon: Soon.")]
    assert told(with_warning, with_warning) == told(with_warning, record()) == []


async def test_an_error_that_comes_back_began_when_it_first_came() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.connected[PLANT_ONE].limit = 0
    harness.cloud.tokens["foreign"] = FakeToken("someone's")
    await harness.run_for(timedelta(hours=1))
    first = harness.cloud.record(device)
    assert first.condition.reason is Reason.REFUSED
    await harness.run_for(timedelta(days=3))
    later = harness.cloud.record(device)
    assert later.condition.since == first.condition.since
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
    await worker.look_at(device)
    found = harness.cloud.record(device)
    assert found.condition.state is State.REVOKING
    assert (found.attempts, found.revocation) == (0, REVOKED)


@pytest.mark.parametrize(
    ("left", "stays"),
    [(PLANT_TWO, False), (replace(PLANT_TWO, registry=RegistryId(f"{REGISTRY}two")), True)],
    ids=["its own, from this registry", "another one, of the same name elsewhere"],
)
def test_a_full_place_is_given_up_only_where_its_token_came_along(
    left: Place, *, stays: bool
) -> None:
    leaving = (Leaving(place=left, names=NAMES, at_once=False),)
    full = Finding(
        state=State.BLOCKED, reason=Reason.CONNECTED_REGISTRY_FULL, message="Full.", remedy="Wait."
    )
    world = replace(READY, record=record(delivery=None, leaving=leaving))
    after = looked(world, plan=Plan(finding=full))
    assert (after.place, after.names) == ((PLANT_ONE, NAMES) if stays else (None, None))
