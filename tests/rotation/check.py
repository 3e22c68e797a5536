"""Breadth-first search through all states of a model, with the shortest trace to a fault."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tests.rotation.model import (
    PROGRESS,
    Kind,
    Model,
    beginnings,
    ends_kept,
    is_locked_out,
    is_settled,
)
from tests.rotation.state import State

LOCKED_OUT = "a device is locked out"
ENDED = "a password ends that edgeAgent's own image may need"
STUCK = "nobody has anything left to do, and the device is not in order"
FOR_EVER = "it goes on for ever"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a search found. `trace` is what leads from `begin` to the fault, as short as any."""

    states: int
    transitions: int
    fault: str | None = None
    begin: State | None = None
    trace: tuple[Kind, ...] = ()


@dataclass
class _Search:
    """The states by their number, each with the number of the one before it."""

    model: Model
    states: dict[State, int] = field(default_factory=dict)
    reached_by: list[tuple[int, Kind] | None] = field(default_factory=list)
    progress: list[tuple[int, ...]] = field(default_factory=list)
    queue: deque[State] = field(default_factory=deque)
    transitions: int = 0

    def run(self) -> Result:
        for beginning in beginnings(self.model.to):
            self._reach(self.model.canonical(beginning), None)
        while self.queue:
            state = self.queue.popleft()
            number, further = len(self.progress), []
            for move in self.model.moves(state):
                after = self.model.canonical(move.after)
                if after == state:
                    continue
                self.transitions += 1
                is_new = after not in self.states
                reached = self._reach(after, (number, move.kind))
                if move.kind in PROGRESS:
                    further.append(reached)
                if is_new and is_locked_out(after, self.model):
                    return self._fault(LOCKED_OUT, reached)
                if ends_kept(state, move.after, self.model):
                    return self._fault(ENDED, reached)
            self.progress.append(tuple(further))
            if not further and not is_settled(state, self.model):
                return self._fault(STUCK, number)
        if (on_a_cycle := self._on_a_cycle()) is not None:
            return self._fault(FOR_EVER, on_a_cycle)
        return Result(states=len(self.states), transitions=self.transitions)

    def _reach(self, state: State, by: tuple[int, Kind] | None) -> int:
        number = self.states.setdefault(state, len(self.states))
        if number == len(self.reached_by):
            self.reached_by.append(by)
            self.queue.append(state)
        return number

    def _on_a_cycle(self) -> int | None:
        """A state from which progress leads back to it, None where progress always ends."""
        coming = [0] * len(self.progress)
        for further in self.progress:
            for number in further:
                coming[number] += 1
        ready = [number for number, count in enumerate(coming) if not count]
        while ready:
            for number in self.progress[ready.pop()]:
                coming[number] -= 1
                if not coming[number]:
                    ready.append(number)
        return next((number for number, count in enumerate(coming) if count), None)

    def _fault(self, fault: str, number: int) -> Result:
        trace = list[Kind]()
        while (by := self.reached_by[number]) is not None:
            number, kind = by
            trace.append(kind)
        return Result(
            states=len(self.states),
            transitions=self.transitions,
            fault=fault,
            begin=list(self.states)[number],
            trace=tuple(reversed(trace)),
        )


def explore(model: Model) -> Result:
    """Explore all states, up to the first fault: a shortest trace leads to it.

    No state may lock the device out. Where everybody takes its turn, the device is in order in
    the end: progress alone never leads back to a state, and ends only in states in order.
    """
    return _Search(model).run()
