from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Refused
from firstpull.model.history import LENGTH, HistoryEntry, Journal, entry, extended
from firstpull.observability.log_events import LogEvent
from tests.firstpull.builders import DEVICE, NOW
from tests.firstpull.harness import Harness
from tests.firstpull.virtual_clock import VirtualClock

LONGEST_DETAIL = 200


def some(count: int, *, first: int = 0) -> tuple[HistoryEntry, ...]:
    numbers = range(first, first + count)
    return tuple(entry(LogEvent.DEVICE_TOKEN_CREATED, at=NOW, detail=str(n)) for n in numbers)


def events(harness: Harness, device: DeviceKey) -> list[str]:
    return [happened.event for happened in harness.cloud.record(device).history]


@pytest.mark.parametrize("before", [0, 1, LENGTH - 1, LENGTH, LENGTH + 7])
@pytest.mark.parametrize("more", [0, 1, LENGTH + 1])
def test_a_history_keeps_the_latest(before: int, more: int) -> None:
    found = extended(some(before), some(more, first=before))
    assert found == some(before + more)[-LENGTH:]


def test_what_is_done_for_a_device_does_not_push_its_latest_requests_out() -> None:
    asked = tuple(
        entry(LogEvent.DEVICE_INTENT_RECORDED, at=NOW, detail=str(n), by="a test")
        for n in range(30)
    )
    found = extended(asked, some(100))
    assert len(found) == LENGTH
    assert [e for e in found if e.by] == list(asked[-20:])
    assert [e for e in found if not e.by] == list(some(100)[-30:])


def test_a_detail_is_cut_to_what_a_record_can_hold() -> None:
    def detail(text: str) -> str:
        return entry(LogEvent.DEVICE_TOKEN_CREATED, at=NOW, detail=text).detail

    assert detail("x" * 10_000) == "x" * LONGEST_DETAIL
    assert detail("short") == "short"


def test_what_a_worker_notes_is_in_the_log_at_once_and_kept_for_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    journal = Journal(device=DEVICE, clock=clock)
    with caplog.at_level(logging.INFO, logger="firstpull"):
        journal.note(LogEvent.DEVICE_TOKEN_CREATED, token="fp-1")  # noqa: S106 - a name
    (kept,) = journal.entries
    assert (kept.at, kept.event) == (clock.now(), LogEvent.DEVICE_TOKEN_CREATED)
    assert "fp-1" in kept.detail
    (line,) = caplog.messages
    name, fields = line.split(" ", 1)
    assert name == LogEvent.DEVICE_TOKEN_CREATED
    assert json.loads(fields) == {
        "hub": DEVICE.hub,
        "device_id": DEVICE.device_id,
        "token": "fp-1",
    }


async def test_the_history_has_every_step_in_order_and_who_asked_for_it() -> None:
    harness = Harness()
    device = await harness.make_ready()
    first = events(harness, device)
    await harness.rotate(device)
    await harness.run_until_quiet()
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=20))
    history = harness.cloud.record(device).history
    assert [happened.at for happened in history] == sorted(happened.at for happened in history)
    assert first[:3] == [
        LogEvent.DEVICE_INTENT_RECORDED,
        LogEvent.DEVICE_SCOPE_MAP_WRITTEN,
        LogEvent.DEVICE_TOKEN_CREATED,
    ]
    assert set(first[3:6]) == {
        LogEvent.DEVICE_PASSWORD_GENERATED,
        LogEvent.DEVICE_CREDENTIAL_STORED,
        LogEvent.DEVICE_MEMBERSHIP_JOINED,
    }
    assert first[6:] == [
        LogEvent.DEVICE_CREDENTIAL_DELIVERED,
        LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED,
    ]
    assert [(entry.event, entry.detail, entry.by) for entry in history if entry.by] == [
        (LogEvent.DEVICE_INTENT_RECORDED, "plantone: plant/app", "a test"),
        (LogEvent.DEVICE_ROTATION_RECORDED, "", "a test"),
        (LogEvent.DEVICE_INTENT_RECORDED, "planttwo: plant/app", "a test"),
        (LogEvent.DEVICE_REVOKE_RECORDED, "", "a test"),
    ]
    done = events(harness, device)
    assert done.count(LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED) == 3
    revoked = done[done.index(LogEvent.DEVICE_REVOKE_RECORDED) + 1 :]
    assert set(revoked[:5]) == {
        LogEvent.DEVICE_TOKEN_DISABLED,
        LogEvent.DEVICE_SECRET_TAGGED,
        LogEvent.DEVICE_MEMBERSHIP_LEFT,
        LogEvent.DEVICE_CREDENTIAL_REMOVED,
        LogEvent.DEVICE_SECRET_DISABLED,
    }
    assert revoked[5:7] == [LogEvent.DEVICE_TOKEN_DELETED, LogEvent.DEVICE_ACCESS_REVOKED]
    assert not harness.cloud.shows_password(repr(history))


async def test_a_pass_over_a_device_in_order_and_a_refused_request_are_no_history() -> None:
    harness = Harness()
    device = await harness.make_ready()
    before = events(harness, device)
    for _ in range(3):
        await harness.ask()
        await harness.reconcile(device)
        await harness.run_for(timedelta(hours=1))
    assert events(harness, device) == before
    await harness.revoke(device)
    before = events(harness, device)
    with pytest.raises(Refused):
        await harness.rotate(device)
    assert events(harness, device) == before


async def test_an_immediate_rotation_is_recorded_as_such() -> None:
    harness = Harness()
    record = await harness.rotate(await harness.make_ready(), immediately=True)
    assert record.history[-1].detail == "immediately"


async def test_what_a_pass_did_is_kept_though_the_device_was_revoked_meanwhile() -> None:
    harness = Harness(processes=2)
    device = harness.register()
    await harness.ask()
    with harness.at_call(20, lambda: harness.revoke(device)) as tasks:
        await harness.run_for(timedelta(minutes=30))
    await tasks[0]
    found = events(harness, device)
    assert found.count(LogEvent.DEVICE_TOKEN_CREATED) == 1
    assert found.count(LogEvent.DEVICE_TOKEN_DELETED) == 1
    assert found.index(LogEvent.DEVICE_REVOKE_RECORDED) < found.index(
        LogEvent.DEVICE_TOKEN_DISABLED
    )


async def test_a_record_never_holds_more_history_than_it_may() -> None:
    harness = Harness()
    device = await harness.make_ready()
    for n in range(20):
        await harness.ask(repositories=[f"plant/r{n}"])
        await harness.run_for(timedelta(minutes=4))
    assert len(events(harness, device)) == LENGTH
