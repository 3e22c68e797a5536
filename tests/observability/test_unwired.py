"""Without a connection string telemetry costs nothing, and nothing is sent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from local_azure.commands.function_app import app_settings
from local_azure.commands.processes import inherited
from local_azure.stack import Stack

PROGRAM = """
import sys, threading
connected = []
sys.addaudithook(lambda event, a: connected.append(str(a)) if event == "socket.connect" else None)
from firstpull import bootstrap
from firstpull.observability import log as events
from firstpull.observability import telemetry
bootstrap.start()
with telemetry.span("door", after={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}):
    events.emit("device.intent.recorded", device_id="press-1")
    telemetry.DEVICES.set(1, {"state": "Ready"})
    telemetry.FIRST_PULL.record(1.5)
    print(*telemetry.headers().values())
print(*sorted(name for name in sys.modules if name.startswith(
    ("azure.monitor", "opentelemetry.sdk", "opentelemetry.exporter"))))
print(*(thread.name for thread in threading.enumerate()))
print(*connected)
"""


@pytest.fixture
async def told(stack: Stack) -> list[str]:
    """What a process says that was started without a connection string."""
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

    return (await asyncio.to_thread(run)).splitlines()


async def test_nothing_is_loaded_started_or_sent_and_a_callers_trace_goes_on(
    told: list[str],
) -> None:
    carried, exporters, threads, connections = told
    assert carried == f"00-{'1' * 32}-{'2' * 16}-01"
    assert exporters == ""
    assert threads == "MainThread"
    assert connections == ""
