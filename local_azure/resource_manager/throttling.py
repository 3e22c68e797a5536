"""Azure Resource Manager's token buckets.

There is one per subscription, principal and kind of request, and one of 15 times its size for all
principals of a subscription.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from local_azure.kernel.buckets import BucketSize, TokenBucket
from local_azure.kernel.clock import Clock

RequestKind = Literal["reads", "writes", "deletes"]

_ALL_PRINCIPALS = 15


@dataclass(frozen=True)
class RateLimits:
    """The documented sizes of a paid subscription. Actions by POST count as writes."""

    reads: BucketSize = field(default=BucketSize(250, 25))
    writes: BucketSize = field(default=BucketSize(200, 10))
    deletes: BucketSize = field(default=BucketSize(200, 10))

    def of(self, kind: RequestKind) -> BucketSize:
        """The size for this kind of request."""
        return {"reads": self.reads, "writes": self.writes, "deletes": self.deletes}[kind]


@dataclass(frozen=True)
class Admission:
    """`remaining` whole requests of the principal, and of all.

    `retry_after_seconds` is None when the request may pass.
    """

    remaining: int
    remaining_of_all: int
    retry_after_seconds: int | None


class Throttle:
    """All buckets. `limits` may be changed while it runs; None turns throttling off."""

    def __init__(self, *, clock: Clock, limits: RateLimits | None) -> None:
        self.limits = limits
        self._clock = clock
        self._buckets: dict[tuple[str, str | None, RequestKind], TokenBucket] = {}

    def admit(self, *, subscription_id: str, principal: str, kind: RequestKind) -> Admission | None:
        """Take one request out of its bucket; None when there are no limits."""
        if self.limits is None:
            return None
        size, now, subscription = self.limits.of(kind), self._clock.now(), subscription_id.lower()
        of_all = BucketSize(size.capacity * _ALL_PRINCIPALS, size.per_second * _ALL_PRINCIPALS)
        waits, left = [], []
        for each, whose in ((size, principal), (of_all, None)):
            key = (subscription, whose, kind)
            bucket = self._buckets.setdefault(key, TokenBucket(each.capacity, now))
            if not bucket.take(each, now):
                waits.append(max(1, math.ceil((1 - bucket.tokens) / each.per_second)))
            left.append(int(bucket.tokens))
        return Admission(left[0], left[1], max(waits, default=None))
