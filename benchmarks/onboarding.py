"""One device, forty and fifty at once: `python -m benchmarks onboarding`.

One device: from the webhook's acceptance to the credentials in the twin, over the longest chain
that the protocol needs. Each device has the length of its own token's operation in its floor.
Fifty: at one connected registry, with a foreign writer busy on its list.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from statistics import median

from benchmarks.apps import Bench, running_bench
from benchmarks.command import parser_of, print_json
from benchmarks.floor import FIRST_OF_ITS_SCOPE_MAP, ONBOARD, Step, longest_chain
from benchmarks.foreign_writer import ForeignWriter
from benchmarks.trust import Trust
from local_azure.kernel.calls import Call
from local_azure.stack import ConnectedRegistryOptions

_AT_MOST_SECONDS = 90.0
_REPAIRED_SECONDS = 240.0
"""By then, each delivered device has been looked at whole, two minutes after its delivery."""
_PASSES_SECONDS = 4.0
"""For the passes over fifty devices that have logged in, which write nothing."""
_ROOM = 60
"""Clients of the connected registries of bursts: fifty devices, and the foreign writer's."""
_OTHER_REPOSITORIES = (("sensor-gateway",), ("hello-world", "sensor-gateway"))
"""Of devices that nobody has asked for before, so that there is no scope map."""
_WRITES = ("PUT", "PATCH", "POST", "DELETE")


@dataclass(frozen=True, kw_only=True)
class OneDevice:
    """Medians of single devices, each on a warm host with a known scope map."""

    devices: int
    seconds: float
    floor_seconds: float
    floor_ratio: float
    ratios: tuple[float, ...]
    accepted_seconds: float
    """From sending the webhook to its acceptance, which is not in `seconds`."""
    arm_reads: float
    arm_writes: float
    calls: dict[str, float]
    """Calls to Azure until nothing changes any more, by operation."""


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Devices that arrive together at one connected registry."""

    devices: int
    delivered: int
    seconds: float
    """From the first webhook to the last delivery."""
    patches: int
    foreign_writes: int
    arm_reads_per_device: float
    arm_writes_per_device: float
    throttled: int
    lost: int = 0
    """Delivered devices that the list lacks in the end."""
    foreign_lost: int = 0
    """Tokens of others that the list lacks in the end."""


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the figures."""
    parser = parser_of("onboarding")
    parser.add_argument("--one", type=int, default=9, help="single devices")
    parser.add_argument("--bursts", type=int, default=3, help="repetitions of a burst")
    parser.add_argument("--sizes", default="50,40", help="devices of the bursts")
    parsed = parser.parse_args(arguments)
    sizes = tuple(map(int, parsed.sizes.split(","))) if parsed.sizes else ()
    figures = asyncio.run(measure(trust, one=parsed.one, bursts=parsed.bursts, sizes=sizes))
    print_json(figures, for_programs=parsed.json)
    return 0


async def measure(
    trust: Trust, *, one: int, bursts: int, sizes: Sequence[int]
) -> dict[str, object]:
    """The figures of single devices and of bursts, in one run."""
    plants = {size: [f"plant{size}n{number}" for number in range(bursts)] for size in sizes}
    names = [name for group in plants.values() for name in group]
    registries = [
        ConnectedRegistryOptions(name="plantone"),
        *(ConnectedRegistryOptions(name=name, max_clients=_ROOM) for name in names),
    ]
    async with running_bench(trust, registries) as bench:
        await _onboard_one(bench, "plantone", "warm-up")
        devices = [await _onboard_one(bench, "plantone", f"one{n:02}") for n in range(one)]
        figures: dict[str, object] = {}
        alone = _medians(devices)
        figures["one_device"] = asdict(alone)
        firsts = [
            await _onboard_one(
                bench,
                "plantone",
                f"first{number}",
                repositories=repositories,
                steps=FIRST_OF_ITS_SCOPE_MAP,
            )
            for number, repositories in enumerate(_OTHER_REPOSITORIES)
        ]
        figures["first_device_of_a_scope_map"] = asdict(_medians(firsts))
        runs = {
            size: [await _burst(bench, plant, size, foreign=size == 50) for plant in there]
            for size, there in plants.items()
        }
        await _repaired(bench, [run for each in runs.values() for run in each])
        for size, each in runs.items():
            ended = [run.ended(_listed(bench, run.plant)) for run in each]
            figures[f"{_words(size)}_devices"] = _burst_figures(ended, alone)
        return figures


@dataclass(frozen=True, kw_only=True)
class _Single:
    seconds: float
    accepted: float
    floor: float
    calls: tuple[Call, ...]


async def _onboard_one(
    bench: Bench,
    plant: str,
    device: str,
    *,
    repositories: Sequence[str] = ("hello-world",),
    steps: Sequence[Step] = ONBOARD,
) -> _Single:
    bench.register([device])
    await bench.settled()
    bench.stack.kernel.calls.reset()
    sent = time.monotonic()
    accepted = await bench.ask(device, connectedRegistry=plant, repositories=repositories)
    found = await bench.delivered([device], at_most=_AT_MOST_SECONDS)
    await bench.settled()
    floor = longest_chain(steps, operation_seconds=bench.operation_seconds(device))
    return _Single(
        seconds=found[device] - accepted,
        accepted=accepted - sent,
        floor=floor.seconds,
        calls=tuple(bench.calls()),
    )


