from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from firstpull.observability import telemetry
from local_azure.stack import Stack

from .ingestion import Ingestion, open_ingestion
from .recorded import Measured


@cache
def _reader() -> InMemoryMetricReader:
    """The process's own: a meter provider can be set once."""
    reader = InMemoryMetricReader({Histogram: AggregationTemporality.DELTA})
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture
def measured() -> Measured:
    """What is measured from here on."""
    measured = Measured(_reader())
    measured.collect()
    return measured


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that end during a test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("firstpull"))
    yield exporter
    provider.shutdown()


@pytest.fixture
async def ingestion(stack: Stack) -> AsyncIterator[Ingestion]:
    """Application Insights on this machine."""
    async with open_ingestion(stack.kernel.certificates, address=stack.address) as opened:
        yield opened
