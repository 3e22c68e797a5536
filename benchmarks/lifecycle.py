"""A rotation, a move and a revoke: `python -m benchmarks lifecycle`.

Each from the acceptance of its request, over the longest chain that the protocol needs. A rotation
waits for its site, which syncs every second: its floor has the first sync that could have
brought the password, as the site's own schedule had it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.apps import Bench, RequestRefused, running_bench
from benchmarks.command import parser_of, print_json
from benchmarks.floor import DELIVER_AFTER_SYNC, MOVE, REVOKE, ROTATE, longest_chain
from benchmarks.trust import Trust
from firstpull.model.password_slots import SYNC_MARGIN
from local_azure.container_registry.exceptions import ResourceNotFound
from local_azure.stack import ConnectedRegistryOptions

_OLD, _NEW = "plantold", "plantnew"
_POLL_SECONDS = 0.01
_AT_MOST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """Medians of one kind of change. `done`: those that ended within two minutes."""

    times: int
    done: int
    seconds: float
    floor_seconds: float
    floor_ratio: float
    ratios: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    seconds: float
    floor: float


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the figures."""
    parser = parser_of("lifecycle")
    parser.add_argument("--times", type=int, default=5)
    parsed = parser.parse_args(arguments)
    changes = asyncio.run(measure(trust, times=parsed.times))
    figures = {name: asdict(change) for name, change in changes.items()}
    print_json(figures, for_programs=parsed.json)
    return 0


async def measure(trust: Trust, *, times: int) -> dict[str, Change]:
    """Rotate, move and revoke as many devices, one after the other."""
    registries = [
        ConnectedRegistryOptions(name=name, sync_every_seconds=1.0) for name in (_OLD, _NEW)
    ]
    async with running_bench(trust, registries) as bench:
        devices = [f"life{number:02}" for number in range(times)]
        bench.register(devices)
        await asyncio.gather(*(bench.ask(device, connectedRegistry=_OLD) for device in devices))
        await bench.delivered(devices, at_most=_AT_MOST_SECONDS)
        rotations, moves, revokes = [], [], []
        for device in devices:
            await _log_in(bench, device, _OLD)
            rotations.append(await _rotate(bench, device))
        for device in devices:
            await _log_in(bench, device, _OLD)
            moves.append(await _move(bench, device))
        for device in devices:
            await _log_in(bench, device, _NEW)
            await bench.settled()
            revokes.append(await _revoke(bench, device))
    return {
        "rotation": _medians(rotations),
        "move": _medians(moves),
        "revoke": _medians(revokes),
    }


async def _rotate(bench: Bench, device: str) -> _Run:
    site = bench.stack.sites.get(_OLD)
    before = bench.delivery(device, _OLD)
    syncs: list[float] = []

    def is_done() -> bool:
        taken = site.backend.snapshot.taken_at.timestamp() if site is not None else 0.0
        if not syncs or syncs[-1] != taken:
            syncs.append(taken)
        return bench.delivery(device, _OLD) != before

    began = await _call(bench, "POST", f"devices/{device}/rotate")
    ended = await _until(is_done)
    made = longest_chain(ROTATE).seconds + SYNC_MARGIN.total_seconds()
    offset = time.time() - time.monotonic()
    brought = [sync - offset for sync in syncs if sync - offset > began + made]
    after = longest_chain(DELIVER_AFTER_SYNC).seconds
    return _Run(seconds=ended - began, floor=min(brought, default=ended) - began + after)


async def _move(bench: Bench, device: str) -> _Run:
    began = await _ask_for(bench, device, _NEW)
    ended = await _until(lambda: bench.delivery(device, _NEW) is not None)
    return _Run(seconds=ended - began, floor=longest_chain(MOVE).seconds)


async def _revoke(bench: Bench, device: str) -> _Run:
    registry = bench.stack.cloud.registries()[0]
    name = next(t.name for t in registry.tokens() if t.name.startswith(f"fp-{device}-"))

    def is_deleted() -> bool:
        try:
            return registry.token(name).provisioning.progress == "Deleting"
        except ResourceNotFound:
            return True

    began = await _call(bench, "DELETE", f"devices/{device}")
    ended = await _until(is_deleted)
    return _Run(seconds=ended - began, floor=longest_chain(REVOKE).seconds)


async def _log_in(bench: Bench, device: str, plant: str) -> None:
    """Report the login with what the twin holds, and wait until the device is ready.

    The same request again lets firstpull look at once, instead of at the device's next check.
    """
    bench.log_in(device, plant)
    give_up = time.monotonic() + _AT_MOST_SECONDS
    while time.monotonic() < give_up:
        await _ask_for(bench, device, plant)
        await asyncio.sleep(1.5)
        found = await bench.view(device)
        if found["state"] == "Ready" and "leaving" not in found:
            return
    raise NotReady(f"{device} did not become ready")


class NotReady(Exception):
    """A device did not become ready, so that its next change cannot be measured."""


async def _ask_for(bench: Bench, device: str, plant: str) -> float:
    body = {"repositories": ["hello-world"], "connectedRegistry": plant}
    return await _call(bench, "PUT", f"devices/{device}", body)


async def _call(bench: Bench, method: str, path: str, body: object = None) -> float:
    """Send a request; the monotonic time at which it was accepted. Raises RequestRefused."""
    headers = {"x-functions-key": bench.app.key}
    url = f"{bench.app.url}/api/{path}"
    async with bench.session.request(method, url, json=body, headers=headers) as answer:
        if answer.status >= 300:
            raise RequestRefused(f"{answer.status} {await answer.text()}")
        return time.monotonic()


async def _until(is_done: Callable[[], bool]) -> float:
    """The monotonic time at which it was done, or infinity."""
    give_up = time.monotonic() + _AT_MOST_SECONDS
    while not is_done():
        if time.monotonic() > give_up:
            return float("inf")
        await asyncio.sleep(_POLL_SECONDS)
    return time.monotonic()


def _medians(runs: Sequence[_Run]) -> Change:
    done = [run for run in runs if run.seconds != float("inf")]
    ratios = sorted(run.seconds / run.floor for run in done)
    if not done:
        raise NotReady("no change was done in time")
    return Change(
        times=len(runs),
        done=len(done),
        seconds=round(median(run.seconds for run in done), 3),
        floor_seconds=round(median(run.floor for run in done), 3),
        floor_ratio=round(median(ratios), 3),
        ratios=tuple(round(ratio, 3) for ratio in ratios),
    )
