"""How far the machine goes: every day, thoroughly, and against a planted bug."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

_EVERY = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

EVERY_DAY = settings(_EVERY, derandomize=True, max_examples=200, stateful_step_count=30)


def thorough(*, examples: int, steps: int) -> settings:
    """Other examples each time; the shortest course that fails is looked for."""
    return settings(_EVERY, max_examples=examples, stateful_step_count=steps)


def until_red(*, examples: int, steps: int) -> settings:
    """Until one fails; which one does not matter."""
    return settings(thorough(examples=examples, steps=steps), phases=[Phase.generate])
