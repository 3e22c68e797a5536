"""What a minute of rest costs: `python -m benchmarks at_rest --devices 250`.

A fleet has logged in, and nothing is due. One host counts a minute in which the timer requeues
overdue devices twice, and then one run of the timer for the gauges, of which a minute has a fifth.
Queues are polled all the while, by the host and not by firstpull. The hourly sweep is a figure of
its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.apps import Bench, Setup, running_bench
from benchmarks.command import parser_of, print_json
from benchmarks.fleet import connected_registries_for, put_in
from benchmarks.trust import Trust
from local_azure.kernel.calls import CallLog

_MINUTE = 60.0
_GAUGES_EVERY = 5 * _MINUTE
_QUIET_SECONDS = 3.0
_AT_MOST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Calls of a minute of rest, by service and HTTP method or operation."""

    devices: int
    storage: Mapping[str, float]
    azure: Mapping[str, float]
    transactions_per_minute: float
    """Of storage, without the host's polling of its queues."""
    polls_per_minute: int
    azure_calls_per_minute: float


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print what a minute costs."""
    parser = parser_of("at_rest")
    parser.add_argument("--devices", type=int, default=250)
    parsed = parser.parse_args(arguments)
    rest = asyncio.run(measure(trust, devices=parsed.devices))
    print_json(asdict(rest), for_programs=parsed.json)
    return 0


async def measure(trust: Trust, *, devices: int) -> Rest:
    """A minute of rest of this many devices."""
    setup = Setup(prepare=lambda stack: put_in(stack, devices))
    async with running_bench(trust, connected_registries_for(devices), setup) as b:
        await _away_from_the_gauges()
        await _run(b, "requeue_overdue")  # the first one connects
        await _run(b, "measure")  # counts for the hour, as a sweep does
        await _quiet(b)
        minute = await _counted(b, lambda: asyncio.sleep(_MINUTE))
        gauges = await _counted(b, lambda: _run(b, "measure"))
    storage, azure = (
        {
            name: round(each[name] + of_gauges[name] * _MINUTE / _GAUGES_EVERY, 1)
            for name in sorted({*each, *of_gauges})
        }
        for each, of_gauges in zip(minute, gauges, strict=True)
    )
    polls = minute[0].get("queue.GET", 0)
    storage.pop("queue.GET", None)
    return Rest(
        devices=devices,
        storage=storage,
        azure=azure,
        transactions_per_minute=round(sum(storage.values()), 1),
        polls_per_minute=polls,
        azure_calls_per_minute=round(sum(azure.values()), 1),
    )


async def _away_from_the_gauges() -> None:
    """Wait until the timer of the gauges does not run within the next minute or so."""
    left = _GAUGES_EVERY - time.time() % _GAUGES_EVERY
    if left < _MINUTE * 1.5:
        await asyncio.sleep(left + _QUIET_SECONDS)


async def _run(bench: Bench, timer: str) -> None:
    """Run a timer's function, to its end."""
    headers = {"x-functions-key": bench.app.master_key}
    url = f"{bench.app.url}/admin/functions/{timer}"
    async with bench.session.post(url, json={}, headers=headers) as answer:
        answer.raise_for_status()
    await _quiet(bench)


async def _quiet(bench: Bench) -> None:
    """Wait until firstpull has called nothing for a while."""
    give_up, last, since = time.monotonic() + _AT_MOST_SECONDS, -1, time.monotonic()
    while time.monotonic() < min(give_up, since + _QUIET_SECONDS):
        storage, azure = _counts(bench)
        now = sum(n for name, n in storage.items() if name != "queue.GET") + azure.total()
        if now != last:
            last, since = now, time.monotonic()
        await asyncio.sleep(0.1)


async def _counted(
    bench: Bench, passing: Callable[[], Awaitable[None]]
) -> tuple[Counter[str], Counter[str]]:
    """The calls while something passes: to storage, and to the other services."""
    before = _counts(bench)
    await passing()
    after = _counts(bench)
    return after[0] - before[0], after[1] - before[1]


def _counts(bench: Bench) -> tuple[Counter[str], Counter[str]]:
    kernel = bench.stack.kernel
    return _counter(kernel.storage_calls), _counter(kernel.calls)


def _counter(log: CallLog) -> Counter[str]:
    return Counter({name: n for name, n in log.counts().items() if not name.startswith("identity")})