def _medians(devices: Sequence[_Single]) -> OneDevice:
    ratios = [each.seconds / each.floor for each in devices]
    operations = sorted({_name(call) for each in devices for call in each.calls})
    return OneDevice(
        devices=len(devices),
        seconds=round(median(each.seconds for each in devices), 3),
        floor_seconds=round(median(each.floor for each in devices), 3),
        floor_ratio=round(median(ratios), 3),
        ratios=tuple(round(ratio, 3) for ratio in sorted(ratios)),
        accepted_seconds=round(median(each.accepted for each in devices), 3),
        arm_reads=median(_arm(each.calls, "GET") for each in devices),
        arm_writes=median(_arm(each.calls, *_WRITES) for each in devices),
        calls={
            name: median(sum(_name(call) == name for call in each.calls) for each in devices)
            for name in operations
        },
    )


@dataclass(frozen=True, kw_only=True)
class _BurstRun:
    """A burst whose list a foreign writer may have overwritten with an older one."""

    burst: Burst
    plant: str
    delivered: frozenset[str]
    foreign: frozenset[str]

    def lost(self, listed: Collection[str]) -> int:
        """How many of its devices a list lacks."""
        return sum(not any(name.startswith(f"fp-{d}-") for name in listed) for d in self.delivered)

    def ended(self, listed: Collection[str]) -> Burst:
        """The burst with what the list lacks in the end."""
        foreign_lost = len(self.foreign - frozenset(listed))
        return replace(self.burst, lost=self.lost(listed), foreign_lost=foreign_lost)


async def _burst(bench: Bench, plant: str, size: int, *, foreign: bool) -> _BurstRun:
    """Onboard devices at once."""
    devices = [f"b{size}-{plant[-1]}-{number:02}" for number in range(size)]
    bench.register(devices)
    writer = ForeignWriter(bench=bench, connected_registry=plant)
    async with AsyncExitStack() as cleanup:
        if foreign:
            await writer.prepare()
            await cleanup.enter_async_context(writer.busy())
        await bench.settled()
        bench.stack.kernel.calls.reset()
        before = writer.reads, writer.writes
        started = time.monotonic()
        await asyncio.gather(*(bench.ask(each, connectedRegistry=plant) for each in devices))
        found = await bench.delivered(devices, at_most=_AT_MOST_SECONDS)
        seconds = max(found.values(), default=started) - started
        calls = tuple(bench.calls())
        foreign_reads, foreign_writes = writer.reads - before[0], writer.writes - before[1]
    await _log_in(bench, sorted(found), plant)
    patches = sum(_name(call) == "arm.connectedRegistries.update" for call in calls)
    burst = Burst(
        devices=size,
        delivered=len(found),
        seconds=round(seconds, 3),
        patches=patches - foreign_writes,
        foreign_writes=foreign_writes,
        arm_reads_per_device=round((_arm(calls, "GET") - foreign_reads) / size, 2),
        arm_writes_per_device=round((_arm(calls, *_WRITES) - foreign_writes) / size, 2),
        throttled=sum(call.status == 429 for call in calls),
    )
    return _BurstRun(
        burst=burst,
        plant=plant,
        delivered=frozenset(found),
        foreign=writer.permanent if foreign else frozenset(),
    )


async def _log_in(bench: Bench, devices: Sequence[str], plant: str) -> None:
    """Let devices log in, and firstpull see it, so that it leaves them alone in the next burst."""
    for device in devices:
        bench.log_in(device, plant)
    await asyncio.gather(*(bench.ask(each, connectedRegistry=plant) for each in devices))
    await bench.settled(quiet_seconds=_PASSES_SECONDS)


async def _repaired(bench: Bench, runs: Sequence[_BurstRun]) -> None:
    """Wait until firstpull has looked again at what a foreign write took out of its lists."""
    give_up = time.monotonic() + _REPAIRED_SECONDS
    while time.monotonic() < give_up:
        if not any(run.lost(_listed(bench, run.plant)) for run in runs):
            return
        await asyncio.sleep(1.0)


def _listed(bench: Bench, plant: str) -> set[str]:
    """The names of the tokens in a list."""
    registry = bench.stack.cloud.registries()[0].connected_registry(plant)
    return {each.rpartition("/")[2] for each in registry.settings.client_token_ids}


def _burst_figures(runs: Sequence[Burst], alone: OneDevice) -> dict[str, object]:
    """The run with the median time, with the worst of what must never happen."""
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    return {
        **asdict(middle),
        "ratio_to_one": round(middle.seconds / alone.seconds, 3),
        "delivered": min(run.delivered for run in runs),
        "lost": max(run.lost for run in runs),
        "foreign_lost": max(run.foreign_lost for run in runs),
        "all_seconds": [run.seconds for run in runs],
    }


def _arm(calls: Sequence[Call], *methods: str) -> int:
    return sum(call.service == "arm" and call.method in methods for call in calls)


def _name(call: Call) -> str:
    return f"{call.service}.{call.operation}"


def _words(size: int) -> str:
    return {40: "forty", 50: "fifty"}.get(size, str(size))
