"""A burst of devices, by name and by site: `python -m benchmarks.site_burst --devices 96`.

The devices fill eight connected registries on a local Azure with the token buckets of Azure
Resource Manager and of an S1 hub: first each device names its connected registry, then all name
the site. Each burst has an Azure and a host of its own. A run takes about three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.trust import Trust, trusted_authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_azure.commands.function_app import FunctionApp
    from local_azure.stack import Stack

_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Burst:
    """What one burst took. `delivered` is below `devices` where the time was over."""

    devices: int
    delivered: int
    seconds: float
    arm_reads: int
    connected_registry_reads: int
    throttled: int
    identity_reads: int
    """Passes over devices that have nothing yet: more than `devices` where some began again."""

    @property
    def reads_per_device(self) -> float:
        """Reads of Azure Resource Manager for each device that was delivered to."""
        return round(self.arm_reads / max(self.delivered, 1), 2)


def main() -> int:
    """Print both bursts and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=96)
    parser.add_argument("--connected-registries", type=int, default=8)
    parser.add_argument("--at-most", type=float, default=100, help="seconds for each burst")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    with trusted_authority() as trust:
        bursts = {way: asyncio.run(_measure(way, arguments, trust)) for way in ("name", "site")}
    output = _json(bursts) if arguments.json else _table(bursts)
    sys.stdout.write(f"{output}\n")
    return 0


async def _measure(way: str, arguments: argparse.Namespace, trust: Trust) -> Burst:
    from benchmarks.apps import running_app  # noqa: PLC0415 - see `trusted_authority`
    from local_azure.stack import ConnectedRegistryOptions  # noqa: PLC0415 - see `trusted_authority`

    clients = math.ceil(arguments.devices / arguments.connected_registries)
    plants = [f"plant{number:02}" for number in range(arguments.connected_registries)]
    registries = [ConnectedRegistryOptions(name=name, max_clients=clients) for name in plants]

    def target(number: int) -> dict[str, str]:
        return (
            {"site": "plant"} if way == "site" else {"connectedRegistry": plants[number // clients]}
        )

    async with running_app(trust, registries) as (stack, app):
        return await _burst(stack, app, arguments, target)


async def _burst(
    stack: Stack,
    app: FunctionApp,
    arguments: argparse.Namespace,
    target: Callable[[int], dict[str, str]],
) -> Burst:
    import aiohttp  # noqa: PLC0415 - see `trusted_authority`

    from local_azure.iot_hub.identities import DeviceSettings  # noqa: PLC0415 - see `trusted_authority`

    names = [f"device-{number:04}" for number in range(arguments.devices)]
    for name in names:
        stack.hub.create_device(DeviceSettings(name))
    stack.kernel.calls.reset()
    started = time.monotonic()
    async with aiohttp.ClientSession(headers={"x-functions-key": app.key}) as session:

        async def ask(number: int, name: str) -> None:
            body = {"deviceId": name, "repositories": ["hello-world"], **target(number)}
            async with session.post(f"{app.url}/api/devices", json=body) as answer:
                answer.raise_for_status()

        await asyncio.gather(*(ask(number, name) for number, name in enumerate(names)))
        missing = set(names)
        while missing and time.monotonic() - started < arguments.at_most:
            await asyncio.sleep(_POLL_SECONDS)
            missing = {n for n in missing if "firstpull" not in stack.hub.twin(n).desired.values}
    seconds = time.monotonic() - started
    calls = [call for call in stack.kernel.calls.latest() if call.service == "arm"]
    reads = [call for call in calls if call.method == "GET"]
    return Burst(
        devices=len(names),
        delivered=len(names) - len(missing),
        seconds=round(seconds, 1),
        arm_reads=len(reads),
        connected_registry_reads=sum("connectedRegistries" in call.operation for call in reads),
        throttled=sum(call.status == 429 for call in calls),
        identity_reads=stack.kernel.calls.counts().get("iotHub.devices.get", 0),
    )


def _ratio(bursts: dict[str, Burst]) -> float:
    return round(bursts["site"].seconds / bursts["name"].seconds, 2)


def _json(bursts: dict[str, Burst]) -> str:
    figures = {
        way: {**asdict(burst), "reads_per_device": burst.reads_per_device}
        for way, burst in bursts.items()
    }
    return json.dumps({**figures, "site_over_name": _ratio(bursts)})


def _table(bursts: dict[str, Burst]) -> str:
    rows = [
        f"| {way} | {b.delivered} of {b.devices} | {b.seconds} | {b.reads_per_device} "
        f"| {b.connected_registry_reads} | {b.throttled} | {b.identity_reads} |"
        for way, b in bursts.items()
    ]
    heading = (
        "| By | Delivered | Seconds | ARM reads a device | Connected registry reads | 429 "
        "| Identity reads |"
    )
    return "\n".join(
        (heading, "|---|---|---|---|---|---|---|", *rows, f"\nsite/name {_ratio(bursts)}")
    )


if __name__ == "__main__":
    sys.exit(main())
