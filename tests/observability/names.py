"""The names of the metrics, for those who look for them in documents and queries."""

from __future__ import annotations

from firstpull.observability.telemetry import METRICS


def names_of_metrics() -> set[str]:
    """Every metric's name."""
    return {metric.name for metric in METRICS}
