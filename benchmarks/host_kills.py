"""A killed host: `python -m benchmarks host_kills --kills 10 --devices 20`.

On a local Azure the host and its worker are killed while devices are being onboarded, each time a
little later in their onboarding. A new host is started at once, on the storage that the dead one
left: its messages stay invisible and its leases and claims run out, as on Azure. A run takes about
ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.apps import Bench, Setup, running_bench
from benchmarks.command import parser_of
from benchmarks.trust import Trust
from local_azure.stack import ConnectedRegistryOptions

_POLL_SECONDS = 0.1
_STEP_SECONDS = 0.3
_GOAL_SECONDS = 75.0


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill. The seconds until the last delivery count from the kill, and from the restart."""

    after_seconds: float
    """From the first request to the kill."""
    delivered_before: int
    delivered: int
    since_kill: float
    since_restart: float
    """The restart is when the new host serves."""


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the kills; 1 where a device was not delivered in time."""
    parser = parser_of("host_kills")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--at-most", type=float, default=300, help="seconds for each kill")
    parsed = parser.parse_args(arguments)
    kills = asyncio.run(_measure(parsed, trust))
    output = json.dumps([asdict(kill) for kill in kills]) if parsed.json else _table(kills)
    sys.stdout.write(f"{output}\n")
    in_time = all(
        kill.delivered == parsed.devices and kill.since_restart <= _GOAL_SECONDS for kill in kills
    )
    return 0 if in_time else 1


async def _measure(arguments: argparse.Namespace, trust: Trust) -> list[Kill]:
    plants = [f"plant{number:02}" for number in range(arguments.kills)]
    registries = [ConnectedRegistryOptions(name=name) for name in plants]
    kills = []
    async with running_bench(trust, registries, Setup(on_change=lambda _: None)) as bench:
        for number, plant in enumerate(plants):
            devices = [f"{plant}-device-{n:02}" for n in range(arguments.devices)]
            after = _STEP_SECONDS * (number + 1)
            kill = await _kill(bench, plant, devices, after=after, most=arguments.at_most)
            kills.append(kill)
            if not arguments.json:
                sys.stderr.write(f"{kill}\n")
    return kills


async def _kill(bench: Bench, plant: str, devices: list[str], *, after: float, most: float) -> Kill:
    """Onboard devices at one connected registry, and kill the host while it works at them."""
    bench.register(devices)
    host = bench.app.hosts.all()[0]
    started = time.monotonic()
    await asyncio.gather(*(bench.ask(device, connectedRegistry=plant) for device in devices))
    await asyncio.sleep(max(0.0, started + after - time.monotonic()))
    killed_at = time.monotonic()
    delivered_before = sum(map(bench.is_delivered, devices))
    host.kill()
    give_up = killed_at + most
    await _until(lambda: not host.serves, give_up)
    await _until(lambda: host.serves, give_up)
    restarted_at = time.monotonic()
    await _until(lambda: all(map(bench.is_delivered, devices)), give_up)
    now = time.monotonic()
    return Kill(
        after_seconds=round(killed_at - started, 1),
        delivered_before=delivered_before,
        delivered=sum(map(bench.is_delivered, devices)),
        since_kill=round(now - killed_at, 1),
        since_restart=round(now - restarted_at, 1),
    )


async def _until(is_so: Callable[[], bool], give_up: float) -> None:
    while not is_so() and time.monotonic() < give_up:  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(_POLL_SECONDS)


def _table(kills: list[Kill]) -> str:
    rows = [
        f"| {kill.after_seconds} | {kill.delivered_before} | {kill.delivered} "
        f"| {kill.since_kill} | {kill.since_restart} |"
        for kill in kills
    ]
    heading = "| Killed after | Delivered before | Delivered | Seconds since kill | Since restart |"
    longest = max(kill.since_restart for kill in kills)
    return "\n".join((heading, "|---|---|---|---|---|", *rows, f"\nlongest {longest} s"))
