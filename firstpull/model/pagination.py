"""All records of a query, page by page.

A page may be empty and have a next one: the table service goes through its partitions one by
one where a query names no key (query-timeout-and-pagination).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import FieldError, Invalid
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


def next_after(place: object) -> str:
    """The `next` of a page that ends at this place, which is JSON."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_in(after: str) -> Any:  # noqa: ANN401 - JSON
    """The place in a `next`. Raises ValueError for another text."""
    try:
        return json.loads(base64.urlsafe_b64decode(after.encode()))
    except RecursionError:
        raise ValueError("not a place") from None


def foreign_next(what: str) -> Invalid:
    """The error for an `after` that is no `next` of this kind of answer."""
    error = FieldError("after", f"is not a `next` of this {what}")
    return Invalid(f"The {what} cannot continue there.", errors=(error,))
