"""When a device is reconciled next. Its record keeps the time; nothing waits in memory."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Condition, State
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.reasons import Reason

_LOOKS: dict[State, tuple[timedelta, timedelta]] = {
    State.WAITING: (timedelta(seconds=5), timedelta(minutes=5)),
    State.BLOCKED: (timedelta(minutes=1), timedelta(hours=1)),
    State.DELIVERED: (timedelta(seconds=2), timedelta(hours=1)),
}
"""The shortest and the longest time between two passes; in between, half the time in the state."""

_FOR_WEEKS = (Reason.AWAITING_DEVICE, Reason.NO_FREE_SLOT)
"""What may wait for weeks: for a device that is away, or for a password's expiry."""

SETTLING = timedelta(minutes=2)
"""A ready device is reconciled once more: another writer may have overwritten the list."""

SECOND_LOOK = timedelta(minutes=15)
"""This long after a revoke, no earlier write can still be under way."""
_SYNC_CHECK = timedelta(minutes=1)
"""The shortest time between two checks whether a connected registry has synced since a revoke."""
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The due time of a device that needs no further pass."""
_RARELY = timedelta(days=1)
_NOT_FOUGHT = (Reason.REFUSED_BY_POLICY, Reason.RESOURCE_LOCKED, Reason.SUBSCRIPTION_DISABLED)
"""What somebody forbids on purpose: it is tried again once a day, or when the device is due."""

_FIRST_CONFLICT = 0.5
_TRUSTED = 6
"""Failures in a row after which a service's Retry-After alone no longer sets the pause."""
_FIRST_RETRY = 2.0
_LONGEST_RETRY = 300.0


def next_check(condition: Condition, *, now: datetime, renew_at: datetime | None) -> datetime:
    """When a device whose last pass had nothing left to do is due again."""
    age = now - condition.since
    if condition.state is State.READY:
        if age < SETTLING:
            return condition.since + SETTLING
        if renew_at is None:
            return now + _RARELY
        # Past the renewal time, something holds the renewal up: reconcile hourly.
        return max(renew_at, now + timedelta(hours=1))
    first, longest = _LOOKS[State.DELIVERED if condition.reason in _FOR_WEEKS else condition.state]
    due_at = now + min(max(age / 2, first), longest)
    return min(due_at, renew_at) if renew_at is not None and renew_at > now else due_at


def next_check_after_revoke(since: datetime, *, now: datetime, is_settled: bool) -> datetime:
    """When a tombstone is due: once more for late writes, and until every registry has synced."""
    age = now - since
    soon = now + min(max(age / 2, _SYNC_CHECK), timedelta(days=1))
    if age < SECOND_LOOK:
        return since + SECOND_LOOK if is_settled else min(soon, since + SECOND_LOOK)
    return NEVER if is_settled else soon


def retry_at(
    error: FirstpullError,
    *,
    attempts: int,
    device: DeviceKey,
    now: datetime,
    takes_away: bool = False,
) -> datetime:
    """When a failed pass is retried: after the service's Retry-After, else with backoff and jitter.

    A blocked device backs off up to the longest time between its passes, or a day where somebody
    forbids it, unless the pass `takes_away` access. After many failures the backoff exceeds a
    short Retry-After.
    """
    if isinstance(error, Conflict):
        seconds = _FIRST_CONFLICT * _doubled(attempts - 3)
    elif isinstance(error, Blocked):
        first, longest = _LOOKS[State.BLOCKED]
        longest = _RARELY if error.reason in _NOT_FOUGHT and not takes_away else longest
        seconds = min(first.total_seconds() * _doubled(attempts), longest.total_seconds())
        return now + timedelta(seconds=seconds)
    elif isinstance(error, Transient) and error.retry_after is not None:
        patience = _FIRST_RETRY * _doubled(attempts - _TRUSTED) if attempts > _TRUSTED else 0
        seconds = max(error.retry_after, patience)
    else:
        seconds = _FIRST_RETRY * _doubled(attempts)
    seconds = min(seconds, _LONGEST_RETRY)
    return now + timedelta(seconds=seconds * (1 + 0.5 * share_of(device, attempts)))


def _doubled(times: int) -> int:
    return 1 << min(max(times, 0), 10)


def share_of(device: DeviceKey, attempts: int = 0) -> float:
    """0 to 1, by the device and the attempt, so that a test can repeat a schedule."""
    digest = hashlib.sha256(f"{device.digest('retry')}{attempts}".encode()).digest()
    return int.from_bytes(digest[:4]) / 0xFFFFFFFF
