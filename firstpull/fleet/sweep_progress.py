"""How far a sweep has come. One whose time is over stops, and the next begins where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from firstpull.model.clock import Clock
from firstpull.model.sweep_report import Step, SweepPosition


class Progress:
    """The steps of one sweep, in the order of its own beginning, while there is time."""

    def __init__(
        self, *, clock: Clock, give_up: datetime, begins_at: SweepPosition | None = None
    ) -> None:
        self.stopped_at: SweepPosition | None = None
        """Where the next sweep begins; None for a sweep that did all."""
        self._clock = clock
        self._give_up = give_up
        self._begins_at = begins_at

    @property
    def is_out_of_time(self) -> bool:
        """Whether the sweep has to stop."""
        return self._clock.now() >= self._give_up

    def steps(self) -> Iterator[Step]:
        """Every step once, from where the last sweep stopped, until the time is over."""
        steps = list(Step)
        first = steps.index(self._begins_at.step) if self._begins_at is not None else 0
        for step in steps[first:] + steps[:first]:
            if self.is_out_of_time and self.stopped_at is None:
                self.stop(step)
            if self.stopped_at is not None:
                return
            yield step

    def each[T](self, step: Step, items: Sequence[T], name: Callable[[T], str]) -> Iterator[T]:
        """The items of a step in order, from where the last sweep stopped, while there is time."""
        begins_at, done = self._begins_at, ""
        if begins_at is not None and begins_at.step is step:
            done = begins_at.after
        for item in sorted(items, key=lambda item: (name(item) <= done, name(item))):
            if self.is_out_of_time:
                self.stop(step, after=done)
                return
            yield item
            done = name(item)

    def stop(self, step: Step, *, after: str = "") -> None:
        """Note that this step goes on after this item at the next sweep."""
        self.stopped_at = SweepPosition(step=step, after=after)
