"""Counts of every call that reached a service: what a workflow costs, in requests."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One request as it arrived. No body and no header, so no secret can be kept here."""

    service: str
    operation: str
    method: str
    path: str
    status: int


class CallLog:
    """The counts since the last reset, and the latest calls in order."""

    def __init__(self, keep: int = 20_000) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latest: deque[Call] = deque(maxlen=keep)

    def add(self, call: Call) -> None:
        """Count one call."""
        self._counts[(call.service, call.operation)] += 1
        self._latest.append(call)

    def counts(self) -> dict[str, int]:
        """`service.operation` to number of calls."""
        return {f"{service}.{name}": n for (service, name), n in sorted(self._counts.items())}

    def latest(self) -> list[Call]:
        """The latest calls, oldest first."""
        return list(self._latest)

    def reset(self) -> None:
        """Forget everything counted so far."""
        self._counts.clear()
        self._latest.clear()
