"""Who asked for what and when, from the histories of the records.

A record keeps its latest entries, so older requests are in the log alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstpull.model.device_key import DeviceKey
from firstpull.model.history import HistoryEntry
from firstpull.model.ports import Query, Records


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One request about a device."""

    device: DeviceKey
    entry: HistoryEntry


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """The requests about some devices, by time. `unreadable` are those of a damaged record."""

    entries: tuple[AuditEntry, ...]
    unreadable: tuple[DeviceKey, ...]
    next_page: str | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Lists requests. Each page is of other devices; revoked ones are among them."""

    records: Records

    async def page(
        self, *, since: datetime | None, until: datetime | None, after: str | None, size: int
    ) -> AuditPage:
        """The requests of a time about up to `size` devices. `until` itself is not part of it."""
        page = await self.records.page(Query(after=after, size=size))
        found = [
            AuditEntry(device=record.device, entry=entry)
            for record in page.records
            for entry in record.history
            if entry.by is not None
            and (since is None or entry.at >= since)
            and (until is None or entry.at < until)
        ]
        return AuditPage(
            entries=tuple(sorted(found, key=lambda one: (one.entry.at, one.device.device_id))),
            unreadable=page.unreadable,
            next_page=page.next_page,
        )
