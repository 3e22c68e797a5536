"""Several instances keep one bucket of requests nearly empty, in a time that passes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from firstpull.model.pace import Pace, for_timer

CAPACITY, GAINS = 200, 10.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time passes when nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        ready = self._selector.select  # type: ignore[attr-defined]

        def select(seconds: float | None = None) -> object:
            events = ready(0)
            if not events:
                self._now += seconds or 0.0
            return events

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def run[T](work: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    """What the work returns, and the seconds that it took."""

    async def timed() -> tuple[T, float]:
        return await work(), asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(timed())


@dataclass
class Service:
    """A bucket of requests, as Azure Resource Manager has it."""

    left: float = CAPACITY
    at: float = 0.0
    refused: int = 0
    sent: list[str] = field(default_factory=list)

    async def take(self, pace: Pace, *, by: str = "", seconds: float = 0.6) -> None:
        """Send a request, again where it is refused."""
        loop = asyncio.get_running_loop()
        while True:
            await pace.turn()
            pace.sent()
            await asyncio.sleep(seconds / 2)
            self.left = min(CAPACITY, self.left + (loop.time() - self.at) * GAINS)
            self.at = loop.time()
            is_taken = self.left >= 1
            self.left -= is_taken
            left = int(self.left)
            await asyncio.sleep(seconds / 2)
            pace.answered(left)
            if is_taken:
                self.sent.append(by)
                return
            self.refused += 1
            pace.refused(1.0)


async def onboard(service: Service, instances: int, devices: int) -> float:
    """Onboard devices, 64 at a time in each instance; the longest that one took in seconds."""
    left, longest, loop = devices, 0.0, asyncio.get_running_loop()

    async def worker(pace: Pace) -> None:
        nonlocal left, longest
        while left > 0:
            left -= 1
            await pace.admit(2.2)
            begun = loop.time()
            await service.take(pace)
            await asyncio.sleep(0.7)
            await service.take(pace)
            longest = max(longest, loop.time() - begun)

    paces = [Pace(gains=GAINS) for _ in range(instances)]
    await asyncio.gather(*(worker(pace) for pace in paces for _ in range(64)))
    return longest


@pytest.mark.parametrize("instances", [1, 4, 10])
def test_instances_that_know_of_no_other_take_all_that_the_bucket_gives(instances: int) -> None:
    service, devices = Service(), 600
    longest, seconds = run(lambda: onboard(service, instances, devices))
    least = (2 * devices - CAPACITY) / GAINS
    assert len(service.sent) == 2 * devices
    assert seconds <= 1.15 * least
    if instances <= 4:
        assert longest < 90  # a claim is renewed no longer
        assert service.refused <= 0.05 * len(service.sent)


def test_a_burst_that_the_bucket_has_room_for_waits_for_nothing() -> None:
    service = Service()
    _, seconds = run(lambda: onboard(service, 1, 40))
    assert service.refused == 0
    assert seconds < 2.1  # two requests and the pause between them take 1.9


def test_a_timer_takes_what_nobody_waits_for() -> None:
    service = Service(left=60)

    async def both() -> None:
        pace = Pace(gains=GAINS)

        async def many(by: str, count: int) -> None:
            for _ in range(count):
                await service.take(pace, by=by)

        async def sweep() -> None:
            with for_timer():
                await many("timer", 60)

        sweeping = asyncio.create_task(sweep())
        await asyncio.gather(*(many("request", 12) for _ in range(20)))
        sweeping.cancel()

    _, _ = run(both)
    assert service.sent.count("request") == 240
    assert service.sent.count("timer") <= 60


def test_nobody_stands_behind_a_timer() -> None:
    service = Service(left=20)

    async def request_after_a_timer() -> float:
        pace, loop = Pace(gains=GAINS), asyncio.get_running_loop()
        await service.take(pace)

        async def sweep() -> None:
            with for_timer():
                await service.take(pace, by="timer")

        sweeping = asyncio.create_task(sweep())
        await asyncio.sleep(0)
        before = loop.time()
        await service.take(pace)
        took = loop.time() - before
        assert service.sent == ["", ""]
        sweeping.cancel()
        return took

    took, _ = run(request_after_a_timer)
    assert took < 2  # the timer waits for longer than that


def test_looks_that_nobody_waits_for_take_what_is_left() -> None:
    async def looks(left: float) -> int:
        pace, taken = Pace(gains=GAINS), 0
        for _ in range(60):
            pace.sent()
            pace.answered(left)
            taken += pace.has_room(4)
            await asyncio.sleep(1)
        return taken

    assert run(lambda: looks(180.0))[0] == 60
    assert 1 < run(lambda: looks(5.0))[0] < run(lambda: looks(40.0))[0] < 60


def test_a_refusal_stops_all_until_the_service_said() -> None:
    async def refused() -> float:
        pace, loop = Pace(gains=GAINS), asyncio.get_running_loop()
        await pace.turn()
        pace.sent()
        pace.answered(None)
        pace.refused(5.0)
        await pace.turn()
        return loop.time()

    at, _ = run(refused)
    assert at >= 5
