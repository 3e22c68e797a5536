from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

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
from firstpull.model.twin_entry import Acknowledgement
from firstpull.reconcile.plan import BlockedPlan, Plan, ProvisionPlan, TeardownPlan, make_plan
from firstpull.reconcile.preconditions import Blocker
from firstpull.reconcile.status import after_failure, after_pass, changes, condition_after
from tests.firstpull.builders import GRANT, INTENT, MADE, NAMES, NOW, READY, World, record
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, VALIDITY, Harness
from tests.firstpull.records import changed
from tests.world.calls import Fault

MINUTE = timedelta(minutes=1)
CLAIMED = Claim(owner="me", until=NOW + MINUTE)
REVOKED = Revocation(requested_by="a test", at=NOW)
DENIED = Blocked(Reason.ACCESS_DENIED, "A role is missing.", remedy="Give it.")
DOWN = Transient(Reason.SERVICE_UNAVAILABLE, "Down.")
RETIRING = RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False)
SECRETS = frozenset({NAMES.secret})
TORN_DOWN = TeardownPlan(steps=(), gone=())


def provisioned(*, is_settled: bool = True, retire: TeardownPlan | None = None) -> ProvisionPlan:
    """The plan of a device that has logged in and needs nothing."""
    return ProvisionPlan(
        grant=GRANT,
        steps=(),
        retire=retire,
        answer=Acknowledgement(delivery_id="d", logged_in=True, reason=None),
        renew_at=None,
        has_newest=is_settled,
        is_rotated=True,
        waits_for=None,
    )


def after(
    world: World, stored: DeviceRecord | None = None, *, plan: Plan | None = None
) -> DeviceRecord:
    """The record after a pass over a world, where `stored` is what it has become meanwhile."""
    observed = world.observed()
    made = plan or make_plan(observed, now=NOW, validity=VALIDITY)
    return after_pass(stored or world.record, observed, made, None, now=NOW)


def with_record(**fields: Any) -> World:  # noqa: ANN401 - fields of a record
    return replace(READY, record=record(**fields))


def test_a_pass_over_a_settled_device_gives_the_claim_back_and_changes_no_condition() -> None:
    found = after(with_record(claim=CLAIMED, attempts=3))
    assert (found.claim, found.schedule.attempts, found.status.observed_at) == (None, 0, NOW)
    assert (found.status.condition.state, found.status.condition.since) == (State.READY, MADE)
    assert found.is_converged


def test_an_acknowledgement_is_noted_when_it_is_first_seen_and_kept() -> None:
    delivered = Condition(state=State.DELIVERED, reason=Reason.DELIVERED, message="", since=MADE)
    first = after(with_record(acknowledged_at=None, condition=delivered))
    assert first.status.acknowledged_at == NOW
    assert (first.status.condition.state, first.status.condition.since) == (State.READY, NOW)
    assert after(READY).status.acknowledged_at == MADE
    silent = after(replace(READY, reported={}))
    assert silent.status.acknowledged_at == MADE
    assert silent.status.condition.reason is Reason.DELIVERED


@pytest.mark.parametrize(
    ("error", "state", "seconds"),
    [
        (Conflict("Changed."), State.CONVERGING, 0.5),
        (DOWN, State.CONVERGING, 2),
        (Transient(Reason.THROTTLED, "Slow.", retry_after=40), State.CONVERGING, 40),
        (DENIED, State.BLOCKED, 60),
    ],
)
def test_a_pass_that_failed_says_why_and_is_tried_again(
    error: FirstpullError, state: State, seconds: float
) -> None:
    found = after_failure(record(claim=CLAIMED, generation=2), error, now=NOW)
    assert (found.status.condition.state, found.status.condition.reason) == (state, error.reason)
    assert (found.claim, found.schedule.attempts) == (None, 1)
    assert seconds <= (found.schedule.due_at - NOW).total_seconds() <= 1.5 * seconds
    assert found.status.delivery == record().status.delivery


