"""Exports traces, metrics and log events to Application Insights."""

from __future__ import annotations

import logging
import os

from azure.core.credentials import TokenCredential

_LOGGER = "firstpull"
_DEFAULTS = {
    # The app's name in every row: the distro's default detectors miss it on Functions.
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_functions",
    # Every trace: the distro's default of five spans a second loses parts of traces.
    "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
    # No row about the process for every batch of spans.
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
    # A sweep may log for a whole fleet at once: beyond the default of 2,048 the SDK drops events.
    "OTEL_BLRP_MAX_QUEUE_SIZE": "65536",
    # An instance may stop before the default of a minute.
    "OTEL_METRIC_EXPORT_INTERVAL": "10000",
    # Data goes to the component only, and no remote control plane switches the export off.
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
}
"""Defaults that the distro reads from the environment only; app settings override them."""


def export_telemetry(connection_string: str, credential: TokenCredential) -> None:
    """Export everything to Application Insights, with the app's identity.

    Log events are never sampled, because audits read them.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Imported here: the import takes half a second, and only an exporting app needs it.
    from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415 - see above

    logging.getLogger(_LOGGER).setLevel(logging.INFO)
    configure_azure_monitor(
        connection_string=connection_string,
        credential=credential,
        logger_name=_LOGGER,
        enable_live_metrics=False,
        enable_performance_counters=False,
        enable_trace_based_sampling_for_logs=False,
    )
