"""Which device of a hub a record is about, also before its generationId was read.

An S1 unit answers 100 reads of an identity a minute, fewer than devices can be onboarded. Each twin
has the ETag of the identity, which stands for the generationId until that was read. Another ETag
then counts as another device, although the identity may only have been changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.model.clock import Clock

_BY_ETAG = "etag:"
_AT_ONCE = 20
_EACH = timedelta(seconds=2)
_AFTER_REFUSAL = timedelta(minutes=1)
_SOONEST, _LATEST = timedelta(minutes=5), timedelta(minutes=15)


def by_etag(device_etag: str) -> str:
    """What stands for the generationId of the identity with this ETag."""
    return f"{_BY_ETAG}{device_etag}"


def is_by_etag(identity: str | None) -> bool:
    """Whether the generationId was not read yet."""
    return identity is not None and identity.startswith(_BY_ETAG)


def read_later_at(now: datetime, *, share: float) -> datetime:
    """When to try again to read an identity; `share`, 0 to 1, spreads devices over the time."""
    return now + _SOONEST + (_LATEST - _SOONEST) * share


@dataclass(kw_only=True)
class IdentityBudget:
    """The reads of identities that a process may begin without need: 20, then 30 a minute.

    After a 429 none for a minute: other processes read, too.
    """

    clock: Clock
    _full_at: datetime | None = None
    """When the budget is or was whole again."""

    def take(self) -> bool:
        """Whether a read may begin now."""
        now = self.clock.now()
        full_at = max(self._full_at or now, now) + _EACH
        if full_at - now > _AT_ONCE * _EACH:
            return False
        self._full_at = full_at
        return True

    def refuse(self) -> None:
        """Note that the hub has throttled a read."""
        self._full_at = self.clock.now() + _AT_ONCE * _EACH + _AFTER_REFUSAL
