"""One trace from the door to the twin, across the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from azure.storage.queue.aio import QueueServiceClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from firstpull.model.device_record import State
from firstpull.observability import telemetry
from local_azure.stack import Stack
from tests.end_to_end.cloud import WORK_QUEUE, forget_devices, register, report_login
from tests.end_to_end.in_process import Firstpull, connected
from tests.firstpull.fakes import PASSWORD_MARK
from tests.firstpull.harness import Harness

PLANT, DEVICE = "plant21", "traced-1"
CALLER = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_the_queue_carries_the_trace_from_the_endpoint_to_the_twin_and_on(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    register(stack, DEVICE)
    async with connected(stack) as firstpull:
        application = firstpull.application()
        async with QueueServiceClient.from_connection_string(
            stack.storage.connection_string
        ) as queues:
            await queues.get_queue_client(WORK_QUEUE).clear_messages()
            with telemetry.span("create_device", after=CALLER):
                await firstpull.ask(application, DEVICE, PLANT)
            looks = 0
            while (await firstpull.record(DEVICE)).status.condition.state is not State.READY:
                hint = await _next_hint(queues, firstpull)
                assert hint["traceparent"].split("-")[1] == TRACE
                with telemetry.span("look_at_device", after=hint):
                    await application.worker.reconcile(firstpull.device(DEVICE))
                looks += 1
                assert looks < 20
                if (await firstpull.record(DEVICE)).status.condition.state is State.DELIVERED:
                    report_login(stack, DEVICE, PLANT)
    await forget_devices(stack)

    ended = spans.get_finished_spans()
    assert {_trace(span) for span in ended} == {TRACE}
    (endpoint,) = (span for span in ended if span.name == "create_device")
    assert endpoint.parent is not None
    assert format_span_id(endpoint.parent.span_id) == CALLER["traceparent"].split("-")[2]
    delivering = _with_event(ended, "device.credential.delivered")
    answered = _with_event(ended, "device.credential.acknowledged")
    assert delivering is not answered
    assert {delivering.name, answered.name} == {"look at device"}


async def _next_hint(queues: QueueServiceClient, firstpull: Firstpull) -> Mapping[str, Any]:
    """The hint that lies in the queue, whatever its delay: it is peeked at, then due."""
    queue = queues.get_queue_client(WORK_QUEUE)
    record = await firstpull.record(DEVICE)
    firstpull.clock.advance_to(record.schedule.due_at)
    for _ in range(100):
        async for message in queue.receive_messages(max_messages=1):
            await queue.delete_message(message)
            found = json.loads(message.content)
            if found["deviceId"] == DEVICE:
                return dict(found)
        await asyncio.sleep(0.1)
    raise AssertionError("there is no hint")


def test_a_caller_without_a_trace_begins_one(spans: InMemorySpanExporter) -> None:
    with telemetry.span("door", after={"accept": "*/*"}):
        carried = telemetry.headers()
    (endpoint,) = spans.get_finished_spans()
    assert endpoint.parent is None
    assert carried["traceparent"].split("-")[1] == _trace(endpoint)


def test_a_reconcile_request_without_a_trace_stays_in_the_one_that_is_under_way(
    spans: InMemorySpanExporter,
) -> None:
    with telemetry.span("host"), telemetry.span("door", after={"hub": "h", "deviceId": "d"}):
        pass
    endpoint, host = spans.get_finished_spans()
    assert endpoint.parent is not None
    assert host.context is not None
    assert endpoint.parent.span_id == host.context.span_id


@pytest.mark.parametrize("wrong", ["", "00-0-0-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_trace_that_is_none_is_passed_over(spans: InMemorySpanExporter, wrong: str) -> None:
    with telemetry.span("door", after={"traceparent": wrong}):
        pass
    (endpoint,) = spans.get_finished_spans()
    assert endpoint.parent is None


def test_nothing_but_the_trace_is_carried_on(spans: InMemorySpanExporter) -> None:
    with telemetry.span("door", after={**CALLER, "baggage": "who=somebody"}):
        assert telemetry.headers().keys() == {"traceparent"}
    assert len(spans.get_finished_spans()) == 1


def test_an_error_is_told_by_its_type_and_not_by_its_text(spans: InMemorySpanExporter) -> None:
    def fail() -> None:
        raise ValueError(PASSWORD_MARK)

    with pytest.raises(ValueError, match=PASSWORD_MARK), telemetry.span("door"):
        fail()
    (endpoint,) = spans.get_finished_spans()
    assert (endpoint.status.status_code, endpoint.status.description) == (
        StatusCode.ERROR,
        "ValueError",
    )
    assert PASSWORD_MARK not in endpoint.to_json()


async def test_a_device_that_is_not_due_leaves_no_span(spans: InMemorySpanExporter) -> None:
    harness = Harness()
    device = await harness.make_ready()
    spans.clear()
    await harness.processes[0].worker.reconcile(device)
    assert spans.get_finished_spans() == ()


def _trace(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


def _with_event(spans: tuple[ReadableSpan, ...], event: str) -> ReadableSpan:
    (found,) = (span for span in spans if event in {e.name for e in span.events})
    return found
