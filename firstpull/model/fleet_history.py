"""The devices by state over the last month, which each sweep adds to.

It is part of the sweep's report, so that to keep it costs no request, and its length is bounded
whatever the fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from firstpull.model.clock import StoredTime
from firstpull.model.device_record import State

_EVERY_HOUR = timedelta(days=2)
_AFTER_THAT = timedelta(hours=6)
KEPT = timedelta(days=30)
"""The age of the oldest counts."""

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, kw_only=True)
class StateCounts:
    """How many devices were in each state; those without one are left out."""

    at: StoredTime
    states: Mapping[State, Annotated[int, Field(ge=0)]]


def extended(
    history: tuple[StateCounts, ...], counted: StateCounts, *, now: datetime
) -> tuple[StateCounts, ...]:
    """The history with later counts: the last of each hour, and of each six hours before that."""
    kept: dict[datetime, StateCounts] = {}
    for counts in sorted((*history, counted), key=lambda counts: counts.at):
        age = now - counts.at
        if age <= KEPT:
            step = timedelta(hours=1) if age <= _EVERY_HOUR else _AFTER_THAT
            kept[counts.at - (counts.at - _EPOCH) % step] = counts
    return tuple(kept.values())
