"""Without a connection string nothing is exported, and no exporter is loaded."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from local_azure.commands.function_app import app_settings
from local_azure.commands.processes import inherited
from local_azure.stack import Stack

PROGRAM = """
import sys, threading
connected = []
sys.addaudithook(lambda event, a: connected.append(str(a)) if event == "socket.connect" else None)
from firstpull import bootstrap
from firstpull.observability import log, telemetry
from firstpull.observability.log_events import LogEvent
bootstrap.start()
with telemetry.span("endpoint", after={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}):
    log.emit(LogEvent.DEVICE_INTENT_RECORDED, device_id="press-1")
    telemetry.DEVICES.set(1, {"state": "Ready"})
    telemetry.FIRST_PULL.record(1.5)
    print(*telemetry.headers().values())
print(*sorted(name for name in sys.modules if name.startswith(
    ("azure.monitor", "opentelemetry.sdk", "opentelemetry.exporter"))))
print(*(thread.name for thread in threading.enumerate()))
print(*connected)
"""


async def test_nothing_is_loaded_started_or_sent_and_a_callers_trace_goes_on(stack: Stack) -> None:
    environment = {
        **inherited("PATH", "HOME", "LANG", "TMPDIR"),
        **app_settings(stack),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run() -> str:
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", PROGRAM],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    carried, exporters, threads, connections = (await asyncio.to_thread(run)).splitlines()
    assert carried == f"00-{'1' * 32}-{'2' * 16}-01"
    assert exporters == ""
    assert threads == "MainThread"
    assert connections == ""
