"""The calls, time and memory of one sweep: `python -m benchmarks sweeps --devices 250,2500`.

A fleet without drift is put into a local Azure without latency, and one sweep, in a process of its
own, has to find nothing. The throttles of Azure Resource Manager and of an S1 hub apply, which has
a unit for each 2,500 devices: a listing gives up after four minutes.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.apps import SEED
from benchmarks.command import parser_of
from benchmarks.fleet import CLIENTS, put_in
from benchmarks.trust import Trust
from local_azure.commands.function_app import app_settings
from local_azure.commands.processes import inherited
from local_azure.container_registry.models import AT_ONCE
from local_azure.iot_hub.throttles import Throttles, s1_limits
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack

_DEVICES_OF_A_UNIT = 2500


class FleetNotInOrder(Exception):
    """The sweep found something, so that its calls are not those of a fleet without drift."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep. `calls` by service and operation; `peak_mib` above the idle process."""

    devices: int
    seconds: float
    writes: int
    """Changes of Azure; the report's own blob is not one."""
    peak_mib: float
    calls: Mapping[str, int]


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print a sweep for each size."""
    parser = parser_of("sweeps")
    parser.add_argument("--devices", default="250,1000,2500,10000")
    parsed = parser.parse_args(arguments)
    sizes = map(int, parsed.devices.split(","))
    sweeps = [asyncio.run(measure(trust, devices=size)) for size in sizes]
    output = (
        json.dumps([asdict(sweep) for sweep in sweeps])
        if parsed.json
        else "\n\n".join(map(_table, sweeps))
    )
    sys.stdout.write(f"{output}\n")
    return 0


async def measure(trust: Trust, *, devices: int) -> Sweep:
    """One sweep over this many devices. Raises FleetNotInOrder."""
    address, authority, ca_file = trust
    options = StackOptions(
        seed=SEED,
        connected_registries=tuple(
            ConnectedRegistryOptions(name=f"plant{number:03}", sync_every_seconds=3600)
            for number in range(math.ceil(devices / CLIENTS))
        ),
        operation_lengths=AT_ONCE,
        event_subscriptions=(),  # their deliveries would be counted, too
    )
    async with start_stack(options, address=address, certificates=authority) as stack:
        units = math.ceil(devices / _DEVICES_OF_A_UNIT)
        stack.hub.throttles = Throttles(clock=stack.kernel.clock, limits=s1_limits(units=units))
        await put_in(stack, devices)
        stack.kernel.calls.reset()
        swept = await _sweep_elsewhere(stack, ca_file=ca_file)
    report = swept["report"]
    if report != {"devices": devices, "drifted": 0, "orphans": 0, "unread": 0}:
        raise FleetNotInOrder(f"the sweep found something: {report}")
    azure = {k: n for k, n in stack.kernel.calls.counts().items() if not k.startswith("identity.")}
    reads = (".get", ".list", ".query", ".challenge", ".listVersions")
    return Sweep(
        devices=devices,
        seconds=swept["seconds"],
        writes=sum(n for name, n in azure.items() if not name.endswith(reads)),
        peak_mib=swept["peakMib"],
        calls={**azure, **swept["storage"]},
    )


async def _sweep_elsewhere(stack: Stack, *, ca_file: str) -> dict[str, Any]:
    environment = {
        **inherited("PATH", "HOME", "LANG", "TMPDIR"),
        **stack.identity_environment(ca_file=ca_file),
        **app_settings(stack),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.one_sweep"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise FleetNotInOrder("the sweep failed; its output has the reason")
    swept: dict[str, Any] = json.loads(output)
    return swept


def _table(sweep: Sweep) -> str:
    rows = {**dict(sorted(sweep.calls.items())), "all": sum(sweep.calls.values())}
    lines = (f"| `{name}` | {times} |" for name, times in rows.items())
    heading = f"{sweep.devices} devices, {sweep.seconds} s, {sweep.peak_mib} MiB"
    return "\n".join((heading, "", "| Call | Times |", "|---|---|", *lines))
