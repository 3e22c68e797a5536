"""A process that exports as the app does: spans, log events and one metric, then it ends.

Arguments: the connection string, and how many events. It ends with an error if anything but
loopback is contacted.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from azure.core.credentials import AccessToken
from opentelemetry import metrics, trace

from firstpull.adapters.telemetry import export_telemetry
from firstpull.observability import log, telemetry
from firstpull.observability.log_events import LogEvent


class Credential:
    """A credential that asks nobody."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """A token of one hour."""
        return AccessToken("token", int(time.time()) + 3600)


def refuse_other_hosts(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook that ends the process on any address but loopback, in any thread."""
    host: object = "127.0.0.1"
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if not str(host).startswith("127."):
        print(f"it wanted to reach {host}", flush=True)  # noqa: T201 - the test shows it
        os._exit(1)


def main(connection_string: str, count: int) -> None:
    """Export one of each kind, and end as the worker does."""
    sys.addaudithook(refuse_other_hosts)
    logging.getLogger("azure").setLevel(logging.WARNING)
    export_telemetry(connection_string, Credential())
    for number in range(count):
        with telemetry.span("reconcile device"):
            log.emit(LogEvent.DEVICE_CREDENTIAL_DELIVERED, number=number)
    log.emit_warning(LogEvent.SWEEP_REVOKES_HELD, devices=3)
    logging.getLogger("somebody.else").warning("not ours")
    telemetry.SWEEP_AGE.set(7)
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        shutdown = getattr(provider, "shutdown", None)
        if shutdown is None:
            raise SystemExit("telemetry is not wired")
        shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
