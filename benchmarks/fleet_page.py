"""How long the fleet page takes: `python -m benchmarks fleet_page --devices 2500`.

A fleet has logged in. Each page is asked for after what the host had read before is too old to be
shown again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.apps import Bench, Setup, running_bench
from benchmarks.command import parser_of, print_json
from benchmarks.fleet import connected_registries_for, put_in
from benchmarks.trust import Trust

_PAGES = 5
_TOO_OLD_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class FleetPage:
    """The page of a fleet: its size, and how long it took at first and later."""

    devices: int
    bytes: int
    first_seconds: float
    median_seconds: float


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print how long the page takes."""
    parser = parser_of("fleet_page")
    parser.add_argument("--devices", type=int, default=2_500)
    parsed = parser.parse_args(arguments)
    print_json(
        asdict(asyncio.run(measure(trust, devices=parsed.devices))), for_programs=parsed.json
    )
    return 0


async def measure(trust: Trust, *, devices: int) -> FleetPage:
    """Ask for the page of this many devices."""
    setup = Setup(prepare=lambda stack: put_in(stack, devices))
    async with running_bench(trust, connected_registries_for(devices), setup) as b:
        pages = [await _page(b)]
        for _ in range(_PAGES):
            await asyncio.sleep(_TOO_OLD_SECONDS)
            pages.append(await _page(b))
    (first, size), *later = pages
    return FleetPage(
        devices=devices,
        bytes=size,
        first_seconds=round(first, 3),
        median_seconds=round(median(seconds for seconds, _ in later), 3),
    )


async def _page(bench: Bench) -> tuple[float, int]:
    headers = {"x-functions-key": bench.app.page_key}
    begun = time.monotonic()
    async with bench.session.get(bench.app.page, headers=headers) as answer:
        answer.raise_for_status()
        content = await answer.read()
    return time.monotonic() - begun, len(content)
