"""Many requests that change the same record at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from firstpull.model.errors import Conflict, Transient
from firstpull.model.reasons import Reason
from firstpull.model.record_update import ATTEMPTS, retried
from tests.firstpull.harness import Harness

EQUAL = 50


@dataclass
class SleepingClock:
    """Notes how long somebody sleeps, and takes no time."""

    slept: list[float]

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def refused(times: int) -> Callable[[], Awaitable[str]]:
    """A write that meets so many conflicts."""
    left = iter(range(times))

    async def write() -> str:
        if next(left, None) is not None:
            raise Conflict("The record has changed.")
        return "written"

    return write


async def pauses(conflicts: int, *, chance: float) -> list[float]:
    """How long is waited before each further try."""
    clock = SleepingClock([])
    assert await retried(refused(conflicts), clock=clock, chance=lambda: chance) == "written"
    return clock.slept


async def ask_at_once(harness: Harness, count: int) -> None:
    """Equal messages at all processes, each with an id of its own."""
    request, now = harness.request(), harness.clock.now()

    async def ask(number: int) -> None:
        process = harness.processes[number % len(harness.processes)]
        await process.onboarding.ask(
            request, requested_by="a test", asked_at=now, message_id=f"message {number}"
        )

    await asyncio.gather(*map(ask, range(count)))


def remembered(harness: Harness) -> int:
    """Messages that the record remembers, each by a write."""
    (record,) = harness.cloud.all_records()
    return len(record.spec.messages)


async def test_a_write_after_a_conflict_waits_longer_each_time_and_never_long() -> None:
    slept = await pauses(ATTEMPTS - 1, chance=1.0)
    assert slept == sorted(slept)
    assert slept[0] < slept[-1] <= 1
    assert await pauses(ATTEMPTS - 1, chance=0.0) == [0.0] * (ATTEMPTS - 1)
    assert await pauses(0, chance=1.0) == []


async def test_a_record_that_others_change_all_the_time_is_an_error_that_passes() -> None:
    clock = SleepingClock([])
    with pytest.raises(Transient) as error:
        await retried(refused(ATTEMPTS), clock=clock, chance=lambda: 1.0)
    assert error.value.reason is Reason.CHANGED_MEANWHILE
    assert len(clock.slept) == ATTEMPTS - 1


async def test_equal_messages_at_one_process_do_not_stand_in_each_others_way() -> None:
    harness = Harness()
    await ask_at_once(harness, EQUAL)
    assert remembered(harness) == EQUAL
    writes = [call for call in harness.cloud.calls if call in ("records.insert", "records.replace")]
    assert len(writes) == EQUAL


async def test_equal_messages_at_many_processes_are_all_taken() -> None:
    harness = Harness(processes=4)
    await ask_at_once(harness, EQUAL)
    assert remembered(harness) == EQUAL
