"""firstpull beside its alternatives, on one Azure: `python -m benchmarks alternatives`.

One device by each in turn, and fifty by the quick ones. With `--fifty-slowly`, fifty by `az` or by
the plain script, which take a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial

from benchmarks.apps import Bench, running_bench
from benchmarks.command import parser_of, print_json, run_program
from benchmarks.peers.azure import SCOPE_MAP, Task
from benchmarks.peers.azure_cli import AzureCli, installed, logged_in
from benchmarks.trust import Trust
from local_azure.commands.processes import inherited
from local_azure.stack import ConnectedRegistryOptions
from local_azure.stack.options import REGISTRY_NAME, RESOURCE_GROUP, SUBSCRIPTION_ID

type Way = Callable[[str, Sequence[str]], Awaitable[float]]
"""Gives devices access to a connected registry, and says how many seconds that took."""

_AT_MOST_SECONDS = 120.0
FIRSTPULL, AZ, PLAIN, TUNED = "firstpull", "az", "sequential", "tuned"
_FIFTY = 50
_SLOW_TIMES = 1
"""Repetitions of a device by the ways that wait ten seconds for each token."""


class WayFailed(Exception):
    """A way failed; the message has the reason."""


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the seconds of each way."""
    parser = parser_of("alternatives")
    parser.add_argument("--times", type=int, default=5, help="repetitions of a device")
    parser.add_argument("--bursts", type=int, default=3, help="repetitions of fifty")
    parser.add_argument("--fifty-slowly", choices=(AZ, PLAIN))
    parser.add_argument("--at-most", type=float, default=840, help="seconds, of --fifty-slowly")
    parsed = parser.parse_args(arguments)
    work = (
        fifty_slowly(trust, parsed.fifty_slowly, at_most=parsed.at_most)
        if parsed.fifty_slowly
        else measure(trust, times=parsed.times, bursts=parsed.bursts)
    )
    found = asyncio.run(work)
    print_json(found, for_programs=parsed.json)
    return 0


async def measure(trust: Trust, *, times: int, bursts: int) -> dict[str, dict[str, list[float]]]:
    """The seconds of one device by each way in turn, and of fifty by the quick ones."""
    plants = [f"plant{way}{n}" for way in (FIRSTPULL, TUNED) for n in range(bursts)]
    registries = [ConnectedRegistryOptions(name=name) for name in ("plantone", *plants)]
    one: defaultdict[str, list[float]] = defaultdict(list)
    fifty: defaultdict[str, list[float]] = defaultdict(list)
    async with running_bench(trust, registries) as bench, _ways(bench) as ways:
        await ways[FIRSTPULL]("plantone", ["warm-up"])
        for number in range(times):
            for name, way in ways.items():
                if name in (FIRSTPULL, TUNED) or number < _SLOW_TIMES:
                    await bench.settled()
                    one[name].append(await way("plantone", [f"{name}-{number}"]))
        for number in range(bursts):
            for name in (FIRSTPULL, TUNED):
                await bench.settled()
                devices = [f"{name}-{number}-{n:02}" for n in range(_FIFTY)]
                fifty[name].append(await ways[name](f"plant{name}{number}", devices))
    return {"one": dict(one), "fifty": dict(fifty)}


async def fifty_slowly(trust: Trust, name: str, *, at_most: float) -> dict[str, float]:
    """The seconds of fifty devices by `az` or by the plain script.

    Whoever is not done in time has `done` below fifty.
    """
    registries = [ConnectedRegistryOptions(name=f"plant{name}")]
    async with running_bench(trust, registries) as bench, _ways(bench) as ways:
        if name not in ways:
            raise WayFailed(f"{name} is not installed")
        return await _within(bench, ways[name], name, at_most=at_most)


async def _within(bench: Bench, way: Way, name: str, *, at_most: float) -> dict[str, float]:
    plant, started = f"plant{name}", time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most):
            await way(plant, [f"{name}-{n:02}" for n in range(_FIFTY)])
    seconds = time.monotonic() - started
    listed = bench.stack.cloud.registries()[0].connected_registry(plant).settings.client_token_ids
    return {"seconds": round(seconds, 1), "done": len(listed)}


@asynccontextmanager
async def _ways(bench: Bench) -> AsyncIterator[Mapping[str, Way]]:
    """Every way that there is here, firstpull first."""
    registry = bench.stack.cloud.registries()[0]
    registry.put_scope_map(SCOPE_MAP, actions=["repositories/hello-world/content/read"])
    ways: dict[str, Way] = {
        FIRSTPULL: partial(_by_firstpull, bench),
        TUNED: partial(_by_script, bench, "tuned"),
        PLAIN: partial(_by_script, bench, "sequential"),
    }
    az = installed()
    if az is None:
        yield ways
        return
    async with logged_in(bench, az) as cli:
        ways[AZ] = partial(_by_az, bench, cli)
        yield ways


async def _by_firstpull(bench: Bench, plant: str, devices: Sequence[str]) -> float:
    bench.register(devices)
    started = time.monotonic()
    await asyncio.gather(*(bench.ask(device, connectedRegistry=plant) for device in devices))
    found = await bench.delivered(devices, at_most=_AT_MOST_SECONDS)
    if len(found) < len(devices):
        raise WayFailed(f"firstpull delivered to {len(found)} of {len(devices)} devices")
    return max(found.values()) - started


async def _by_script(bench: Bench, script: str, plant: str, devices: Sequence[str]) -> float:
    bench.register(devices)
    stack = bench.stack
    output = await run_program(
        *(sys.executable, "-m", f"benchmarks.peers.{script}"),
        json.dumps(asdict(_task(bench, plant, devices))),
        environment={
            **inherited("PATH", "HOME", "LANG", "TMPDIR"),
            **stack.identity_environment(ca_file=bench.ca_file),
            "IDENTITY_HEADER": stack.operator_identity_header,
        },
        fails=WayFailed,
        name=script,
    )
    return float(json.loads(output)["seconds"])


async def _by_az(bench: Bench, cli: AzureCli, plant: str, devices: Sequence[str]) -> float:
    return await cli.onboard(_task(bench, plant, devices))


def _task(bench: Bench, plant: str, devices: Sequence[str]) -> Task:
    return Task(
        devices=tuple(devices),
        connected_registry=plant,
        arm_endpoint=bench.stack.arm_endpoint,
        subscription=SUBSCRIPTION_ID,
        group=RESOURCE_GROUP,
        registry=REGISTRY_NAME,
        vault_url=bench.stack.key_vault_url,
        hub=bench.stack.iot_hub_host_name,
    )
