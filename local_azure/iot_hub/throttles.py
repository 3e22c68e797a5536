"""IoT Hub's throttles as token buckets.

The rates are those of the service's quota page for the tiers Free, B1 and S1. The bucket sizes
are an assumption: the service first queues what exceeds a rate and answers 429 later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from local_azure.iot_hub.exceptions import THROTTLING_BACKLOG_TIMEOUT, IotHubError
from local_azure.kernel.clock import Clock


class Throttle(StrEnum):
    """What is counted together. The values are the operation types in the 429's message."""

    IDENTITY_REGISTRY = "IdentityRegistry"
    TWIN_READ = "TwinRead"
    TWIN_UPDATE = "TwinUpdate"
    QUERY = "Query"


@dataclass(frozen=True)
class Limit:
    """A bucket of `burst` calls that refills at `per_second`."""

    per_second: float
    burst: float


def s1_limits(*, units: int = 1) -> dict[Throttle, Limit]:
    """The limits of an S1 hub. Twin rates do not grow with the units of this tier."""
    return {
        Throttle.IDENTITY_REGISTRY: Limit(per_second=100 / 60 * units, burst=100 * units),
        Throttle.TWIN_READ: Limit(per_second=100, burst=300),
        Throttle.TWIN_UPDATE: Limit(per_second=50, burst=150),
        Throttle.QUERY: Limit(per_second=20 / 60 * units, burst=20 * units),
    }


class Throttles:
    """The buckets of one hub. A throttle without a limit is switched off."""

    def __init__(self, *, clock: Clock, limits: Mapping[Throttle, Limit]) -> None:
        self._clock = clock
        self._buckets = {
            throttle: _Bucket(limit, clock.now()) for throttle, limit in limits.items()
        }

    def spend(self, throttle: Throttle) -> None:
        """Count one call. Raises IotHubError 429 when the bucket is empty."""
        bucket = self._buckets.get(throttle)
        if bucket is not None and not bucket.take(self._clock.now()):
            raise IotHubError(
                THROTTLING_BACKLOG_TIMEOUT,
                "The request has been throttled. Wait 10 seconds and try again. "
                f"Operation type: {throttle}",
            )


class _Bucket:
    def __init__(self, limit: Limit, now: datetime) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._filled_at = now

    def take(self, now: datetime) -> bool:
        gained = (now - self._filled_at).total_seconds() * self._limit.per_second
        self._tokens = min(self._limit.burst, self._tokens + gained)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
