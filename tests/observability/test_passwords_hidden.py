"""P6 for telemetry: no span, log event or metric of a device's whole lifetime holds a password."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from firstpull.model.device_record import State
from tests.firstpull.harness import Harness

from .recorded import Measured


async def test_no_telemetry_of_a_whole_lifetime_holds_a_password(
    spans: InMemorySpanExporter, measured: Measured, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        harness = Harness()
        device = await harness.make_ready()
        await harness.rotate(device)
        await harness.run_for(timedelta(hours=1))
        await harness.ask(connectedRegistry="planttwo")
        await harness.run_for(timedelta(hours=1))
        await harness.processes[0].application.gauges.measure()
        await harness.sweep()
        await harness.revoke(device)
        await harness.run_until_quiet()

    assert harness.state(device) is State.REVOKED
    assert len(harness.cloud.passwords_made) >= 2
    sent = "".join(span.to_json() for span in spans.get_finished_spans())
    sent += "".join(str(vars(record)) for record in caplog.records)
    sent += str(measured.collect())
    for part in ("device.credential.delivered", "device.access.revoked", "firstpull.devices"):
        assert part in sent
    assert not harness.cloud.shows_password(sent)


async def test_an_unexpected_error_is_recorded_without_its_text(
    spans: InMemorySpanExporter,
) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def blow_up() -> None:
        raise ValueError(harness.cloud.passwords_made[0])

    harness.cloud.act(blow_up, at="hubs.patch_desired")
    await harness.processes[0].worker.reconcile(device)
    sent = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "device.reconcile.crashed" in sent
    assert not harness.cloud.shows_password(sent)
