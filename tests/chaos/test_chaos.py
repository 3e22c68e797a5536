"""A share of `make chaos`: some cases in the fast tier, more in the slow one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from multiprocessing import active_children

import pytest

from tests.chaos.fuzz.part import fuzz_one, kept_for
from tests.chaos.fuzz.targets import TARGETS
from tests.chaos.hostile import in_storms
from tests.chaos.lab import Lab
from tests.chaos.parts import PARTS, tally_of
from tests.chaos.processes import tallies
from tests.chaos.real_crashes import REAL_SCENARIOS, crash_at_every_request, own_lab
from tests.chaos.tally import Chaos, Part, run_part

SEED = int(os.environ.get("CHAOS_SEED", "14"))
IN_MEMORY = [
    "one-crash",
    "two-crashes",
    "two-workers",
    "three-workers",
    "random-schedules",
    "requests-in-a-pass",
]
SHARES = pytest.mark.parametrize(
    "share",
    [
        pytest.param(0.002, id="a few"),
        pytest.param(0.03, id="some", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)


def a_share(part: str, share: float) -> Chaos:
    return Chaos(part=part, seed=SEED, share=share)


async def check(part: Part, chaos: Chaos) -> None:
    """Run a part, which has to try something and to find nothing."""
    tally = await run_part(part, chaos)
    assert tally.cases
    assert not tally.failures, f"make chaos SEED={SEED}: " + "\n".join(tally.failures)


@SHARES
@pytest.mark.parametrize("part", IN_MEMORY)
async def test_no_crash_and_no_schedule_breaks_a_promise(part: str, share: float) -> None:
    await check(PARTS[part], a_share(part, share))


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_what_the_release_before_stored_is_worked_on_and_handed_back() -> None:
    await check(PARTS["upgrade"], a_share("upgrade", 0.05))


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with own_lab(a_share("real", 0.02)) as lab:
        yield lab


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REAL_SCENARIOS)
async def test_a_process_that_dies_at_a_request_leaves_the_device_to_the_next(
    lab: Lab, name: str
) -> None:
    chaos = a_share(name, 0.01)
    await crash_at_every_request(chaos, lab, name)
    assert not chaos.tally.failures, f"make chaos SEED={SEED}: " + "\n".join(chaos.tally.failures)
    assert chaos.tally.faults.total() >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_hostile_azure_breaks_no_promise(lab: Lab) -> None:
    chaos = a_share("storms", 0.01)
    await in_storms(chaos, lab, range(len(REAL_SCENARIOS)))
    assert not chaos.tally.failures, f"make chaos SEED={SEED}: " + "\n".join(chaos.tally.failures)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", TARGETS)
def test_odd_input_gets_an_answer(target: str) -> None:
    chaos = a_share("fuzz", 0.05)
    fuzz_one(chaos, target, seconds=2.0)
    assert not chaos.tally.failures, f"make chaos SEED={SEED}: " + "\n".join(chaos.tally.failures)


@pytest.mark.parametrize("target", TARGETS)
def test_every_sample_is_valid_and_kept_input_stays_answered(target: str) -> None:
    assert all(TARGETS[target].check(body) for body in TARGETS[target].bodies)
    for path in kept_for(target):
        TARGETS[target].check(path.read_bytes())


def test_a_part_that_ends_by_an_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(chaos: Chaos) -> None:
        with chaos.case("the first"):
            raise OSError("no port is free")

    monkeypatch.setitem(PARTS, "upgrade", ends)
    tally = tally_of(a_share("upgrade", 1))
    assert tally.cases == 1
    assert "no port is free" in tally.failures[0]


async def test_an_interrupted_run_ends_the_part_that_runs_and_starts_no_other() -> None:
    runs = [a_share("three-workers", 1), a_share("one-crash", 1)]  # a quarter of an hour, whole

    async def run() -> list[str]:
        return [part async for part, _ in tallies(runs, at_once=1)]

    running = asyncio.create_task(run())
    while not active_children():  # noqa: ASYNC110 - a process says nothing
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not active_children()