def test_a_revoke_that_failed_is_still_a_revoke() -> None:
    revoked = with_revocation(record(), REVOKED)
    assert after_failure(revoked, DOWN, now=NOW).status.condition.state is State.REVOKING
    blocked = after_failure(revoked, DENIED, now=NOW)
    assert (blocked.status.condition.state, blocked.spec.revocation) == (State.BLOCKED, REVOKED)


def test_a_condition_began_when_its_state_and_reason_did() -> None:
    same = condition_after(record(), State.READY, Reason.ACKNOWLEDGED, "Other words.", now=NOW)
    other = condition_after(record(), State.READY, Reason.ADOPTED, "", now=NOW)
    anew = condition_after(record(), State.READY, Reason.ACKNOWLEDGED, "", now=NOW, anew=True)
    assert (same.since, other.since, anew.since) == (MADE, NOW, NOW)
    assert same.message == "Other words."


def test_a_pass_counts_for_nothing_if_the_device_was_revoked_or_moved_meanwhile() -> None:
    revoked = changed(with_revocation(record(), REVOKED), delivery=None, acknowledged_at=None)
    moved = with_intent(record(), replace(INTENT, candidates=(PLANT_TWO,), at=NOW))
    for stored in (revoked, moved):
        delivery = record().status.delivery
        found = after_pass(stored, READY.observed(), provisioned(), delivery, now=NOW)
        assert (found.status.delivery, found.status.acknowledged_at) == (None, None)
        assert found.schedule.due_at == NOW
        assert not found.is_converged
        assert found.spec == stored.spec
        assert (found.status.grant, found.status.retiring) == (
            stored.status.grant,
            stored.status.retiring,
        )


def test_a_pass_counts_if_other_repositories_were_asked_for_meanwhile() -> None:
    other = with_intent(record(), replace(INTENT, repositories=("plant/b",), at=NOW))
    found = after(READY, other, plan=provisioned())
    assert (found.spec.generation, found.status.observed_generation) == (2, 1)
    assert found.status.retained_actions == INTENT.scope_actions
    assert not found.is_converged


def test_retained_actions_go_with_the_acknowledgement_of_the_same_generation() -> None:
    retained = frozenset({"repositories/plant/old/content/read"})
    acknowledged = after(with_record(retained_actions=retained), plan=provisioned())
    assert acknowledged.status.retained_actions == frozenset()
    assert acknowledged.schedule.due_at == NOW
    waiting = with_record(retained_actions=retained, acknowledged_at=None)
    unanswered = after(replace(waiting, reported={}), plan=replace(provisioned(), answer=None))
    assert unanswered.status.retained_actions == retained


def test_a_rotation_ends_when_its_password_is_delivered_and_not_before() -> None:
    rotation = Rotation(replaces="v1", immediately=False, requested_by="a test", at=NOW)
    world = replace(READY, record=with_rotation(record(), rotation))
    waits = after(world, plan=provisioned(is_settled=False))
    assert waits.spec.rotation == replace(rotation, generation=2)
    assert waits.status.condition.reason is Reason.AWAITING_SYNC
    assert (waits.spec.generation, waits.status.observed_generation) == (2, 1)
    done = after(world, plan=provisioned())
    assert (done.spec.rotation, done.status.observed_generation) == (None, 2)
    during_another_pass = after(READY, world.record, plan=provisioned())
    assert during_another_pass.spec.rotation == replace(rotation, generation=2)


def test_a_tombstone_is_reconciled_once_more_and_then_never() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), retiring=(), chosen=None)
    first = after_pass(revoked, observed, TORN_DOWN, None, now=NOW)
    assert first.is_tombstone
    assert first.schedule.due_at == NOW + SECOND_LOOK
    assert (first.status.delivery, first.status.acknowledged_at) == (None, None)
    assert first.status.grant == GRANT
    later = NOW + SECOND_LOOK
    second = after_pass(first, replace(observed, record=first), TORN_DOWN, None, now=later)
    assert second.schedule.due_at == NEVER
    assert second.status.condition.since == NOW


