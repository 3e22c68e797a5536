"""Spans of one onboarding, as firstpull exports them to Application Insights."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.stack.listeners import Listeners

_QUICK = {
    # A batch is sent at once, not after seconds.
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
}
_DURATION = re.compile(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span with its trace. `url` is empty where it is no call."""

    trace: str
    name: str
    url: str
    began: datetime
    ended: datetime


@dataclass(kw_only=True)
class Ingestion:
    """An ingestion endpoint that keeps the spans that it gets."""

    url: str
    spans: list[Span] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """App settings that send traces here."""
        key = "00000000-0000-0000-0000-000000000001"
        connection = f"InstrumentationKey={key};IngestionEndpoint={self.url}"
        return {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection, **_QUICK}

    async def take(self, request: web.Request) -> web.Response:
        """Take a batch."""
        items = json.loads(await request.text())
        self.spans += [span for item in items if (span := _span(item)) is not None]
        count = len(items)
        return web.json_response({"itemsReceived": count, "itemsAccepted": count, "errors": []})


def _span(item: dict[str, Any]) -> Span | None:
    if item["data"]["baseType"] not in ("RemoteDependencyData", "RequestData"):
        return None
    data = item["data"]["baseData"]
    began = datetime.fromisoformat(item["time"])
    return Span(
        trace=item["tags"].get("ai.operation.id", ""),
        name=data["name"],
        url=data.get("data") or "",
        began=began,
        ended=began + _duration(data["duration"]),
    )


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        return timedelta()
    days, hours, minutes, seconds = found.groups()
    return timedelta(
        days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds)
    )


@asynccontextmanager
async def open_ingestion(
    certificates: CertificateAuthority, *, address: str
) -> AsyncIterator[Ingestion]:
    """An endpoint on loopback, until the end."""
    listeners = Listeners(address=address, certificates=certificates, clock=Clock())
    port = listeners.bind()
    ingestion = Ingestion(url=f"https://{port.host}")
    application = web.Application(client_max_size=2**26)
    application.router.add_post("/v2.1/track", ingestion.take)
    await listeners.serve(port, application)
    try:
        yield ingestion
    finally:
        await listeners.close()
