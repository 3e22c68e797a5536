"""Traces and metrics by OpenTelemetry's API. Without an exporter they go nowhere.

A trace begins at a trigger or endpoint. The reconcile request carries it, so the worker's passes
belong to it, and every log event becomes an event of the current span.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, overload

from opentelemetry import context, metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attribute = str | int | float | bool

_tracer = trace.get_tracer("firstpull")
_meter = metrics.get_meter("firstpull")
# Not the global propagator: it would carry a caller's baggage onto the queue.
_propagator = TraceContextTextMapPropagator()


class NoAttributes(TypedDict):
    """The attributes of a metric that has none."""


class StateAttributes(TypedDict):
    """The attributes of a metric of the devices in one state."""

    state: str


class RegistryAttributes(TypedDict):
    """The attributes of a metric of one connected registry."""

    container_registry: str
    connected_registry: str


class SiteAttributes(TypedDict):
    """The attributes of a metric of one site."""

    site: str


class RequestAttributes(TypedDict):
    """The attributes of a metric of the requests in one subscription."""

    subscription: str
    kind: str


class Gauge[Attributes: Mapping[str, object]]:
    """A metric that exports each measured value once.

    OpenTelemetry's own gauge exports its last value again and again, even after another process
    has measured a newer one, or after the measured thing has gone.
    """

    def __init__(
        self, name: str, *, unit: str = "", attributes: Attributes, description: str
    ) -> None:
        """`attributes` say what each attribute of a value holds."""
        self.name, self.unit, self.description = name, unit, description
        self.attributes = attributes
        self._values: dict[frozenset[tuple[str, str]], float] = {}
        self._lock = threading.Lock()
        _meter.create_observable_gauge(name, [self._export], unit=unit, description=description)

    @overload
    def set(self: Gauge[NoAttributes], value: float) -> None: ...

    @overload
    def set(self, value: float, attributes: Attributes) -> None: ...

    def set(self, value: float, attributes: Mapping[str, object] | None = None) -> None:
        """Set the value to export next, in place of one that was not exported yet."""
        key = frozenset((name, str(text)) for name, text in (attributes or {}).items())
        with self._lock:
            self._values[key] = value

    def _export(self, options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        del options
        with self._lock:
            values, self._values = self._values, {}
        for attributes, value in values.items():
            yield metrics.Observation(value, dict(attributes))


class Histogram:
    """A metric that counts values as they occur, without attributes."""

    def __init__(self, name: str, *, unit: str, description: str) -> None:
        self.name, self.unit, self.description = name, unit, description
        self.attributes = NoAttributes()
        self._values = _meter.create_histogram(name, unit=unit, description=description)

    def record(self, value: float) -> None:
        """Count one value."""
        self._values.record(value)


_REGISTRY = RegistryAttributes(container_registry="its name", connected_registry="its name")
_SITE = SiteAttributes(
    site="its name; for a connected registry in no site, its container registry's and its own"
)

FIRST_PULL = Histogram(
    "firstpull.first_pull.duration",
    unit="s",
    description=(
        "Histogram: from the first request to the device's first acknowledgement, recorded when "
        "it arrives. Application Insights keeps sum, count, minimum and maximum."
    ),
)
DEVICES = Gauge(
    "firstpull.devices",
    attributes=StateAttributes(state="of the device's record"),
    description="Devices by state. Includes zeros, and tombstones as `Revoked`.",
)
CLIENTS_USED = Gauge(
    "firstpull.clients.used",
    attributes=_REGISTRY,
    description="Clients of a connected registry, with foreign clients and reservations.",
)
CLIENTS_FREE = Gauge(
    "firstpull.clients.free",
    attributes=_REGISTRY,
    description="Clients that a connected registry still takes, by the policy's `capacity`.",
)
SITE_USED = Gauge(
    "firstpull.site.used",
    attributes=_SITE,
    description="Clients of all connected registries of a site, counted in the same way.",
)
SITE_FREE = Gauge(
    "firstpull.site.free",
    attributes=_SITE,
    description="Clients that all connected registries of a site still take.",
)
OLDEST_UNACKNOWLEDGED = Gauge(
    "firstpull.delivery.oldest_unacknowledged",
    unit="s",
    attributes=NoAttributes(),
    description=(
        "Age of the oldest delivery, of a first password or of a rotation, that its device has not "
        "acknowledged; 0 if there is none."
    ),
)
SWEEP_AGE = Gauge(
    "firstpull.sweep.age",
    unit="s",
    attributes=NoAttributes(),
    description="Time since the last sweep that could read everything. Missing before the first.",
)
REQUESTS_LEFT = Gauge(
    "firstpull.arm.requests_left",
    attributes=RequestAttributes(
        subscription="its id",
        kind=(
            "`reads`, `writes` or `deletes` of the app's identity; with `global-` in front, those "
            "of the whole subscription"
        ),
    ),
    description=(
        "Requests that Azure Resource Manager still takes, by its latest answer "
        "(`x-ms-ratelimit-remaining-subscription-*`). Each instance exports it after an answer, "
        "at most once in ten seconds."
    ),
)
METRICS: tuple[Gauge[Any] | Histogram, ...] = (
    FIRST_PULL,
    DEVICES,
    CLIENTS_USED,
    CLIENTS_FREE,
    SITE_USED,
    SITE_FREE,
    OLDEST_UNACKNOWLEDGED,
    SWEEP_AGE,
    REQUESTS_LEFT,
)
"""All metrics. `make docs` writes them into docs/observability.md."""


@contextmanager
def span(
    name: str, *, after: Mapping[str, str] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """A span. `after` are the trace headers of the remote cause, if there is one.

    The span records an error's type only: the error's text may hold a secret.
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
    """The current trace as W3C headers (`traceparent`), empty if there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def note(event: str, attributes: Mapping[str, Attribute | None]) -> None:
    """Add an event to the current span."""
    known = {name: value for name, value in attributes.items() if value is not None}
    trace.get_current_span().add_event(event, known)
