"""Every log event reaches Application Insights, whatever share of the traces is sampled."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from firstpull.observability.log_events import LogEvent
from local_azure.commands.processes import inherited

from .ingestion import Ingestion

_EVENTS = 50
_WARNING = 2
"""As Application Insights numbers severities."""
_APP = "func-firstpull"


@pytest.mark.parametrize(
    ("sampler", "spans"), [("always_off", 0), ("always_on", _EVENTS)], ids=["none", "all"]
)
async def test_every_log_event_arrives_whatever_the_sampler_drops(
    ingestion: Ingestion, sampler: str, spans: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.observability.exporting", ingestion.connection_string, str(_EVENTS)),
        env={
            **inherited("PATH", "HOME", "LANG", "TMPDIR"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"],
            **ingestion.settings,
            "OTEL_TRACES_SAMPLER": sampler,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "WEBSITE_SITE_NAME": _APP,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert len(ingestion.spans("reconcile device")) == spans

    prefix = f"{LogEvent.DEVICE_CREDENTIAL_DELIVERED} "
    logged = [item["data"]["baseData"]["message"] for item in ingestion.messages(prefix)]
    numbers = [json.loads(message.removeprefix(prefix))["number"] for message in logged]
    assert sorted(numbers) == list(range(_EVENTS))
    (held,) = ingestion.messages(f"{LogEvent.SWEEP_REVOKES_HELD} ")
    assert held["data"]["baseData"]["severityLevel"] == _WARNING
    assert ingestion.messages("not ours") == []
    assert ingestion.metrics()["firstpull.sweep.age"] == {"": 7}
    assert {item["tags"]["ai.cloud.role"] for item in ingestion.items} == {_APP}
