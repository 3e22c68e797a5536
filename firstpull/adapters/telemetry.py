"""Where traces, metrics and log events go on Azure: Application Insights."""

from __future__ import annotations

import logging
import os

from azure.core.credentials import TokenCredential

_LOGGER = "firstpull"
_DEFAULTS = {
    # The app's name in every row. The distro's own detectors leave it out on Functions.
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_functions",
    # Every trace. The distro's own choice is five spans a second, which tears traces apart.
    "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
    # Not a row of what the process is for every batch of spans.
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
    # A sweep tells of a whole fleet in a moment; of more than 2,048 in waiting the SDK drops some.
    "OTEL_BLRP_MAX_QUEUE_SIZE": "65536",
    # An instance that only measured may be gone after a minute, which is the SDK's choice.
    "OTEL_METRIC_EXPORT_INTERVAL": "10000",
    # Nothing goes anywhere but to the component, and nobody turns exporting off from elsewhere.
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
}
"""What the distro reads from the environment only. App settings of these names win."""


def export_telemetry(connection_string: str, credential: TokenCredential) -> None:
    """Send everything to Application Insights, with the app's identity.

    Log events are sent whole, whatever share of the traces is: they are what an audit reads.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Here, because it takes half a second, and only where telemetry is sent.
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
