"""The backoff between attempts."""

from __future__ import annotations

import random

LOGIN_CAP_SECONDS = 30.0
HUB_CAP_SECONDS = 60.0


def delay_seconds(failures: int, *, cap_seconds: float, rng: random.Random) -> float:
    """The seconds to wait: 1 after the first failure, then doubled up to the cap.

    A random part of up to a third is taken off, so that the devices of a site do not all try at
    the same moment after a power cut.
    """
    doubled = 2.0 ** min(failures - 1, 16)
    return min(cap_seconds, doubled) * rng.uniform(2 / 3, 1.0)
