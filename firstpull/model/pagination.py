"""All records of a query, page by page.

A page may be empty and have a next one: the table service goes through its partitions one by
one where a query names no key (query-timeout-and-pagination).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from firstpull.model.device_record import DeviceRecord
from firstpull.model.ports import Page, Query, Records

_MOST = 1000
"""Records on a page; the table service gives no more."""


async def every_page(records: Records, query: Query) -> AsyncIterator[Page]:
    """The pages of a query, each as large as the service allows."""
    after: str | None = None
    while True:
        page = await records.page(replace(query, after=after, size=_MOST))
        yield page
        after = page.next_page
        if after is None:
            return


async def every_record(records: Records, query: Query) -> AsyncIterator[DeviceRecord]:
    """The records of a query that can be read."""
    async for page in every_page(records, query):
        for record in page.records:
            yield record
