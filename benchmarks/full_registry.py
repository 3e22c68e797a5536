"""A full container registry: `python -m benchmarks full_registry`.

2,500 devices arrive at once, site after site, at 50 connected registries; four hosts work at them,
under the token buckets of one subscription's Resource Manager and of an S1 hub with one unit. Each
device logs in a second after its delivery. The floor is what the writes take that no device can go
without: its token, its password, and one write of each list. Azure's own rates and the profile's
latency apply, at their real pace. With `--in-turn` no two devices in a row are of the same site.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.apps import Bench, Setup, running_bench
from benchmarks.command import LOCAL, parser_of, print_json
from benchmarks.memory import processor_seconds, resident_mib, with_children
from benchmarks.trust import Trust
from local_azure.iot_hub.models import DesiredPropertiesChanged, HubEvent
from local_azure.resource_manager.throttling import RateLimits
from local_azure.stack import ConnectedRegistryOptions

_CLIENTS = 50
_WEBHOOKS_AT_ONCE = 32
_PARTS = 20
_LAST = 50
_LOGS_IN_AFTER = 1.0
"""Seconds from a delivery to the login that the device reports."""


@dataclass(frozen=True, kw_only=True)
class FullRegistry:
    """One run. `failed`: devices without a delivery when the time was over."""

    devices: int
    connected_registries: int
    hosts: int
    seconds: float
    floor_seconds: float
    floor_ratio: float
    failed: int
    delivered_at: tuple[float, ...]
    """When each further twentieth of the devices had its delivery, in seconds."""
    arm_writes: int
    arm_reads: int
    arm_reads_per_device: float
    patches: int
    throttled_arm: int
    throttled_hub: int
    identity_reads: int
    host_mib: float
    """The most resident memory that one host had, with its worker process."""
    host_cpu_seconds_per_device: float
    """Processor time of the hosts, their starts included."""
    azure_cpu_seconds_per_device: float
    """Processor time of the local Azure without its storage, which the hosts compete with."""
    storage_transactions_per_device: float


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the run; 1 if a device failed."""
    parser = parser_of("full_registry")
    parser.add_argument("--devices", type=int, default=2500)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--at-most", type=float, default=900, help="seconds")
    parser.add_argument("--in-turn", action="store_true", help="a device of each site in turn")
    parsed = parser.parse_args(arguments)
    run = asyncio.run(
        measure(
            trust,
            devices=parsed.devices,
            hosts=parsed.hosts,
            at_most=parsed.at_most,
            in_turn=parsed.in_turn,
        )
    )
    print_json(asdict(run), for_programs=parsed.json)
    return 0 if run.failed == 0 else 1


async def measure(
    trust: Trust, *, devices: int, hosts: int, at_most: float, in_turn: bool = False
) -> FullRegistry:
    """Fill the container registry."""
    plants = [f"plant{number:02}" for number in range(math.ceil(devices / _CLIENTS))]
    registries = [
        ConnectedRegistryOptions(name=name, sync_every_seconds=60, insecure=True) for name in plants
    ]
    names = [f"full{number:04}" for number in range(devices)]
    sites = {
        name: plants[number % len(plants) if in_turn else number // _CLIENTS]
        for number, name in enumerate(names)
    }
    async with running_bench(trust, registries, Setup(hosts=hosts)) as bench:
        bench.register(names)
        await bench.settled()
        bench.stack.kernel.calls.reset()
        bench.stack.kernel.storage_calls.reset()
        started = time.monotonic()
        _log_in_when_delivered(bench, sites)
        asking = asyncio.create_task(_ask(bench, sites))
        found = await bench.delivered(names, at_most=at_most)
        asking.cancel()
        await _keep_histories_of_last(bench, found, started)
        return _figures(bench, [at - started for at in found.values()], names, plants)


async def _keep_histories_of_last(bench: Bench, found: Mapping[str, float], started: float) -> None:
    """Write what happened to the devices that took longest to `.local/bench/last_devices.json`."""
    last = {}
    for name in sorted(found, key=lambda name: found[name])[-_LAST:]:
        last[name] = {"delivered": found[name] - started, **await bench.view(name)}
    path = LOCAL / "last_devices.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(last, indent=2))


async def _ask(bench: Bench, sites: Mapping[str, str]) -> None:
    """Send the webhooks of devices, in their order."""
    at_once = asyncio.Semaphore(_WEBHOOKS_AT_ONCE)

    async def ask(name: str, site: str) -> None:
        async with at_once:
            await bench.ask(name, connectedRegistry=site)

    await asyncio.gather(*(ask(*each) for each in sites.items()))


def _log_in_when_delivered(bench: Bench, sites: Mapping[str, str]) -> None:
    loop, logged_in = asyncio.get_running_loop(), set[str]()

    def note(event: HubEvent) -> None:
        if isinstance(event, DesiredPropertiesChanged) and bench.is_delivered(event.device_id):
            name = event.device_id
            if name not in logged_in:
                logged_in.add(name)
                loop.call_later(_LOGS_IN_AFTER, bench.log_in, name, sites[name])

    bench.stack.hub.subscribe(note)


def floor_seconds(devices: int, connected_registries: int) -> float:
    """How long ARM takes at least for the writes that nobody can save."""
    writes = RateLimits().writes
    least = 2 * devices + connected_registries
    return max(0.0, least - writes.capacity) / writes.per_second


def _figures(
    bench: Bench, seconds: Sequence[float], names: Sequence[str], plants: Sequence[str]
) -> FullRegistry:
    counts = bench.stack.kernel.calls.counts()
    by_status = bench.stack.kernel.calls.statuses()
    reads = sum(n for k, n in counts.items() if k.startswith("arm.") and _is_read(k))
    writes = sum(n for k, n in counts.items() if k.startswith("arm.") and not _is_read(k))
    floor, took = floor_seconds(len(names), len(plants)), max(seconds, default=0.0)
    storage = bench.stack.kernel.storage_calls.counts()
    hosts = [
        with_children(host.process.pid)
        for host in bench.app.hosts.all()
        if host.process is not None
    ]
    return FullRegistry(
        devices=len(names),
        connected_registries=len(plants),
        hosts=len(hosts),
        seconds=round(took, 1),
        floor_seconds=round(floor, 1),
        floor_ratio=round(took / floor, 3) if floor else math.nan,
        failed=len(names) - len(seconds),
        delivered_at=tuple(
            round(sorted(seconds)[math.ceil(len(names) * n / _PARTS) - 1], 1)
            for n in range(1, _PARTS + 1)
            if math.ceil(len(names) * n / _PARTS) <= len(seconds)
        ),
        arm_writes=writes,
        arm_reads=reads,
        arm_reads_per_device=round(reads / len(names), 2),
        patches=counts.get("arm.connectedRegistries.update", 0),
        throttled_arm=by_status["arm", 429],
        throttled_hub=by_status["iotHub", 429],
        identity_reads=counts.get("iotHub.devices.get", 0),
        host_mib=round(max(sum(resident_mib(p, peak=True) for p in host) for host in hosts), 1),
        host_cpu_seconds_per_device=round(
            sum(processor_seconds(process) for host in hosts for process in host) / len(names), 3
        ),
        azure_cpu_seconds_per_device=round(time.process_time() / len(names), 3),
        storage_transactions_per_device=round(
            sum(n for name, n in storage.items() if name != "queue.GET") / len(names), 1
        ),
    )


def _is_read(operation: str) -> bool:
    return operation.endswith((".get", ".list", ".operationStatus"))
