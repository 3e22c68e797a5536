"""Fault injection at chosen operations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from local_azure.kernel.latency import Latency


class FaultKind(StrEnum):
    """The kinds of faults."""

    STATUS = "status"  # an error status without an effect
    ANSWER_LOST = "answerLost"  # the operation takes effect, then the connection breaks
    RESET = "reset"  # the connection breaks before the operation takes effect
    DELAY = "delay"  # a late answer


@dataclass
class Fault:
    """One rule. `operation` is a regular expression that matches all of `service.operation`.

    After `skip` calls `times` calls fail; `times=None` means all.
    """

    operation: str
    kind: FaultKind
    status: int = 503
    code: str | None = None  # the service's own, of Key Vault also an inner one; has defaults
    retry_after: str | None = None  # the header: seconds or an HTTP date
    seconds: float = 0.0  # of a delay
    skip: int = 0
    times: int | None = 1
    hits: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = re.compile(self.operation)

    def applies_to(self, operation: str) -> bool:
        """Whether this call fails. Counts the call if the operation matches."""
        if not self._pattern.fullmatch(operation):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class RandomFaults(Protocol):
    """Faults that no rule names."""

    def next_for(self, operation: str) -> Fault | None:
        """What this call meets, if anything."""
        ...


class Faults:
    """The current rules; the first one that applies wins. Without one, a storm decides."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.storm: RandomFaults | None = None
        self.latency = Latency()

    def add(self, fault: Fault) -> None:
        """Add a rule after the others."""
        self.rules.append(fault)

    def clear(self) -> None:
        """Remove all rules, the storm and the latency."""
        self.rules.clear()
        self.storm = None
        self.latency = Latency()

    def next_for(self, operation: str) -> Fault | None:
        """The rule that applies to this call, if any."""
        rule = next((rule for rule in self.rules if rule.applies_to(operation)), None)
        if rule is None and self.storm is not None:
            return self.storm.next_for(operation)
        return rule
