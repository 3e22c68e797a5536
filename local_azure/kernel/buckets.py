"""Token buckets, which Azure Resource Manager and IoT Hub limit their callers with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class BucketSize:
    """The requests that a full bucket holds, and those that it gains each second."""

    capacity: float
    per_second: float


@dataclass
class TokenBucket:
    """The requests that a caller may still send, as of a time."""

    tokens: float
    filled_at: datetime

    def take(self, size: BucketSize, now: datetime) -> bool:
        """Refill the bucket and take one request out of it. False when it is empty."""
        gained = (now - self.filled_at).total_seconds() * size.per_second
        self.tokens = min(size.capacity, self.tokens + gained)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
