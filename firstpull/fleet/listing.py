"""The records of a query in an order that the table does not have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from firstpull.model.device_record import DeviceRecord
from firstpull.model.pagination import every_page, foreign_next, next_after, place_in
from firstpull.model.ports import Page, Query, Records
from firstpull.model.schedule import NEVER


class Order(StrEnum):
    """What a listing is ordered by: the id, the longest in its state, the next to expire."""

    DEVICE_ID = "deviceId"
    SINCE = "since"
    EXPIRES_ON = "expiresOn"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Lists records in an order. Each page reads all records of the query."""

    records: Records

    async def page(self, query: Query, order: Order) -> Page:
        """The records of the query after `query.after`. Raises Invalid for a foreign `after`."""
        start = _read(query.after) if query.after is not None else ("", "", "")
        found: list[tuple[tuple[str, str, str], DeviceRecord]] = []
        async for page in every_page(self.records, replace(query, after=None)):
            found += [(_key(record, order), record) for record in page.records]
        found = sorted((one for one in found if one[0] > start), key=lambda one: one[0])
        shown = found[: query.size]
        last = shown[-1][0] if len(found) > len(shown) else None
        return Page(
            records=tuple(record for _, record in shown),
            next_page=next_after(last) if last is not None else None,
        )


def _key(record: DeviceRecord, order: Order) -> tuple[str, str, str]:
    """Where a record stands in an order; the device decides between equals."""
    delivery, since = record.status.delivery, record.status.condition.since
    first = {
        Order.DEVICE_ID: record.device.device_id,
        Order.SINCE: _text(since),
        Order.EXPIRES_ON: _text(delivery.expires_at if delivery is not None else NEVER),
    }[order]
    return (first, record.device.device_id, record.device.hub)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def _read(after: str) -> tuple[str, str, str]:
    try:
        first, device_id, hub = place_in(after)
        return str(first), str(device_id), str(hub)
    except (ValueError, TypeError):
        raise foreign_next("listing") from None
