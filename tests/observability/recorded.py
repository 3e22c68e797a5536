"""The metrics that this process recorded, in a form that tests can compare."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.sdk.metrics.export import (
    DataPointT,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)

Attributes = frozenset[tuple[str, object]]


class Measured:
    """The metrics since they were last collected."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def collect(self) -> dict[str, dict[Attributes, float]]:
        """By name, then by attributes: the value of a gauge, the sum of a histogram."""
        return {
            metric.name: {
                frozenset((point.attributes or {}).items()): _value(point)
                for point in metric.data.data_points
            }
            for metric in self._metrics()
        }

    def gauge(self, name: str, **attributes: str) -> float | None:
        """One gauge's value, None where it was not set."""
        return self.collect().get(name, {}).get(frozenset(attributes.items()))

    def _metrics(self) -> Iterator[Metric]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics


def _value(point: DataPointT) -> float:
    return point.value if isinstance(point, NumberDataPoint) else point.sum
