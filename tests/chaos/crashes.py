"""A process dies before or after each of its calls; another one goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, product

from firstpull.model.delivery_kinds import DEFAULT_KIND
from tests.chaos.tally import DELIVERIES, Chaos, asks_for
from tests.firstpull.scenarios import SCENARIOS, Outcome, run
from tests.world.calls import Fault

CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
ONCE = (
    *("onboarding", "rotation", "rotation at once", "renewal", "move", "revoke", "adoption"),
    *("revoke and onboarding", "move there and back", "re-creation"),
)
"""The scenarios with one crash, at each call."""
TWICE = ("onboarding", "rotation")
"""Those with two crashes, at each pair of calls."""


async def one_crash(chaos: Chaos) -> None:
    """Before and after each call of each scenario."""
    for name, kind in product(ONCE, DELIVERIES):
        await one_crash_in(chaos, name, delivery=kind)


async def one_crash_in(chaos: Chaos, name: str, *, delivery: str = DEFAULT_KIND) -> None:
    """Before and after each call of one scenario, with one kind of delivery."""
    smooth = await _smooth(name, delivery)
    cases = [(number, kind) for number in range(1, smooth.calls + 20) for kind in CRASHES]
    for number, kind in chaos.some(cases, name=f"{name} {delivery}"):
        await _check(chaos, name, {number: kind}, smooth, delivery=delivery)
    if chaos.share >= 1:
        chaos.note(f"{name}, {delivery}: {len(cases)} crashes, all of them")


async def two_crashes(chaos: Chaos) -> None:
    """After each pair of calls: the second one while the first one is being repaired.

    A crash before a call leaves what a crash after the call before it left: a process that dies
    takes nothing along.
    """
    for name in TWICE:
        smooth = await _smooth(name)
        pairs = 0
        for first in chaos.some(range(1, smooth.calls + 1), name=name):
            pairs += await _second_crashes(chaos, name, first, smooth)
        chaos.note(f"{name}: {pairs} pairs of crashes, all of them" if chaos.share >= 1 else "")


async def _second_crashes(chaos: Chaos, name: str, first: int, smooth: Outcome) -> int:
    """A second crash after each call that follows, until a run ends before it; how many."""
    tried = 0
    for second in _seconds(chaos, name, first):
        faults = {first: Fault.CRASH_AFTER, second: Fault.CRASH_AFTER}
        outcome = await _check(chaos, name, faults, smooth)
        tried += 1
        if outcome is not None and outcome.faults_met < len(faults):
            break
    return tried


def _seconds(chaos: Chaos, name: str, first: int) -> Iterable[int]:
    if chaos.share >= 1:
        return count(first + 1)
    chance = chaos.chance(f"{name} {first}")
    return sorted(first + distance for distance in chance.sample(range(1, 60), 2))


async def _smooth(name: str, delivery: str = DEFAULT_KIND) -> Outcome:
    return await run(SCENARIOS[name], {}, asks_with=asks_for(delivery))


async def _check(
    chaos: Chaos,
    name: str,
    faults: Mapping[int, Fault],
    smooth: Outcome,
    *,
    delivery: str = DEFAULT_KIND,
) -> Outcome | None:
    """Play a scenario with these crashes; it has to end as without any."""
    at = ", ".join(f"{fault.value} call {number}" for number, fault in faults.items())
    outcome = None
    with chaos.case(f"{name}, {delivery}, {at}"):
        outcome = await run(SCENARIOS[name], faults, asks_with=asks_for(delivery))
        assert outcome.state == smooth.state, _differences(outcome.state, smooth.state)
        assert not outcome.writes_of_one_more_pass, dict(outcome.writes_of_one_more_pass)
    if outcome is not None:
        met = Counter(fault.value for fault in list(faults.values())[: outcome.faults_met])
        chaos.count(met, {**outcome.checked, "P3": 2})
    return outcome


def _differences(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return "P3: it ends otherwise: " + ", ".join(
        f"{name} is {one.get(name)} and not {other.get(name)}" for name in names
    )
