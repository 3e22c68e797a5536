"""Traces and metrics by OpenTelemetry's interface. Where they go is wired; else nowhere.

A trace begins at a door. The hint on the queue carries it, so that the worker's passes belong to
it, and what happens there stands in it as events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import metrics, propagate, trace

Attribute = str | int | float | bool

_tracer = trace.get_tracer("firstpull")
_meter = metrics.get_meter("firstpull")

FIRST_PULL = _meter.create_histogram(
    "firstpull.first_pull.duration",
    unit="s",
    description="From the request to the device's first word that it has logged in and can pull.",
)
DEVICES = _meter.create_gauge("firstpull.devices", description="Devices by state.")
CLIENTS_USED = _meter.create_gauge(
    "firstpull.clients.used", description="Clients of a connected registry, room held included."
)
CLIENTS_FREE = _meter.create_gauge(
    "firstpull.clients.free", description="Clients that a connected registry still takes."
)
OLDEST_UNACKNOWLEDGED = _meter.create_gauge(
    "firstpull.delivery.oldest_unacknowledged",
    unit="s",
    description="Since the oldest delivery to which its device has not answered.",
)
SWEEP_AGE = _meter.create_gauge(
    "firstpull.sweep.age", unit="s", description="Since the last sweep that could read everything."
)
REQUESTS_LEFT = _meter.create_gauge(
    "firstpull.arm.requests_left",
    description="Requests that Azure Resource Manager still takes, as it said last.",
)


@contextmanager
def span(
    name: str, *, after: Mapping[str, str] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """One piece of work. `after` are the headers of what caused it, where that is elsewhere."""
    context = propagate.extract(after) if after is not None else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes):
        yield


def headers() -> dict[str, str]:
    """The trace of now as W3C headers (`traceparent`), empty where there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def note(event: str, attributes: Mapping[str, Attribute | None]) -> None:
    """An event of the piece of work that is under way."""
    known = {name: value for name, value in attributes.items() if value is not None}
    trace.get_current_span().add_event(event, known)
