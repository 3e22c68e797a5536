"""How many scenarios are played: a few in the fast tier, many in the slow one and on request."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

_COMMON = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    stateful_step_count=30,
)

FEW = settings(_COMMON, derandomize=True, max_examples=12)
MANY = settings(_COMMON, derandomize=True, max_examples=200)


def thorough(*, examples: int, steps: int) -> settings:
    """Other examples each time; the shortest scenario that fails is looked for."""
    return settings(_COMMON, max_examples=examples, stateful_step_count=steps)


def until_red(*, examples: int) -> settings:
    """Until one fails; which one does not matter."""
    return settings(_COMMON, max_examples=examples, phases=[Phase.generate])
