"""What a pass waits for: reads side by side, one write for all that share it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.reconcile.prompt import AT_ONCE, PromptWork
from tests.firstpull.harness import HUB, Harness
from tests.world.storage import FakeWorkQueue

READS = (
    "hubs.twin",
    "registries.get_connected_registry",
    "registries.get_scope_map",
    "registries.get_token",
    "registries.synced_actions",
    "secrets.versions",
)


@pytest.mark.parametrize("slow", READS)
async def test_no_read_of_a_new_device_waits_for_another(slow: str) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    begun = len(harness.cloud.calls)
    worker = harness.processes[0].worker
    async with harness.while_held(slow, worker.reconcile(device)):
        for _ in range(20):
            await asyncio.sleep(0)
        assert {*READS} <= set(harness.cloud.calls[begun:])
    assert harness.state(device) is State.DELIVERED


async def test_a_new_device_costs_one_call_for_each_answer_that_its_pass_needs() -> None:
    harness = Harness()
    await harness.make_ready("press-0")
    device = harness.register()
    await harness.ask()
    begun = len(harness.cloud.calls)
    await harness.processes[0].worker.reconcile(device)
    calls = Counter(harness.cloud.calls[begun:])
    assert {name for name, count in calls.items() if count > 1} <= {
        "registries.get_connected_registry",  # for the plan, and under the lease
        "ledgers.get",
        "ledgers.put",  # reserved, joining, member
        "records.replace",  # the claim, and the end
        "queue.put",
    }
    assert calls["ledgers.get"] <= 4
    assert calls["ledgers.put"] == 3


async def test_devices_that_come_together_write_their_scope_map_once() -> None:
    harness = Harness()
    devices = [harness.register(f"press-{number}") for number in range(12)]
    for device in devices:
        await harness.ask(device.device_id)
    await harness.deliver()
    assert harness.cloud.calls.count("registries.put_scope_map") == 1
    assert {harness.state(device) for device in devices} == {State.DELIVERED}


# The process that has recorded a request


def device(number: int) -> DeviceKey:
    return DeviceKey(hub=HUB, device_id=f"press-{number}")


async def test_a_request_begins_where_it_was_recorded_and_the_queue_has_it_for_later() -> None:
    harness, begun = Harness(), list[DeviceKey]()

    async def reconcile(device: DeviceKey) -> None:
        begun.append(device)

    work = PromptWork(FakeWorkQueue(harness.processes[0].line), reconcile)
    await work.put(device(1))
    await work.put(device(2), delay_seconds=1)
    await asyncio.sleep(0)
    assert begun == [device(1)]
    now = harness.clock.now()
    waits = {r.device: (r.visible_at - now).total_seconds() for r in harness.cloud.queue}
    assert waits[device(1)] > 10
    assert waits[device(2)] <= 1


async def test_what_a_process_has_no_room_for_or_is_doing_already_goes_to_the_queue() -> None:
    harness, ends = Harness(), asyncio.Event()

    async def reconcile(_: DeviceKey) -> None:
        await ends.wait()

    work = PromptWork(FakeWorkQueue(harness.processes[0].line), reconcile)
    for number in range(AT_ONCE):
        await work.put(device(number))
    soon = harness.clock.now()
    harness.cloud.queue.clear()
    await work.put(device(0))
    await work.put(device(AT_ONCE))
    assert [r.device for r in harness.cloud.queue] == [device(0), device(AT_ONCE)]
    assert all(r.visible_at <= harness.clock.now() for r in harness.cloud.queue)
    assert harness.clock.now() > soon
    ends.set()


async def test_a_defect_beside_a_request_is_logged_and_its_device_is_free_again(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    harness, times = Harness(), 0

    async def reconcile(_: DeviceKey) -> None:
        nonlocal times
        times += 1
        raise ValueError("a defect")

    work = PromptWork(FakeWorkQueue(harness.processes[0].line), reconcile)
    for _ in range(2):
        await work.put(device(1))
        await asyncio.sleep(0)
    assert times == 2
    assert "device.reconcile.crashed" in caplog.text + capsys.readouterr().err
