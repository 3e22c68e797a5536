"""A page of a query's results, and the token that leads to the next."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from local_azure.iot_hub.documents import twin_document
from local_azure.iot_hub.exceptions import ARGUMENT_INVALID, IotHubError
from local_azure.iot_hub.queries import Count, Query, row_of
from local_azure.iot_hub.query_index import IndexedDevice
from local_azure.iot_hub.twins import JsonObject

MOST_ROWS = 100


class ItemType(StrEnum):
    """What the rows are: whole twins, or whatever was selected from them."""

    TWIN = "Twin"
    RAW = "Raw"


@dataclass(frozen=True)
class QueryPage:
    """Up to MOST_ROWS rows. `continuation` of None: there are no more."""

    rows: list[JsonObject]
    item_type: ItemType
    continuation: str | None


def query_page(
    devices: Iterable[IndexedDevice], text: str, *, most: int, continuation: str | None
) -> QueryPage:
    """The page after the one that handed out `continuation`; None is the first.

    `devices` come oldest first. Pages go by that order, so that devices which come or go
    between two pages neither hide others nor show them twice. Raises IotHubError 400 for a
    query that is not served and for a continuation of another query.
    """
    query = Query.parse(text)
    after = _after(continuation, text)
    found = _found((device for device in devices if device.created > after), query)
    if isinstance(query.selected, Count):
        count: JsonObject = {query.selected.name: sum(1 for _ in found)}
        return QueryPage([count], ItemType.RAW, None)
    page = list(islice(found, most + 1))
    more = len(page) > most
    onward = _continuation(text, after=page[most - 1][0].created) if more else None
    twins = [document for _, document in page[:most]]
    if query.selected is None:
        return QueryPage(twins, ItemType.TWIN, onward)
    rows = [row_of(twin, query.selected) for twin in twins]
    return QueryPage(rows, ItemType.RAW, onward)


def _found(
    devices: Iterable[IndexedDevice], query: Query
) -> Iterator[tuple[IndexedDevice, JsonObject]]:
    for device in devices:
        document = twin_document(device.identity, device.twin)
        if query.finds(document):
            yield device, document


def _continuation(text: str, *, after: int) -> str:
    digest = hashlib.sha256(f"{after}/{text}".encode(errors="surrogatepass")).hexdigest()
    return base64.b64encode(f"{after}/{digest}".encode()).decode()


def _after(continuation: str | None, text: str) -> int:
    if continuation is None:
        return 0
    try:
        after = int(base64.b64decode(continuation).partition(b"/")[0])
    except ValueError:
        after = 0
    if continuation != _continuation(text, after=after):
        raise IotHubError(ARGUMENT_INVALID, "x-ms-continuation is not one of this query's.")
    return after
