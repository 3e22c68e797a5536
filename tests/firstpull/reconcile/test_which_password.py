"""Which of two passwords the twin gets, and what becomes of one whose value was lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_record import Delivery, DeviceRecord, TokenSlot
from firstpull.model.password_slots import Credential
from firstpull.reconcile.actions import Deliver, GeneratePassword, KeepPasswords
from firstpull.reconcile.plan import Plan, make_plan
from firstpull.reconcile.status import after_pass
from tests.firstpull.builders import (
    MADE,
    NOW,
    READY,
    TOKEN_ID,
    credential,
    password,
    record,
    secret_version,
    token,
)
from tests.firstpull.harness import VALIDITY
from tests.firstpull.records import provision

HOUR = timedelta(hours=1)
LATER = NOW - HOUR
SECOND = password(Slot.TWO, made=LATER)
BOTH: dict[str, Any] = {
    "token": token(password(), SECOND),
    "secrets": (secret_version(), secret_version("v2", of=SECOND)),
}
NEWER = credential(Slot.TWO, version="v2", made=LATER)
LOST = frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.TWO)})


def delivered(plan: Plan) -> Credential | None:
    (action,) = (action for action in plan.actions if isinstance(action, Deliver))
    return action.credential


@pytest.mark.parametrize(
    ("synced", "expected"),
    [(LATER, credential()), (NOW, NEWER)],
    ids=["not synced", "synced"],
)
def test_an_entry_that_was_removed_gets_the_password_that_the_connected_registry_has(
    synced: datetime, expected: Credential
) -> None:
    observed = READY.observed(desired={}, last_sync_at=synced, **BOTH)
    assert delivered(make_plan(observed, now=NOW, validity=VALIDITY)) == expected


def test_an_entry_that_was_removed_gets_the_newest_password_where_the_delivered_one_is_gone() -> (
    None
):
    only = {"token": token(SECOND), "secrets": (secret_version("v2", of=SECOND),)}
    observed = READY.observed(desired={}, last_sync_at=LATER, **only)
    assert delivered(make_plan(observed, now=NOW, validity=VALIDITY)) == NEWER


def test_a_device_whose_password_has_expired_gets_the_newest_that_is_synced() -> None:
    """The second was stored and synced; the third, made since in the first one's slot, is not."""
    now = MADE + VALIDITY + HOUR
    third = password(Slot.ONE, made=now - HOUR / 2)
    observed = READY.observed(
        token=token(third, SECOND),
        secrets=(secret_version("v2", of=SECOND), secret_version("v3", of=third)),
        last_sync_at=now - HOUR,
    )
    assert delivered(make_plan(observed, now=now, validity=VALIDITY)) == NEWER


def test_a_lost_password_goes_when_the_device_has_logged_in_with_another() -> None:
    observed = READY.observed(record=record(slots_requested=LOST), token=token(password(), SECOND))
    (action,) = make_plan(observed, now=NOW, validity=VALIDITY).actions
    assert isinstance(action, KeepPasswords)
    assert action.slots == {Slot.ONE}


def test_a_lost_password_is_not_removed_before_its_slot_is_filled_again() -> None:
    now = MADE + VALIDITY * 0.61
    observed = READY.observed(record=record(slots_requested=LOST), token=token(password(), SECOND))
    assert [type(a) for a in make_plan(observed, now=now, validity=VALIDITY).actions] == [
        GeneratePassword
    ]


def after(known: DeviceRecord, **world: Any) -> DeviceRecord:  # noqa: ANN401 - fields of World
    observed = READY.observed(record=known, **world)
    plan = make_plan(observed, now=NOW, validity=VALIDITY)
    return after_pass(known, observed, plan, None, now=NOW)


def test_what_somebody_makes_in_the_other_slot_after_that_is_theirs() -> None:
    settled = after(record(slots_requested=LOST), token=token(password(), SECOND))
    assert settled.status.slots_requested == frozenset()
    observed = READY.observed(record=settled, token=token(password(), SECOND))
    assert make_plan(observed, now=NOW, validity=VALIDITY).actions == ()


def test_a_slot_stays_requested_until_the_device_has_logged_in() -> None:
    waiting = record(slots_requested=LOST, acknowledged_at=None)
    assert after(waiting, reported={}).status.slots_requested == LOST


def test_a_slot_stays_requested_while_its_password_is_not_delivered() -> None:
    assert after(record(slots_requested=LOST), last_sync_at=LATER, **BOTH).status.slots_requested


def test_the_slot_of_an_expired_delivery_is_filled_again_after_a_lost_password() -> None:
    """Otherwise the lost one would stay in its slot beside the next, until it expires."""
    now = MADE + VALIDITY + HOUR
    lost = password(Slot.ONE, made=now - HOUR / 2)
    requested = frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.ONE)})
    observed = READY.observed(record=record(slots_requested=requested), token=token(lost))
    plan = provision(make_plan(observed, now=now, validity=VALIDITY))
    assert plan.slots_to_fill == {Slot.ONE}


def test_the_slot_of_a_valid_delivery_is_never_filled() -> None:
    requested = frozenset({TokenSlot(token=TOKEN_ID, slot=slot) for slot in Slot})
    known = record(slots_requested=requested)
    observed = READY.observed(record=known, secrets=())
    plan = provision(make_plan(observed, now=NOW, validity=VALIDITY))
    assert plan.slots_to_fill == {Slot.TWO}


def test_a_slot_stays_requested_in_the_pass_that_delivers() -> None:
    """The device has answered the delivery before it, not this one."""
    known = record(slots_requested=LOST)
    observed = READY.observed(record=known, desired={}, token=token(password(), SECOND))
    plan = make_plan(observed, now=NOW, validity=VALIDITY)
    again = Delivery(
        id="again",
        slot=Slot.ONE,
        secret_version="v1",  # noqa: S106 - the name of a version
        address="plantone.site.example:8000",
        expires_at=MADE + VALIDITY,
        at=NOW,
    )
    assert after_pass(known, observed, plan, again, now=NOW).status.slots_requested == LOST
