"""How long to wait before the next try."""

from __future__ import annotations

import random

LOGIN_CAP_SECONDS = 30.0
HUB_CAP_SECONDS = 60.0


def delay_seconds(failures: int, *, cap_seconds: float, rng: random.Random) -> float:
    """1 s after the first failure, doubling up to the cap, less a random part of up to a third.

    The random part keeps a site full of devices from trying in step after a power cut.
    """
    doubled = 2.0 ** min(failures - 1, 16)
    return min(cap_seconds, doubled) * rng.uniform(2 / 3, 1.0)
