"""What a sweep costs: pages and queries, and no call per device."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import pytest

from local_azure.commands.processes import inherited

from .drift_rows import table_below

ROOT = Path(__file__).parents[2]
DEVICES = 250
CLIENTS, ARM_PAGE, VAULT_PAGE, HUB_PAGE, TABLE_PAGE = 50, 20, 25, 100, 1000
"""How many devices a connected registry takes, and how much a page of each service holds."""
_SYSTEM_SCOPE_MAPS = 5


def calls_for(devices: int) -> dict[str, int]:
    """The calls of one sweep over a fleet in good order."""
    refs = ceil(devices / CLIENTS)
    return {
        "arm.tokens.list": ceil((devices + refs) / ARM_PAGE),
        "arm.scopeMaps.list": ceil((_SYSTEM_SCOPE_MAPS + refs + 1) / ARM_PAGE),
        "arm.connectedRegistries.list": ceil(refs / ARM_PAGE),
        "keyVault.challenge": 1,
        "keyVault.secrets.list": ceil(devices / VAULT_PAGE),
        "iotHub.twins.query": ceil(devices / HUB_PAGE),
        "table.read": 2 * ceil(devices / TABLE_PAGE),
        "blob.read": refs + 1,
        "blob.write": 1,
    }


@pytest.fixture(scope="module")
async def measured() -> Mapping[str, int]:
    """The calls of one sweep, in a local Azure of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.sweep_calls"),
        *("--devices", str(DEVICES), "--json"),
        cwd=ROOT,
        env=inherited("PATH", "HOME", "LANG", "TMPDIR"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    calls: dict[str, int] = json.loads(output)["calls"]
    return calls


def test_a_sweep_reads_by_pages_and_calls_nothing_per_device(measured: Mapping[str, int]) -> None:
    assert measured == calls_for(DEVICES)
    assert sum(measured.values()) < DEVICES / 5


def test_the_page_says_what_a_sweep_over_2500_devices_costs() -> None:
    told = {call.strip("`"): int(times) for call, _, times in table_below("What a sweep costs")}
    calls = calls_for(2500)
    assert told == {**calls, "all": sum(calls.values())}
