"""Faults on request: what a cloud does on a bad day, at a call of your choice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """How a call goes wrong."""

    STATUS = "status"  # answered with an error status; nothing took effect
    ANSWER_LOST = "answerLost"  # took effect, then the connection broke
    RESET = "reset"  # the connection broke before anything took effect
    DELAY = "delay"  # served, later


@dataclass
class Fault:
    """One rule. `operation` is a regular expression on `service.operation`, matched whole.

    `skip` calls pass first, then `times` calls go wrong; `times=None` means all of them.
    """

    operation: str
    kind: FaultKind
    status: int = 503
    code: str | None = None  # the service's own error code; each service has its default
    retry_after: str | None = None  # the header as it goes out: seconds or an HTTP date
    seconds: float = 0.0  # of a delay
    skip: int = 0
    times: int | None = 1
    hits: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = re.compile(self.operation)

    def takes(self, operation: str) -> bool:
        """Whether this rule makes this call go wrong. Counts the call when it matches."""
        if not self._pattern.fullmatch(operation):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force, first match first."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.latency_seconds: tuple[float, float] = (
            0.0,
            0.0,
        )  # least and most, added to every call

    def add(self, fault: Fault) -> None:
        """Put a rule in force, after those that are."""
        self.rules.append(fault)

    def clear(self) -> None:
        """No faults and no latency."""
        self.rules.clear()
        self.latency_seconds = (0.0, 0.0)

    def next_for(self, operation: str) -> Fault | None:
        """The rule that this call falls under, if any."""
        return next((rule for rule in self.rules if rule.takes(operation)), None)
