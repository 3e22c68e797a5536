"""The addresses in answers, and pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from local_azure.kernel.storm import Oddities
from local_azure.resource_manager.routing import ArmCall

Document = dict[str, Any]

PAGED = frozenset({"$skiptoken"})
FILTERED = PAGED | {"$filter"}


class Links:
    """Makes addresses that start with `endpoint`, and pages of `page_size` documents."""

    def __init__(self, *, endpoint: str, page_size: int, oddities: Oddities | None = None) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._page_size = page_size
        self._oddities = oddities or Oddities()

    def link(self, path: str, call: ArmCall, query: Mapping[str, str]) -> str:
        """The address of `path` in the api-version of the call."""
        query = {"api-version": call.api_version, **query}
        return f"{self._endpoint}{quote(path)}?{urlencode(query)}"

    def page(
        self, call: ArmCall, documents: Iterable[Document], *, size: int | None = None
    ) -> web.Response:
        """The requested page, with the address of the next one. `size` overrides `page_size`.

        No client may rely on an order: azure-powershell's recordings show none.
        """
        return self.page_of(call, {str(each["id"]): each for each in documents}, dict, size=size)

    def page_of[T](
        self,
        call: ArmCall,
        items: Mapping[str, T],
        show: Callable[[T], Document],
        *,
        size: int | None = None,
    ) -> web.Response:
        """Like `page`, of items by their ids; shows those of the page alone."""
        # A page starts after a place and not at an index: after a deletion nothing is skipped.
        after = call.query.get("$skiptoken", "")
        rest = sorted((place, each) for each in items if (place := _place(each)) > after)
        page = rest[: self._oddities.page_size or size or self._page_size]
        body: Document = {"value": [show(items[each]) for _, each in page]}
        if len(rest) > len(page):
            query = {name: value for name, value in call.query.items() if name == "$filter"}
            query["$skiptoken"], _ = page[-1]
            body["nextLink"] = self.link(call.path, call, query)
        return web.json_response(body)


@lru_cache(maxsize=1 << 16)
def _place(document_id: str) -> str:
    """The sort key, which stays the same whatever else is there."""
    return blake2b(document_id.lower().encode(), digest_size=16).hexdigest()
