"""Log events are what an audit reads: all of them arrive, whatever share of the traces does."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from local_azure.commands.processes import inherited

from .ingestion import Ingestion

EVENTS = 200
WARNING = 2
"""As Application Insights numbers severities."""


async def export(ingestion: Ingestion, **settings: str) -> None:
    """Run a process that exports, to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.observability.exporting", ingestion.connection_string, str(EVENTS)),
        env={
            **inherited("PATH", "HOME", "LANG", "TMPDIR"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"],
            **ingestion.settings,
            **settings,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize(
    ("sampler", "spans"),
    [({"OTEL_TRACES_SAMPLER": "always_off"}, 0), ({}, EVENTS)],
    ids=["no trace is kept", "as it comes"],
)
async def test_every_log_event_arrives_whatever_the_sampler_drops(
    ingestion: Ingestion, sampler: dict[str, str], spans: int
) -> None:
    await export(ingestion, **sampler)
    assert len(ingestion.spans("look at device")) == spans

    prefix = "device.credential.delivered {"
    logged = [item["data"]["baseData"] for item in ingestion.messages(prefix)]
    numbers = [json.loads(row["message"][len(prefix) - 1 :])["number"] for row in logged]
    assert sorted(numbers) == list(range(EVENTS))
    (held,) = ingestion.messages("sweep.revokes.held {")
    assert held["data"]["baseData"]["severityLevel"] == WARNING
    assert ingestion.messages("not ours") == []
    assert ingestion.metrics()["firstpull.sweep.age"] == {"": 7}


async def test_every_row_names_the_app(ingestion: Ingestion) -> None:
    on_azure = {"FUNCTIONS_WORKER_RUNTIME": "python", "WEBSITE_SITE_NAME": "func-firstpull"}
    await export(ingestion, **on_azure)
    assert {item["tags"]["ai.cloud.role"] for item in ingestion.items} == {"func-firstpull"}
