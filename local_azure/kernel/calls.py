"""Counts of all calls to the services, which show how many requests a workflow costs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One request, without headers and body, which may contain secrets."""

    service: str
    operation: str
    method: str
    path: str
    status: int


class CallLog:
    """The counts since the last reset, and the latest calls in order."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._statuses: Counter[tuple[str, int]] = Counter()
        self._latest: deque[Call] = deque(maxlen=20_000)

    def add(self, call: Call) -> None:
        """Count one call."""
        self._counts[(call.service, call.operation)] += 1
        self._statuses[(call.service, call.status)] += 1
        self._latest.append(call)

    def counts(self) -> dict[str, int]:
        """The number of calls of each `service.operation`."""
        return {f"{service}.{name}": n for (service, name), n in sorted(self._counts.items())}

    def statuses(self) -> Mapping[tuple[str, int], int]:
        """The number of answers of each service with each status; 0 where there was none."""
        return Counter(self._statuses)

    def latest(self) -> list[Call]:
        """The latest calls, the oldest first."""
        return list(self._latest)

    def reset(self) -> None:
        """Count from zero."""
        self._counts.clear()
        self._statuses.clear()
        self._latest.clear()
