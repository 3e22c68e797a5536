"""Whole lives by a seed: messages in any order on hosts whose clocks are five minutes apart,
requests in the middle of a pass, and everything that can happen to three devices."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.tally import Chaos
from tests.firstpull.promises.test_promise_order import Story
from tests.firstpull.promises.test_promise_requests import PAIRS, check, play
from tests.lifetime.machine import Lifetime
from tests.lifetime.profiles import thorough

STORIES = 300
MOST_CALLS = 40
"""Of a pass, and often of the next one."""
LIVES = 300
_STEPS = 30


async def hosts_apart(chaos: Chaos) -> None:
    """Requests, revokes and webhooks that are late, repeated and out of order."""
    for number in chaos.some(range(STORIES), name="stories"):
        with chaos.case(f"story {number}"):
            story = Story(chaos.chance(f"story {number}").randrange(2**32))
            await story.run()
            messages = {"message that may be late, repeated or out of order": len(story.sent)}
            chaos.count({**messages, "hosts up to five minutes apart": 1}, {"P7": 1, "P8": 1})
            chaos.count({}, story.harness.cloud.watch.checked)


async def requests_in_a_pass(chaos: Chaos) -> None:
    """Each request at each call of a pass that carries another one out; every second one dies."""
    cases = [(names, call) for names in PAIRS for call in range(1, MOST_CALLS + 1)]
    for names, call in chaos.some(cases, name="requests"):
        crash = chaos.chance(f"{names} {call}").random() < 0.5
        with chaos.case(f"{' then '.join(names)}, at call {call}"):
            life = await play(names, (call,), crash=crash)
            if life is None:
                continue  # the pass has fewer calls
            await check(life)
            chaos.count({"request in a pass": 1, "crash after": int(crash)}, {"P3": 1})
            chaos.count({}, life.harness.cloud.watch.checked)


class _Counted(Lifetime):
    """Counts what its worlds met."""

    lives: ClassVar[list[Lifetime]] = []

    def __init__(self) -> None:
        super().__init__()
        self.lives.append(self)


async def lifetimes(chaos: Chaos) -> None:
    """Devices from their first request to their last revoke, as a state machine draws them."""
    examples = max(1, round(LIVES * chaos.share))
    machine = seed(chaos.seed)(_Counted)
    _Counted.lives.clear()
    with chaos.case("lifetimes"):
        profile = thorough(examples=examples, steps=_STEPS)
        # Each life has an event loop of its own, which this one does not allow beside it.
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=profile)
    chaos.tally.cases += len(_Counted.lives) - 1
    for life in _Counted.lives:
        met = Counter({"fault or crash at a call": life.world.cloud.faults_met})
        chaos.count(met, life.world.cloud.watch.checked)
