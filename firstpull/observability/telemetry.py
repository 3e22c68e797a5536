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

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        attributes: Mapping[str, str] | None = None,
        description: str,
    ) -> None:
        """`attributes` are all that each value is told with, and what each of them holds."""
        self.name, self.unit, self.description = name, unit, description
        self.attributes = attributes or {}
        self._values: dict[frozenset[tuple[str, str]], float] = {}
        self._lock = threading.Lock()
        _meter.create_observable_gauge(name, [self._tell], unit=unit, description=description)

    def set(self, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """Note what was measured, in place of what was not told yet."""
        told = attributes or {}
        if told.keys() != self.attributes.keys():
            raise AssertionError(f"{self.name} is told with {', '.join(self.attributes) or 'none'}")
        with self._lock:
            self._values[frozenset(told.items())] = value

    def _tell(self, options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        del options
        with self._lock:
            values, self._values = self._values, {}
        for attributes, value in values.items():
            yield metrics.Observation(value, dict(attributes))


class Histogram:
    """Values that are told as they happen, without attributes."""

    def __init__(self, name: str, *, unit: str, description: str) -> None:
        self.name, self.unit, self.description = name, unit, description
        self.attributes: Mapping[str, str] = {}
        self._values = _meter.create_histogram(name, unit=unit, description=description)

    def record(self, value: float) -> None:
        """Tell one."""
        self._values.record(value)


_PLACE = {
    "container_registry": "its name",
    "connected_registry": "its name",
}
_SITE = {
    "site": "its name; of a connected registry in no site, its container registry's and its own"
}

FIRST_PULL = Histogram(
    "firstpull.first_pull.duration",
    unit="s",
    description=(
        "Histogram: from the request to the device's first word that it has logged in and can "
        "pull. When it happens. Application Insights keeps sum, count, least and most."
    ),
)
DEVICES = Gauge(
    "firstpull.devices",
    attributes={"state": "of the device's record"},
    description="Devices by state, zeros included, and tombstones as `Revoked`.",
)
CLIENTS_USED = Gauge(
    "firstpull.clients.used",
    attributes=_PLACE,
    description=(
        "Clients of a connected registry, those of others and room held for devices on their way "
        "included."
    ),
)
CLIENTS_FREE = Gauge(
    "firstpull.clients.free",
    attributes=_PLACE,
    description="Devices that may still join a connected registry, by the policy's `capacity`.",
)
SITE_USED = Gauge(
    "firstpull.site.used",
    attributes=_SITE,
    description="Clients of all connected registries of a site, likewise.",
)
SITE_FREE = Gauge(
    "firstpull.site.free",
    attributes=_SITE,
    description="Devices that a site still takes. Its connected registries are filled in order.",
)
OLDEST_UNACKNOWLEDGED = Gauge(
    "firstpull.delivery.oldest_unacknowledged",
    unit="s",
    description=(
        "Since the oldest delivery, of a first password or of a rotation, to which its device has "
        "not answered. 0 where all have."
    ),
)
SWEEP_AGE = Gauge(
    "firstpull.sweep.age",
    unit="s",
    description="Since the last sweep that could read everything. Missing before the first.",
)
REQUESTS_LEFT = Gauge(
    "firstpull.arm.requests_left",
    attributes={
        "subscription": "its id",
        "kind": (
            "`reads`, `writes` or `deletes` of the app's identity, and with `global-` in front "
            "those of everybody in the subscription"
        ),
    },
    description=(
        "Requests that Azure Resource Manager still takes, as it said last "
        "(`x-ms-ratelimit-remaining-subscription-*`). When it says so, at most once in ten "
        "seconds from each instance."
    ),
)
METRICS: tuple[Gauge | Histogram, ...] = (
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
"""All there are. The list of metrics in docs/observability.md is made of this."""


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
