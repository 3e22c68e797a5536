"""A share of `make chaos` with real hosts. The lab of the other parts has their address."""

from __future__ import annotations

import pytest

from tests.chaos import killed_hosts, load, storage, toxic
from tests.chaos.tally import Part
from tests.chaos.test_chaos import a_share, check

HOSTED: dict[str, Part] = {
    "killed-hosts": killed_hosts.killed_hosts,
    "storage": storage.storage,
    "toxic-wire": toxic.toxic_wire,
    "load": load.load,
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", HOSTED)
async def test_real_hosts_lose_nothing(part: str) -> None:
    await check(HOSTED[part], a_share(part, 0.02))
