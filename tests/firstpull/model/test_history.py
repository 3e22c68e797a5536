from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from firstpull.model.errors import Refused
from firstpull.model.history import LENGTH, HistoryEntry, Journal, entry, extended
from firstpull.observability.log_events import LogEvent
from tests.firstpull.builders import DEVICE, NOW
from tests.firstpull.fakes import PASSWORD_MARK
from tests.firstpull.harness import Harness
from tests.firstpull.virtual_clock import VirtualClock


def some(count: int, *, first: int = 0) -> tuple[HistoryEntry, ...]:
    return tuple(entry(LogEvent.DEVICE_DRIFT_FOUND, at=NOW, detail=f"{n}") for n in range(first, first + count))


async def events(harness: Harness) -> list[str]:
    """The names of what happened to the only device."""
    (record,) = harness.cloud.all_records()
    return [happened.event for happened in record.history]


@pytest.mark.parametrize("before", [0, 1, LENGTH - 1, LENGTH, LENGTH + 7])
@pytest.mark.parametrize("more", [0, 1, LENGTH + 1])
def test_a_history_keeps_the_latest(before: int, more: int) -> None:
    found = extended(some(before), some(more, first=before))
    assert found == some(before + more)[-LENGTH:]


def test_a_detail_is_cut_to_what_a_record_can_hold() -> None:
    assert len(entry(LogEvent.DEVICE_DRIFT_FOUND, at=NOW, detail="x" * 10_000).detail) == 200
    assert entry(LogEvent.DEVICE_DRIFT_FOUND, at=NOW, detail="short").detail == "short"


def test_what_a_worker_notes_is_in_the_log_at_once_and_kept_for_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    journal = Journal(device=DEVICE, clock=clock)
    with caplog.at_level(logging.INFO, logger="firstpull"):
        journal.note(LogEvent.DEVICE_TOKEN_CREATED, token="fp-1", registry="plantone")  # noqa: S106 - a name
    assert journal.entries == [
        HistoryEntry(
            at=clock.now(), event="device.token.created", detail="token fp-1, registry plantone"
        )
    ]
    (line,) = caplog.messages
    name, fields = line.split(" ", 1)
    assert name == "device.token.created"
    assert json.loads(fields)["device_id"] == DEVICE.device_id


async def test_the_history_of_a_first_onboarding_tells_every_step_in_order() -> None:
    harness = Harness()
    device = await harness.make_ready()
    found = await events(harness)
    made = {"device.password.generated", "device.credential.stored", "device.membership.joined"}
    assert found[:3] == [
        "device.intent.recorded",
        "device.scope_map.written",
        "device.token.created",
    ]
    assert set(found[3:6]) == made
    assert found[6:] == ["device.credential.delivered", "device.credential.acknowledged"]
    history = harness.cloud.record(device).history
    assert [happened.at for happened in history] == sorted(happened.at for happened in history)


async def test_a_whole_life_is_told_with_who_asked_for_it() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.rotate(device)
    await harness.run_until_quiet()
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=20))
    history = harness.cloud.record(device).history
    asked = [(happened.event, happened.detail, happened.by) for happened in history if happened.by]
    assert asked == [
        ("device.intent.recorded", "plantone", "a test"),
        ("device.rotation.recorded", "", "a test"),
        ("device.intent.recorded", "planttwo", "a test"),
        ("device.revoke.recorded", "", "a test"),
    ]
    done = [happened.event for happened in history]
    assert done.count("device.credential.acknowledged") == 3
    assert done[done.index("device.revoke.recorded") + 1 :][:6] == [
        "device.token.disabled",
        "device.membership.left",
        "device.credential.removed",
        "device.secret.disabled",
        "device.token.deleted",
        "device.access.revoked",
    ]


async def test_a_rotation_at_once_is_told_as_such() -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.rotate(device, immediately=True)
    assert record.history[-1].detail == "immediately"


async def test_reconciles_a_device_that_is_as_it_should_be_tell_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    before = harness.cloud.record(device).history
    for _ in range(5):
        await harness.ask()
        await harness.reconcile(device)
        await harness.run_for(timedelta(hours=1))
    assert harness.cloud.record(device).history == before


async def test_what_a_pass_did_is_told_though_the_device_was_asked_for_anew_meanwhile() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()

    async def revoke() -> None:
        await harness.revoke(device)

    with harness.at_call(20, revoke) as tasks:
        await harness.run_for(timedelta(minutes=30))
    await tasks[0]
    found = await events(harness)
    assert found.count("device.token.created") == found.count("device.token.deleted") == 1
    assert found.index("device.revoke.recorded") < found.index("device.token.disabled")


async def test_a_record_never_holds_more_of_it_than_it_may() -> None:
    harness = Harness()
    device = await harness.make_ready()
    for n in range(40):
        await harness.ask(repositories=[f"plant/r{n}"])
        await harness.run_for(timedelta(minutes=4))
    history = harness.cloud.record(device).history
    assert len(history) == LENGTH
    assert max(len(happened.detail) for happened in history) <= 200


async def test_a_refused_request_is_no_part_of_the_history() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    before = harness.cloud.record(device).history
    with pytest.raises(Refused):
        await harness.rotate(device)
    assert harness.cloud.record(device).history == before


async def test_no_history_holds_a_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.rotate(device)
    await harness.run_until_quiet()
    assert PASSWORD_MARK not in repr(harness.cloud.record(device).history)
    assert harness.cloud.passwords_made[0].startswith(PASSWORD_MARK)
