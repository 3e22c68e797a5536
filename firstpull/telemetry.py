"""Traces and metrics by OpenTelemetry's interface. Where they go is wired; else nowhere.

A trace begins at a door. The hint on the queue carries it, so that the worker's passes belong to
it, and what happens there stands in it as events.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attribute = str | int | float | bool

_tracer = trace.get_tracer("firstpull")
_meter = metrics.get_meter("firstpull")
# Not the global propagator: it would carry a caller's baggage, whatever is in it, onto the queue.
_propagator = TraceContextTextMapPropagator()


class Gauge:
    """A value that is told once for each time that it was measured.

    A gauge of OpenTelemetry's own is told again and again by the process that set it last, also
    after another process has measured anew, or what it was about has gone.
    """

    def __init__(self, name: str, *, unit: str = "", description: str) -> None:
        self._values: dict[frozenset[tuple[str, str]], float] = {}
        self._lock = threading.Lock()
        _meter.create_observable_gauge(name, [self._tell], unit=unit, description=description)

    def set(self, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """Note what was measured, in place of what was not told yet."""
        with self._lock:
            self._values[frozenset((attributes or {}).items())] = value

    def _tell(self, options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        del options
        with self._lock:
            values, self._values = self._values, {}
        for attributes, value in values.items():
            yield metrics.Observation(value, dict(attributes))


FIRST_PULL = _meter.create_histogram(
    "firstpull.first_pull.duration",
    unit="s",
    description="From the request to the device's first word that it has logged in and can pull.",
)
DEVICES = Gauge("firstpull.devices", description="Devices by state.")
CLIENTS_USED = Gauge(
    "firstpull.clients.used", description="Clients of a connected registry, room held included."
)
CLIENTS_FREE = Gauge(
    "firstpull.clients.free", description="Clients that a connected registry still takes."
)
OLDEST_UNACKNOWLEDGED = Gauge(
    "firstpull.delivery.oldest_unacknowledged",
    unit="s",
    description="Since the oldest delivery to which its device has not answered.",
)
SWEEP_AGE = Gauge(
    "firstpull.sweep.age", unit="s", description="Since the last sweep that could read everything."
)
REQUESTS_LEFT = Gauge(
    "firstpull.arm.requests_left",
    description="Requests that Azure Resource Manager still takes, as it said last.",
)


@contextmanager
def span(
    name: str, *, after: Mapping[str, str] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """One piece of work. `after` are the headers of what caused it, where that is elsewhere.

    An error is told by its type alone: its text may hold anything.
    """
    parent = _propagator.extract(after or {}, context.get_current())
    with _tracer.start_as_current_span(
        name,
        context=parent,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def headers() -> dict[str, str]:
    """The trace of now as W3C headers (`traceparent`), empty where there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def note(event: str, attributes: Mapping[str, Attribute | None]) -> None:
    """An event of the piece of work that is under way."""
    known = {name: value for name, value in attributes.items() if value is not None}
    trace.get_current_span().add_event(event, known)
