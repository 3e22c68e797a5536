"""Azure Resource Manager's token buckets: one per subscription, principal and kind of request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from local_azure.kernel.clock import Clock

RequestKind = Literal["reads", "writes", "deletes"]


@dataclass(frozen=True)
class BucketSize:
    """How many requests a full bucket holds, and how many come back each second."""

    capacity: int
    per_second: float


@dataclass(frozen=True)
class RateLimits:
    """The documented sizes of a paid subscription. Actions by POST count as writes."""

    reads: BucketSize = BucketSize(250, 25)
    writes: BucketSize = BucketSize(200, 10)
    deletes: BucketSize = BucketSize(200, 10)

    def of(self, kind: RequestKind) -> BucketSize:
        """The size for this kind of request."""
        return {"reads": self.reads, "writes": self.writes, "deletes": self.deletes}[kind]


@dataclass(frozen=True)
class Admission:
    """`remaining` whole requests; `retry_after_seconds` is None when the request may pass."""

    remaining: int
    retry_after_seconds: int | None


@dataclass(frozen=True)
class _Level:
    requests: float
    at: datetime


class Throttle:
    """All buckets. `limits` may be changed while it runs; None lets everything pass."""

    def __init__(self, *, clock: Clock, limits: RateLimits | None) -> None:
        self.limits = limits
        self._clock = clock
        self._levels: dict[tuple[str, str, RequestKind], _Level] = {}

    def admit(self, *, subscription_id: str, principal: str, kind: RequestKind) -> Admission | None:
        """Take one request out of its bucket; None when there are no limits."""
        if self.limits is None:
            return None
        size = self.limits.of(kind)
        key = (subscription_id.lower(), principal, kind)
        now = self._clock.now()
        level = self._levels.get(key, _Level(size.capacity, now))
        elapsed = (now - level.at).total_seconds()
        requests = min(size.capacity, level.requests + elapsed * size.per_second)
        if requests < 1:
            self._levels[key] = _Level(requests, now)
            return Admission(0, max(1, math.ceil((1 - requests) / size.per_second)))
        self._levels[key] = _Level(requests - 1, now)
        return Admission(int(requests - 1), None)
