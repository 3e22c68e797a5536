"""The history of a device: its last log events, kept in its record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from firstpull.model.clock import Clock, StoredTime
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import InProgress
from firstpull.observability.log import FieldValue, emit
from firstpull.observability.log_events import LogEvent

_RECENT = 8
"""How far back an entry counts as the same failure, repeated."""
LENGTH = 50
"""Entries that a record keeps; the log has the rest."""
_REQUESTS = 20
"""Of them, requests that later entries do not push out."""
_LONGEST_DETAIL = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One log event of a device, by its name. `by` is the requester, where there is one.

    A failure that repeats is one entry: `count` of them, from `first_at` to `at`.
    """

    at: StoredTime
    event: str
    detail: str = ""
    by: str | None = None
    count: int = 1
    first_at: StoredTime | None = None


def extended(
    history: tuple[HistoryEntry, ...], entries: Iterable[HistoryEntry]
) -> tuple[HistoryEntry, ...]:
    """The history with later entries, without the oldest where it would be too long.

    The latest requests stay longer than what was done for them: an audit asks for those.
    """
    every = [*history, *entries]
    surplus = len(every) - LENGTH
    if surplus <= 0:
        return tuple(every)
    requests = {id(e) for e in [e for e in every if e.by is not None][-_REQUESTS:]}
    dropped = {id(e) for e in [e for e in every if id(e) not in requests][:surplus]}
    return tuple(e for e in every if id(e) not in dropped)


def with_repeated(
    history: tuple[HistoryEntry, ...], failure: HistoryEntry
) -> tuple[HistoryEntry, ...]:
    """The history with a failure, counted with the recent entry that says the same."""
    recent = history[-_RECENT:]
    same = [e for e in recent if (e.event, e.detail) == (failure.event, failure.detail)]
    if not same:
        return extended(history, [failure])
    before = same[-1]
    counted = replace(failure, count=before.count + 1, first_at=before.first_at or before.at)
    return extended(tuple(e for e in history if e is not before), [counted])


def entry(
    event: LogEvent, *, at: datetime, detail: str = "", by: str | None = None
) -> HistoryEntry:
    """An entry, its detail cut to a bounded length."""
    return HistoryEntry(at=at, event=event.value, detail=detail[:_LONGEST_DETAIL], by=by)


_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Logs what a worker does to a device, and collects the entries for the record."""

    device: DeviceKey
    clock: Clock
    began_at: datetime = _NEVER
    """When the worker began to look at the device; by default it has seen all that was done."""
    entries: list[HistoryEntry] = field(default_factory=list)

    def note(self, event: LogEvent, **fields: FieldValue) -> None:
        """Log an event and add it to the entries."""
        emit(event, hub=self.device.hub, device_id=self.device.device_id, **fields)
        detail = ", ".join(f"{name} {value}" for name, value in fields.items())
        self.entries.append(entry(event, at=self.clock.now(), detail=detail))

    @contextmanager
    def noting(self, event: LogEvent, **fields: FieldValue) -> Iterator[None]:
        """Note an event after a write that succeeded, or whose effect is still to come."""
        try:
            yield
        except InProgress:
            self.note(event, **fields)
            raise
        self.note(event, **fields)
