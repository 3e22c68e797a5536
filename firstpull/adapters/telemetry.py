"""Where traces, metrics and log events go on Azure: Application Insights."""

from __future__ import annotations

from azure.core.credentials import TokenCredential
from azure.monitor.opentelemetry import configure_azure_monitor

_LOGGER = "firstpull"


def export_telemetry(connection_string: str, credential: TokenCredential) -> None:
    """Send everything to Application Insights, with the app's identity.

    Log events are sent whole, whatever share of the traces is: they are what an audit reads.
    """
    configure_azure_monitor(
        connection_string=connection_string,
        credential=credential,
        logger_name=_LOGGER,
        enable_live_metrics=False,
        enable_trace_based_sampling_for_logs=False,
    )
