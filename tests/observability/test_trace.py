"""One trace from the request to the twin, across the queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from azure.storage.queue.aio import QueueClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.ports import WorkQueue
from firstpull.observability import telemetry
from firstpull.observability.log_events import LogEvent
from local_azure.stack import Stack
from tests.end_to_end.cloud import WORK_QUEUE, register, report_login
from tests.end_to_end.in_process import Firstpull, connected
from tests.firstpull.harness import Harness

PLANT, DEVICE = "plant21", "traced-1"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


async def test_the_queue_carries_the_trace_from_the_request_to_the_twin_and_on(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    register(stack, DEVICE)
    storage = stack.storage.connection_string
    async with (
        connected(stack) as firstpull,
        QueueClient.from_connection_string(storage, WORK_QUEUE) as queue,
    ):
        await queue.clear_messages()
        without_delay = replace(firstpull.ports, queue=_WithoutDelay(firstpull.ports.queue))
        application = firstpull.application(without_delay)
        with telemetry.span("create_device", after=CALLER):
            await firstpull.ask(application, DEVICE, PLANT)
        for _ in range(20):
            request = await _next_reconcile_request(queue, firstpull)
            assert request["traceparent"].split("-")[1] == TRACE
            with telemetry.span("reconcile_device", after=request):
                await application.worker.reconcile(firstpull.device(DEVICE))
            state = (await firstpull.record(DEVICE)).status.condition.state
            if state is State.READY:
                break
            if state is State.DELIVERED:
                report_login(stack, DEVICE, PLANT)

    ended = spans.get_finished_spans()
    assert {_trace(span) for span in ended} == {TRACE}
    (endpoint,) = (span for span in ended if span.name == "create_device")
    assert endpoint.parent is not None
    assert format_span_id(endpoint.parent.span_id) == SPAN
    delivering = _with_event(ended, LogEvent.DEVICE_CREDENTIAL_DELIVERED)
    acknowledging = _with_event(ended, LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED)
    assert delivering is not acknowledging
    assert {delivering.name, acknowledging.name} == {"reconcile device"}


@dataclass(frozen=True)
class _WithoutDelay:
    """The real queue, whose messages are visible at once: the test moves the clock instead."""

    queue: WorkQueue

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        del delay_seconds
        await self.queue.put(device)


async def _next_reconcile_request(queue: QueueClient, firstpull: Firstpull) -> Mapping[str, Any]:
    """The next reconcile request; the device is due then."""
    record = await firstpull.record(DEVICE)
    firstpull.clock.advance_to(record.schedule.due_at)
    message = await queue.receive_message()
    assert message is not None, "there is no reconcile request"
    await queue.delete_message(message)
    return dict(json.loads(message.content))


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "*/*"},
        {"traceparent": ""},
        {"traceparent": "00-0-0-01"},
        {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
    ],
    ids=["none", "empty", "short", "zero"],
)
def test_a_caller_without_a_valid_trace_begins_one(
    spans: InMemorySpanExporter, headers: dict[str, str]
) -> None:
    with telemetry.span("endpoint", after=headers):
        carried = telemetry.headers()
    (endpoint,) = spans.get_finished_spans()
    assert endpoint.parent is None
    assert carried["traceparent"].split("-")[1] == _trace(endpoint)


def test_a_reconcile_request_without_a_trace_stays_in_the_one_that_is_under_way(
    spans: InMemorySpanExporter,
) -> None:
    with telemetry.span("host"), telemetry.span("worker", after={"hub": "h", "deviceId": "d"}):
        pass
    worker, host = spans.get_finished_spans()
    assert worker.parent is not None
    assert host.context is not None
    assert worker.parent.span_id == host.context.span_id


def test_only_the_trace_is_carried_on() -> None:
    with telemetry.span("endpoint", after={**CALLER, "baggage": "who=somebody"}):
        assert telemetry.headers().keys() == {"traceparent"}


def test_an_error_is_recorded_by_its_type_and_not_by_its_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="=pw/"), telemetry.span("endpoint"):
        raise ValueError("=pw/")
    (endpoint,) = spans.get_finished_spans()
    assert endpoint.status.status_code is StatusCode.ERROR
    assert endpoint.status.description == "ValueError"
    assert "=pw/" not in endpoint.to_json()


async def test_a_device_that_is_not_due_leaves_no_span(spans: InMemorySpanExporter) -> None:
    harness = Harness()
    device = await harness.make_ready()
    spans.clear()
    await harness.processes[0].worker.reconcile(device)
    assert spans.get_finished_spans() == ()


def _trace(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


def _with_event(spans: tuple[ReadableSpan, ...], event: LogEvent) -> ReadableSpan:
    (found,) = (span for span in spans if event in {e.name for e in span.events})
    return found
