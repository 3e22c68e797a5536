"""What a sweep costs: pages and queries, and no call per device."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from math import ceil
from pathlib import Path

import pytest

from local_azure.commands.processes import inherited

ROOT = Path(__file__).parents[2]
DEVICES = 150
_CLIENTS, _ARM_PAGE, _VAULT_PAGE, _HUB_PAGE, _TABLE_PAGE = 50, 20, 25, 100, 1000
"""How many devices a connected registry takes, and how much a page of each service holds."""
_SYSTEM_SCOPE_MAPS = 5


def calls_for(devices: int) -> dict[str, int]:
    """The calls of one sweep over a fleet without drift."""
    connected_registries = ceil(devices / _CLIENTS)
    scope_maps = _SYSTEM_SCOPE_MAPS + connected_registries + 1
    return {
        "arm.tokens.list": ceil((devices + connected_registries) / _ARM_PAGE),
        "arm.scopeMaps.list": ceil(scope_maps / _ARM_PAGE),
        "arm.connectedRegistries.list": ceil(connected_registries / _ARM_PAGE),
        "keyVault.challenge": 1,
        "keyVault.secrets.list": ceil(devices / _VAULT_PAGE),
        "iotHub.twins.query": ceil(devices / _HUB_PAGE),
        "table.read": 2 * ceil(devices / _TABLE_PAGE),
        "blob.read": connected_registries + 1,
        "blob.write": 1,
    }


@pytest.mark.slow
async def test_a_sweep_reads_by_pages_and_calls_nothing_per_device() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "sweeps"),
        *("--devices", str(DEVICES), "--json"),
        cwd=ROOT,
        env=inherited("PATH", "HOME", "LANG", "TMPDIR"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    (sweep,) = json.loads(output)
    assert sweep["calls"] == calls_for(DEVICES)
    assert sweep["writes"] == 0


def test_the_page_says_what_a_sweep_over_2500_devices_costs() -> None:
    costs: Counter[str] = Counter()
    for call, times in calls_for(2500).items():
        costs[call.partition(".")[0]] += times
    storage = costs.pop("table") + costs.pop("blob")
    page = (ROOT / "docs" / "drift.md").read_text().partition("\n## What a sweep costs\n")[2]
    documented = {int(number) for number in re.findall(r"\b\d+\b", page)}
    assert documented >= {sum(costs.values()) + storage, storage, *costs.values()}
