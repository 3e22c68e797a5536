"""The counts that sweeps keep are bounded, whatever sweeps there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from firstpull.model.device_record import State
from firstpull.model.fleet_history import KEPT, StateCounts, extended

NOW = datetime(2026, 3, 1, 8, 17, tzinfo=UTC)


def counted(at: datetime, ready: int = 1) -> StateCounts:
    return StateCounts(at=at, states={State.READY: ready})


def test_the_history_of_sixty_days_has_each_hour_of_two_days_and_each_six_of_a_month() -> None:
    history: tuple[StateCounts, ...] = ()
    for minutes in range(0, 60 * 24 * 60, 30):  # twice as often as the timer
        at = NOW + timedelta(minutes=minutes)
        history = extended(history, counted(at), now=at)
    now = history[-1].at
    ages = [now - counts.at for counts in history]
    assert ages == sorted(ages, reverse=True)
    assert len([age for age in ages if age <= timedelta(days=2)]) == 49
    assert len(ages) <= 49 + 28 * 4 + 1
    assert KEPT - timedelta(hours=6) <= ages[0] <= KEPT


def test_of_an_hour_the_last_counts_stay_and_a_clock_that_went_back_hurts_nothing() -> None:
    early, late = counted(NOW, ready=1), counted(NOW + timedelta(minutes=20), ready=2)
    assert extended((late,), early, now=NOW) == (late,)
    assert extended((early,), late, now=late.at) == (late,)
