from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstpull.model.device_record import Condition, State
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.reasons import Reason
from firstpull.model.schedule import SETTLING, next_check, retry_at
from tests.firstpull.builders import DEVICE, NOW

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def condition(state: State, *, age: timedelta) -> Condition:
    return Condition(state=state, reason=Reason.ACCEPTED, message="", since=NOW - age)


@pytest.mark.parametrize(
    ("state", "age", "wait"),
    [
        (State.WAITING, timedelta(), 5 * SECOND),
        (State.WAITING, MINUTE, 30 * SECOND),
        (State.WAITING, DAY, 5 * MINUTE),
        (State.BLOCKED, timedelta(), MINUTE),
        (State.BLOCKED, 10 * MINUTE, 5 * MINUTE),
        (State.BLOCKED, DAY, HOUR),
        (State.DELIVERED, timedelta(), 2 * SECOND),
        (State.DELIVERED, DAY, HOUR),
        (State.READY, timedelta(), SETTLING),
        (State.READY, MINUTE, SETTLING - MINUTE),
    ],
)
def test_the_longer_a_condition_lasts_the_rarer_are_the_passes(
    state: State, age: timedelta, wait: timedelta
) -> None:
    assert next_check(condition(state, age=age), now=NOW, renew_at=None) == NOW + wait


@pytest.mark.parametrize(
    ("state", "age", "renewal", "wait"),
    [
        (State.READY, DAY, 40 * DAY, 40 * DAY),
        (State.READY, DAY, MINUTE, HOUR),
        (State.READY, DAY, -DAY, HOUR),
        (State.DELIVERED, DAY, 10 * MINUTE, 10 * MINUTE),
        (State.DELIVERED, DAY, -DAY, HOUR),
    ],
)
def test_a_device_is_reconciled_when_its_password_is_due_for_renewal(
    state: State, age: timedelta, renewal: timedelta, wait: timedelta
) -> None:
    renew_at = NOW + renewal
    assert next_check(condition(state, age=age), now=NOW, renew_at=renew_at) == NOW + wait


@pytest.mark.parametrize(
    ("error", "attempts", "least", "most"),
    [
        (Conflict("changed"), 0, 0.5, 0.75),
        (Conflict("changed"), 3, 0.5, 0.75),
        (Conflict("changed"), 9, 32, 48),
        (Transient(Reason.THROTTLED, "wait", retry_after=17), 3, 17, 25.5),
        (Transient(Reason.THROTTLED, "wait", retry_after=9000), 3, 300, 450),
        (Transient(Reason.THROTTLED, "wait", retry_after=0), 3, 0, 0),
        (Transient(Reason.TOKEN_NOT_ACTIVE, "wait", retry_after=1), 10, 32, 48),
        (Transient(Reason.SERVICE_UNAVAILABLE, "down"), 0, 2, 3),
        (Transient(Reason.SERVICE_UNAVAILABLE, "down"), 3, 16, 24),
        (Transient(Reason.SERVICE_UNAVAILABLE, "down"), 5000, 300, 450),
    ],
)
def test_a_retry_waits_as_the_service_asks_or_ever_longer(
    error: FirstpullError, attempts: int, least: float, most: float
) -> None:
    again = retry_at(error, attempts=attempts, device=DEVICE, now=NOW)
    assert least <= (again - NOW).total_seconds() <= most
    assert again == retry_at(error, attempts=attempts, device=DEVICE, now=NOW)


@given(
    st.sampled_from([State.WAITING, State.BLOCKED, State.DELIVERED, State.READY]),
    st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400)),
    st.none() | st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400)),
)
def test_the_next_pass_is_never_in_the_past(
    state: State, age: timedelta, renewal: timedelta | None
) -> None:
    renew_at = NOW + renewal if renewal is not None else None
    assert next_check(condition(state, age=age), now=NOW, renew_at=renew_at) >= NOW


@pytest.mark.parametrize(
    "reason", [Reason.REFUSED_BY_POLICY, Reason.RESOURCE_LOCKED, Reason.SUBSCRIPTION_DISABLED]
)
def test_what_somebody_forbids_is_not_fought_except_to_take_access_away(reason: Reason) -> None:
    forbidden = Blocked(reason, "forbidden", remedy="an exemption")
    rarely = retry_at(forbidden, attempts=5000, device=DEVICE, now=NOW)
    assert 12 * HOUR < rarely - NOW <= 24 * HOUR
    again = retry_at(forbidden, attempts=5000, device=DEVICE, now=NOW, takes_away=True)
    assert again == NOW + HOUR


@pytest.mark.parametrize(("attempts", "wait"), [(0, MINUTE), (3, 8 * MINUTE), (5000, HOUR)])
def test_a_blocked_device_is_retried_ever_more_rarely(attempts: int, wait: timedelta) -> None:
    blocked = Blocked(Reason.TWIN_FULL, "too large", remedy="smaller")
    assert retry_at(blocked, attempts=attempts, device=DEVICE, now=NOW) == NOW + wait
