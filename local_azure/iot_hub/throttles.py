"""IoT Hub's throttles as token buckets.

The rates are those of the service's quota page for the tiers Free, B1 and S1. The bucket sizes
are an assumption: the service first queues what exceeds a rate and answers 429 later.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from local_azure.iot_hub.exceptions import THROTTLING_BACKLOG_TIMEOUT, IotHubError
from local_azure.kernel.buckets import BucketSize, TokenBucket
from local_azure.kernel.clock import Clock


class Throttle(StrEnum):
    """The operations that share a bucket. The values are the operation types in a 429."""

    IDENTITY_REGISTRY = "IdentityRegistry"
    TWIN_READ = "TwinRead"
    TWIN_UPDATE = "TwinUpdate"
    QUERY = "Query"


def s1_limits(*, units: int = 1) -> dict[Throttle, BucketSize]:
    """The limits of an S1 hub. Twin rates do not grow with the units of this tier."""
    return {
        Throttle.IDENTITY_REGISTRY: BucketSize(capacity=100 * units, per_second=100 / 60 * units),
        Throttle.TWIN_READ: BucketSize(capacity=300, per_second=100),
        Throttle.TWIN_UPDATE: BucketSize(capacity=150, per_second=50),
        Throttle.QUERY: BucketSize(capacity=20 * units, per_second=20 / 60 * units),
    }


class Throttles:
    """The buckets of one hub. A throttle without a limit is switched off."""

    def __init__(self, *, clock: Clock, limits: Mapping[Throttle, BucketSize]) -> None:
        self._clock = clock
        self._buckets = {
            throttle: (size, TokenBucket(size.capacity, clock.now()))
            for throttle, size in limits.items()
        }

    def spend(self, throttle: Throttle) -> None:
        """Count one call. Raises IotHubError 429 when the bucket is empty."""
        size, bucket = self._buckets.get(throttle, (None, None))
        if size and bucket and not bucket.take(size, self._clock.now()):
            raise IotHubError(
                THROTTLING_BACKLOG_TIMEOUT,
                "The request has been throttled. Wait 10 seconds and try again. "
                f"Operation type: {throttle}",
            )
