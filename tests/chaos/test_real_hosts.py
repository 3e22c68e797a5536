"""A share of `make chaos` with real hosts. The lab of the other parts has their address."""

from __future__ import annotations

import pytest

from tests.chaos.parts import PARTS
from tests.chaos.test_chaos import a_share, check


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", ["killed-hosts", "storage", "toxic-wire", "load"])
async def test_real_hosts_lose_nothing(part: str) -> None:
    await check(PARTS[part], a_share(part, 0.02))
