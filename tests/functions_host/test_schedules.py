from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from local_azure.functions_host.timers import InvalidSchedule, Schedule

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "after"),
    [
        ("* * * * * *", timedelta(seconds=1)),
        ("*/20 * * * * *", timedelta(seconds=20)),
        ("30 */5 * * * *", timedelta(seconds=30)),
        ("0 */5 * * * *", timedelta(minutes=5)),
        ("*/5 * * * *", timedelta(minutes=5)),
        ("0 0 13 * * TUE", timedelta(days=1, hours=1)),
        ("0 0 12 1 * 1", datetime(2027, 2, 1, 12, tzinfo=UTC) - NOON),  # both days must fit
    ],
)
def test_the_next_occurrence_follows_ncrontab(expression: str, after: timedelta) -> None:
    assert Schedule(expression).next_after(NOON) == NOON + after


def test_an_occurrence_is_later_than_the_moment_asked_for_even_by_a_fraction() -> None:
    assert Schedule("* * * * * *").next_after(NOON - timedelta(milliseconds=1)) == NOON


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "61 * * * * *", "@daily", "0 0 0 L * *", "00:05:00"]
)
def test_what_is_no_ncrontab_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule):
        Schedule(expression)


def test_a_schedule_within_the_minute_is_frequent() -> None:
    assert Schedule("*/30 * * * * *").is_frequent(NOON)
    assert not Schedule("0 * * * * *").is_frequent(NOON)
