"""The ingestion endpoint of Application Insights, as far as an exporter can tell."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.stack.listeners import Listeners

Item = dict[str, Any]
_GIVE_UP_SECONDS = 100.0
_QUICK = {
    # A batch is sent at once, not after seconds.
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": "500",
}


@dataclass(kw_only=True)
class Ingestion:
    """What was sent, in the order in which it came. `settings` point an app here."""

    url: str
    items: list[Item] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    bodies: list[str] = field(default_factory=list)

    @property
    def connection_string(self) -> str:
        """The component's."""
        key = "00000000-0000-0000-0000-000000000001"
        return f"InstrumentationKey={key};IngestionEndpoint={self.url}"

    @property
    def settings(self) -> dict[str, str]:
        """App settings."""
        return {"APPLICATIONINSIGHTS_CONNECTION_STRING": self.connection_string, **_QUICK}

    def messages(self, prefix: str) -> list[Item]:
        """The rows of AppTraces whose message begins so."""
        return [i for i in self._of("MessageData") if _data(i)["message"].startswith(prefix)]

    def spans(self, name: str) -> list[Item]:
        """The rows of AppDependencies of this name."""
        return [i for i in self._of("RemoteDependencyData") if _data(i)["name"] == name]

    def calls(self, trace: str, address: str) -> list[Item]:
        """The rows of AppDependencies in a trace whose address has this part."""
        dependencies = self._of("RemoteDependencyData")
        return [
            i for i in dependencies if trace_of(i) == trace and address in _data(i).get("data", "")
        ]

    def metrics(self) -> dict[str, dict[str, float]]:
        """The latest values of AppMetrics: by name, then by the attributes in words."""
        found: dict[str, dict[str, float]] = {}
        for item in self._of("MetricData"):
            data = _data(item)
            attributes = " ".join(f"{k}={v}" for k, v in sorted(data["properties"].items()))
            for point in data["metrics"]:
                found.setdefault(point["name"], {})[attributes] = point["value"]
        return found

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something that was sent is here."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while not holds():
            assert time.monotonic() < give_up, "it was not sent in time"
            await asyncio.sleep(0.05)

    def _of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item["data"]["baseType"] == kind]

    async def take(self, request: web.Request) -> web.Response:
        """Take a batch, and say that all of it was."""
        body = await request.text()
        items = json.loads(body)
        self.bodies.append(body)
        self.items += items
        self.authorizations.add(request.headers.get("Authorization", ""))
        count = len(items)
        return web.json_response({"itemsReceived": count, "itemsAccepted": count, "errors": []})


def trace_of(item: Item) -> str | None:
    """The trace that an item belongs to, None for a metric."""
    trace = item["tags"].get("ai.operation.id")
    return str(trace) if trace is not None else None


def _data(item: Item) -> Any:  # noqa: ANN401 - JSON
    return item["data"]["baseData"]


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
