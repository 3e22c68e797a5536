"""Requests about devices, as the HTTP API shows them."""

from __future__ import annotations

from typing import Self

from firstpull.fleet.audit import AuditPage
from functions.answers.base import Answer, DeviceName, Time


class AuditEntry(DeviceName):
    """Who asked for what and when. `event` is the log event; `detail` says what was asked for."""

    at: Time
    by: str
    event: str
    detail: str | None


class Audit(Answer):
    """The requests about some devices. `next` leads to the next page; the last one has none.

    `unreadable` are the devices on the page whose record is damaged.
    """

    entries: tuple[AuditEntry, ...]
    unreadable: tuple[DeviceName, ...] | None
    next: str | None

    @classmethod
    def of(cls, page: AuditPage) -> Self:
        """The answer for a page."""
        return cls(
            entries=tuple(
                AuditEntry(
                    device_id=one.device.device_id,
                    hub=one.device.hub,
                    at=one.entry.at,
                    by=one.entry.by or "",
                    event=one.entry.event,
                    detail=one.entry.detail or None,
                )
                for one in page.entries
            ),
            unreadable=tuple(DeviceName.read(device) for device in page.unreadable) or None,
            next=page.next_page,
        )
