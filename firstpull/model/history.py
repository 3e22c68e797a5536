"""What happened to a device: told to the log as it happens, and kept in its record, bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.observability.log import FieldValue, emit
from firstpull.observability.log_events import LogEvent

LENGTH = 50
"""Entries that a record keeps; the log has the rest."""
_LONGEST_DETAIL = 200


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One event of a device, by the name it has in the log. `by` is who asked, if somebody did."""

    at: datetime
    event: str
    detail: str = ""
    by: str | None = None


def extended(
    history: tuple[HistoryEntry, ...], entries: Iterable[HistoryEntry]
) -> tuple[HistoryEntry, ...]:
    """The history with later entries, the oldest gone where it would be too long."""
    return (*history, *entries)[-LENGTH:]


def entry(
    event: LogEvent, *, at: datetime, detail: str = "", by: str | None = None
) -> HistoryEntry:
    """An entry, its detail cut to a length that a record can hold."""
    return HistoryEntry(at=at, event=event.value, detail=detail[:_LONGEST_DETAIL], by=by)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What one worker did to one device: in the log at once, in the record at the end."""

    device: DeviceKey
    clock: Clock
    entries: list[HistoryEntry] = field(default_factory=list)

    def note(self, event: LogEvent, **fields: FieldValue) -> None:
        """Log an event and keep it for the record."""
        emit(event, hub=self.device.hub, device_id=self.device.device_id, **fields)
        detail = ", ".join(f"{name} {value}" for name, value in fields.items())
        self.entries.append(entry(event, at=self.clock.now(), detail=detail))
