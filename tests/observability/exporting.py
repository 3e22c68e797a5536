"""A process of its own that exports as the app does: spans and log events, then its end.

Arguments: the connection string, and how many events. Addresses outside this machine end it.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from azure.core.credentials import AccessToken
from opentelemetry import metrics, trace

from firstpull.adapters.telemetry import export_telemetry
from firstpull.observability import log as events
from firstpull.observability import telemetry


class Credential:
    """A credential that asks nobody."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """A token of one hour."""
        return AccessToken("token", int(time.time()) + 3600)


def refuse_the_world(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: loopback or nothing, in whatever thread."""
    host: object = "127.0.0.1"
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if not str(host).startswith("127."):
        print(f"it wanted to reach {host}", flush=True)  # noqa: T201 - for the test to show
        os._exit(1)


def main(connection_string: str, count: int) -> None:
    """Tell of everything once, and end as the worker does."""
    sys.addaudithook(refuse_the_world)
    logging.getLogger("azure").setLevel(logging.WARNING)
    export_telemetry(connection_string, Credential())
    for number in range(count):
        with telemetry.span("look at device"):
            events.emit("device.credential.delivered", number=number)
    events.emit_warning("sweep.revokes.held", devices=3)
    logging.getLogger("somebody.else").warning("not ours")
    telemetry.SWEEP_AGE.set(7)
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        shutdown = getattr(provider, "shutdown", None)
        if shutdown is None:
            raise SystemExit("telemetry is not wired")
        shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