def test_a_device_asked_for_again_during_a_revoke_begins_at_once() -> None:
    revoked = with_revocation(record(), REVOKED)
    observed = replace(READY.observed(record=revoked), retiring=(), chosen=None)
    asked = with_intent(revoked, replace(INTENT, at=NOW + MINUTE))
    found = after_pass(asked, observed, TORN_DOWN, None, now=NOW)
    assert (found.status.retiring, found.status.retired_secrets) == ((), SECRETS)
    assert (found.spec.revocation, found.schedule.due_at) == (None, NOW)


def test_a_grant_that_is_torn_down_is_named_no_longer_but_for_its_secret() -> None:
    gone = TeardownPlan(steps=(), gone=(RETIRING,))
    found = after(with_record(retiring=(RETIRING,)), plan=provisioned(retire=gone))
    assert (found.status.retiring, found.status.retired_secrets) == ((), SECRETS)


def test_the_history_has_each_change_once() -> None:
    def events(before: DeviceRecord, later: DeviceRecord) -> list[str]:
        return [event.value for event, _ in changes(before, later)]

    blocked = after_failure(record(), DENIED, now=NOW)
    warning = DeviceWarning(reason=Reason.PASSWORD_EXPIRES_SOON, message="Soon.", since=NOW)
    warned = record(warnings=(warning,))
    assert events(record(), record()) == []
    assert events(record(acknowledged_at=None), record()) == ["device.credential.acknowledged"]
    assert events(record(), blocked) == ["device.reconcile.blocked"]
    assert events(blocked, after_failure(blocked, DENIED, now=NOW)) == []
    assert events(record(), warned) == ["device.warning.raised"]
    assert events(warned, warned) == events(warned, record()) == []


async def test_an_error_that_comes_back_began_when_it_first_came() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    harness.cloud.registry().set_max_clients(PLANT_ONE.name, 0)
    harness.cloud.add_token("foreign")
    await harness.run_for(timedelta(hours=1))
    first = harness.cloud.record(device)
    assert first.status.condition.reason is Reason.REFUSED
    await harness.run_for(timedelta(hours=8))
    later = harness.cloud.record(device)
    assert later.status.condition.since == first.status.condition.since
    assert [e.event for e in later.history].count("device.reconcile.blocked") == 1


async def test_a_pass_without_a_claim_does_not_overwrite_a_newer_record() -> None:
    """It has made nothing, and whoever wrote the record has scheduled the next pass."""
    harness = Harness()
    device = await harness.make_ready()
    harness.make_due(device)

    def revoke() -> None:
        newer = with_revocation(harness.cloud.record(device), REVOKED)
        harness.cloud.records[device] = to_json(newer), harness.cloud.next_number()

    harness.cloud.act(revoke, at="hubs.twin")
    harness.cloud.inject(Fault.UNAVAILABLE, at="hubs.twin")
    await harness.processes[0].worker.reconcile(device)
    found = harness.cloud.record(device)
    assert found.status.condition.state is State.REVOKING
    assert (found.schedule.attempts, found.spec.revocation) == (0, REVOKED)


@pytest.mark.parametrize(
    ("left", "stays"),
    [(PLANT_TWO, False), (replace(PLANT_TWO, registry=RegistryId(f"{REGISTRY}two")), True)],
    ids=["its token came along", "its token is another registry's"],
)
def test_a_full_connected_registry_is_given_up_unless_the_device_has_a_token_there(
    left: ConnectedRegistryRef, *, stays: bool
) -> None:
    full = Blocker(
        state=State.BLOCKED, reason=Reason.CONNECTED_REGISTRY_FULL, message="Full.", remedy="Wait."
    )
    world = with_record(delivery=None, retiring=(replace(RETIRING, ref=left),))
    found = after(world, plan=BlockedPlan(blocker=full))
    assert found.status.grant == (GRANT if stays else None)
