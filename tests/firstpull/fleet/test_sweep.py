"""The sweep repairs what no event announced, and concludes nothing from what it could not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from firstpull.fleet.sweep import Sweeper
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Transient
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import scope_map_name
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind, Step
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.checks import Difference
from local_azure.iot_hub.twins import Json
from local_azure.key_vault.models import Properties
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import DEPLOYMENT, HUB, PLANT_ONE, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import make_by_hand
from tests.world.calls import FAULTS, READS, Crashed, Fault
from tests.world.cloud import PULL, Cloud

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
REVOKED = timedelta(minutes=20)
"""So long after a revoke the second pass is over."""
UNUSED = ("repositories/plant/nobody/content/read",)
UNUSED_MAP = scope_map_name(frozenset(UNUSED), deployment=DEPLOYMENT)
UNUSED_MAP_ID = REGISTRY.scope_map(UNUSED_MAP)


def states(harness: Harness, devices: Iterable[DeviceKey]) -> list[State]:
    return [harness.state(device) for device in devices]


def sweeper_of(harness: Harness) -> Sweeper:
    return harness.processes[0].application.sweeper


def token_of(harness: Harness, device: DeviceKey) -> str:
    return grant_of(harness.cloud.record(device)).names.token


def edit_entry(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere"})


def add_unused_map(harness: Harness) -> None:
    harness.cloud.registry().put_scope_map(UNUSED_MAP, actions=UNUSED)


async def hold_room(harness: Harness, token: str, standing: Standing) -> None:
    """Have the ledger of the first connected registry hold room for a token, from now on."""
    ledgers = harness.processes[0].membership.ledgers
    stored = await ledgers.get(PLANT_ONE)
    ledger, etag = (stored.value, stored.etag) if stored is not None else (Ledger(), None)
    entry = Entry(token_id=REGISTRY.token(token), standing=standing, since=harness.clock.now())
    await ledgers.put(PLANT_ONE, ledger.with_entry(entry), etag=etag)


async def expect_nothing_more(harness: Harness) -> None:
    """One more sweep finds all in order, writes its report, and requeues nobody."""
    begun = len(harness.cloud.calls)
    report = await harness.sweep()
    assert (report.drifted, report.onboarded, report.revoked) == ({}, 0, 0)
    assert (report.held, report.unread, report.orphans) == ((), (), ())
    assert (report.ledger_entries_removed, report.scope_maps_removed) == (0, 0)
    assert set(harness.cloud.calls[begun:]) - READS == {"sweeps.put"}


async def test_where_all_is_in_order_a_sweep_writes_its_report_alone() -> None:
    harness = Harness()
    sweeper = sweeper_of(harness)
    assert await sweeper.latest() is None
    await expect_nothing_more(harness)
    await harness.make_fleet(3)
    await expect_nothing_more(harness)
    report = await sweeper.latest()
    assert report is not None
    assert report.devices == 3
    assert report.finished_at > report.started_at


def damaged_reports(sound: bytes) -> Iterator[bytes]:
    """Stored reports: no JSON, other types, another schema, impossible values."""
    yield from (b"", b"\xff", b"null", b"[]", b"{}", b'{"id": "1"}', b"[" * 100_000)
    yield sound[: len(sound) // 2]
    document = json.loads(sound)
    for name in document:
        if name not in ("id", "unread"):
            yield json.dumps({**document, name: "yesterday"}).encode()
        yield json.dumps({**document, name: {"a": "x"}}).encode()
    for at in ("2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        yield json.dumps({**document, "complete_at": at}).encode()
        yield json.dumps({**document, "scope_maps_unreferenced": {"a": at}}).encode()


async def test_a_damaged_report_is_told_and_the_next_sweep_replaces_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    await harness.make_fleet(3)
    await harness.sweep()
    application = harness.processes[0].application
    sound, _ = harness.cloud.documents["sweeps"]
    for damaged in damaged_reports(sound):
        caplog.clear()
        harness.cloud.documents["sweeps"] = damaged, harness.cloud.next_number()
        with pytest.raises(NotKnown, match="damaged"):
            await application.sweeper.latest()
        with pytest.raises(NotKnown, match="damaged"):
            await application.sweeper.approve("1", approved_by="a test")
        with pytest.raises(NotKnown, match="damaged"):
            await application.sweeper.propose_approval("1")
        await application.gauges.measure()
        report = await harness.sweep()
        assert (report.devices, report.unread) == (3, ())
        assert await application.sweeper.latest() == report
        assert any(line.startswith("sweep.report.unreadable") for line in caplog.messages)


@pytest.mark.parametrize("is_adopted", [False, True], ids=["own", "adopted"])
async def test_a_sweep_costs_as_many_calls_for_many_devices_as_for_few(is_adopted: bool) -> None:  # noqa: FBT001 - a table
    costs = []
    for count in (2, 5):
        harness = Harness(policy=make_policy(adoptableTokens=["hand-*"]))
        for number in range(count):
            harness.register(f"press-{number}")
            make_by_hand(harness, f"hand-{number}")
            adopt = {"adopt": f"hand-{number}"} if is_adopted else {}
            await harness.ask(f"press-{number}", **adopt)
        await harness.run_until_quiet()
        begun = len(harness.cloud.calls)
        assert (await harness.sweep()).drifted == {}
        costs.append(len(harness.cloud.calls) - begun)
    assert costs[0] == costs[1]


async def test_an_opted_in_device_whose_event_was_lost_is_onboarded() -> None:
    harness = Harness()
    device = harness.register()
    harness.opt_in(device)
    assert (await harness.sweep()).onboarded == 1
    assert harness.cloud.record(device).spec.intent.requested_by == "sweep"
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    await expect_nothing_more(harness)


async def test_a_device_without_a_tag_is_left_alone_whatever_the_default() -> None:
    default = {"connectedRegistry": "plantone", "repositories": ["plant/app"]}
    harness = Harness(policy=make_policy(defaultOnboarding=default))
    harness.cloud.patch_twin(harness.register(), desired={"firstpull": {}})
    assert (await harness.sweep()).onboarded == 0
    assert not harness.cloud.records


@pytest.mark.parametrize(
    "tag",
    [
        "plant",
        {"connectedRegistry": "stranger", "repositories": ["plant/app"]},
        {"connectedRegistry": "plantone", "repositories": ["Plant/App"]},
    ],
    ids=["no object", "not allowed", "malformed"],
)
async def test_an_invalid_tag_is_a_warning_and_holds_up_no_other_device(
    tag: Json, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness()
    harness.cloud.patch_twin(harness.register("a-first"), tags={"firstpull": tag})
    good = harness.register("b-second")
    harness.opt_in(good)
    report = await harness.sweep()
    assert report.onboarded == 1
    assert sum(LogEvent.DEVICE_TAG_REFUSED in line for line in caplog.messages) == 1
    assert list(harness.cloud.records) == [good]


async def test_a_device_deleted_without_an_event_is_revoked() -> None:
    harness = Harness()
    device, other = await harness.make_fleet(2)
    harness.cloud.unregister(device)
    report = await harness.sweep()
    assert (report.revoked, report.held) == (1, ())
    revocation = harness.cloud.record(device).spec.revocation
    assert revocation is not None
    assert revocation.requested_by == "sweep"
    await harness.run_for(REVOKED)
    assert states(harness, (device, other)) == [State.REVOKED, State.READY]
    assert token_of(harness, device) not in harness.cloud.tokens
    await expect_nothing_more(harness)


async def test_the_hub_is_asked_for_the_device_itself_before_it_is_revoked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hub's query lags: it shows none of the devices that are there."""
    harness = Harness()
    devices = await harness.make_fleet(3)
    monkeypatch.setattr(harness.cloud.hub.index, "devices", list)
    report = await harness.sweep()
    assert (report.revoked, report.held) == (0, ())
    await harness.run_until_quiet()
    assert states(harness, devices) == [State.READY] * 3


async def test_more_than_a_share_of_the_fleet_is_held_until_a_person_approves() -> None:
    harness = Harness()
    devices = await harness.make_fleet(5)
    for device in devices[:3]:
        harness.cloud.unregister(device)
    first, again = await harness.sweep(), await harness.sweep()
    for report in (first, again):
        assert (report.revoked, set(report.held)) == (0, set(devices[:3]))
    with pytest.raises(NotKnown) as unknown:
        await sweeper_of(harness).approve(first.id, approved_by="a test")
    assert unknown.value.reason is Reason.SWEEP_NOT_KNOWN
    approved = await sweeper_of(harness).approve(again.id, approved_by="a test")
    assert set(approved.approved) == set(devices[:3])
    assert harness.state(devices[0]) is State.READY
    report = await harness.sweep()
    assert (report.revoked, report.held, report.approved) == (3, (), ())
    await harness.run_for(REVOKED)
    assert states(harness, devices) == [State.REVOKED] * 3 + [State.READY] * 2
    await expect_nothing_more(harness)


async def test_an_approval_is_for_the_devices_that_were_held_and_are_still_gone() -> None:
    harness = Harness()
    devices = await harness.make_fleet(6)
    back, gone, *later = devices[:4]
    harness.cloud.unregister(back, gone)
    await sweeper_of(harness).approve((await harness.sweep()).id, approved_by="a test")
    harness.cloud.register(back)
    for device in later:
        harness.cloud.unregister(device)
    report = await harness.sweep()
    assert (report.revoked, set(report.held)) == (1, set(later))
    assert harness.cloud.record(gone).spec.revocation is not None
    assert states(harness, (back, *later)) == [State.READY] * 3


async def test_a_sweep_that_held_nothing_cannot_be_approved() -> None:
    harness = Harness()
    for report_id in ("unknown", (await harness.sweep()).id):
        with pytest.raises(NotKnown):
            await sweeper_of(harness).approve(report_id, approved_by="a test")


@pytest.mark.parametrize("unanswered", ["hubs.list_devices", "hubs.twin"])
async def test_an_approval_outlives_a_sweep_that_could_not_read_the_hub(unanswered: str) -> None:
    harness = Harness()
    devices = await harness.make_fleet(3)
    harness.cloud.unregister(*harness.cloud.devices)
    await sweeper_of(harness).approve((await harness.sweep()).id, approved_by="a test")
    with harness.cloud.unavailable(unanswered):
        report = await harness.sweep()
    assert (report.revoked, set(report.approved)) == (0, set(devices))
    assert (await harness.sweep()).revoked == len(devices)


async def test_a_share_of_nothing_holds_every_device() -> None:
    harness = Harness()
    (device,) = await harness.make_fleet(1)
    harness.cloud.unregister(device)
    report = await replace(sweeper_of(harness), most_revokes_percent=0).run()
    assert (report.revoked, report.held) == (0, (device,))


type Change = Callable[[Cloud, str, DeviceKey], object]


def change_scope_map(cloud: Cloud, token: str, _: DeviceKey) -> None:
    cloud.registry().update_token(token, scope_map_id=str(REGISTRY.scope_map(PULL)))


def generate_password(cloud: Cloud, token: str, _: DeviceKey) -> None:
    cloud.generate(REGISTRY, token)


CHANGES: list[tuple[Change, Difference]] = [
    (change_scope_map, Difference.OTHER_SCOPE_MAP),
    (generate_password, Difference.PASSWORD_CHANGED),
    (lambda cloud, _, device: cloud.clear_twin(device), Difference.ENTRY_MISSING),
]
"""Beside those in `reconcile/test_checks.py`. After the last one no query lists the device."""


@pytest.mark.parametrize(("change", "difference"), CHANGES)
async def test_what_somebody_changed_is_reported_and_repaired(
    change: Change, difference: Difference
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(3 * HOUR)
    change(harness.cloud, token_of(harness, device), device)
    report = await harness.sweep()
    assert (report.drifted[difference], report.revoked) == (1, 0)
    history = [happened.event for happened in harness.cloud.record(device).history]
    assert LogEvent.DEVICE_DRIFT_FOUND in history
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    password = harness.cloud.twin_entry(device, PLANT_ONE)["password"]
    assert harness.cloud.devices[device].held == {"plantone": password}
    assert password in harness.cloud.accepted(token_of(harness, device))
    await expect_nothing_more(harness)


@pytest.mark.parametrize("text", [None, b'{"entries": '], ids=["lost", "damaged"])
async def test_a_ledger_is_rebuilt_and_the_list_stays(text: bytes | None) -> None:
    harness = Harness()
    devices = await harness.make_fleet(4)
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    listed = set(harness.cloud.clients(PLANT_ONE))
    harness.must_stay_logged_in.update(devices)
    harness.cloud.ledgers = {PLANT_ONE: (text, 1)} if text else {}
    assert (await harness.sweep()).drifted == {Difference.LEDGER_ENTRY_MISSING: 4}
    await harness.run_until_quiet()
    entries = harness.cloud.ledger(PLANT_ONE).entries.values()
    assert [entry.standing for entry in entries] == [Standing.MEMBER] * 4
    assert set(harness.cloud.clients(PLANT_ONE)) == listed
    await expect_nothing_more(harness)


async def test_room_held_for_no_device_is_free_after_an_hour_and_not_before() -> None:
    harness = Harness()
    device = await harness.make_ready()
    for standing in Standing:
        await hold_room(harness, f"nobody-{standing}", standing)
    assert (await harness.sweep()).ledger_entries_removed == 0
    await harness.run_for(59 * MINUTE)
    assert (await harness.sweep()).ledger_entries_removed == 0
    await harness.run_for(2 * MINUTE)
    assert (await harness.sweep()).ledger_entries_removed == len(Standing)
    assert set(harness.cloud.ledger(PLANT_ONE).entries) == {
        REGISTRY.token(token_of(harness, device))
    }
    await expect_nothing_more(harness)


async def test_a_client_that_leaves_the_ledger_stays_in_the_list() -> None:
    """It may be somebody else's: from then on it counts as theirs."""
    harness = Harness()
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    await hold_room(harness, "foreign", Standing.MEMBER)
    harness.clock.advance(2 * HOUR)
    before = harness.cloud.writes()
    await harness.sweep()
    assert harness.cloud.ledger(PLANT_ONE).entries == {}
    assert harness.cloud.clients(PLANT_ONE) == ["foreign"]
    assert harness.cloud.writes() == before


async def test_room_held_for_a_device_that_waits_is_kept() -> None:
    harness = Harness()
    harness.register()
    await harness.ask()
    with harness.cloud.unavailable("registries.create_token"):
        await harness.run_for(5 * HOUR)
        await harness.sweep()
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 1


async def test_a_scope_map_without_a_reference_goes_after_a_day() -> None:
    harness = Harness()
    await harness.make_ready()
    add_unused_map(harness)
    assert set((await harness.sweep()).scope_maps_unreferenced) == {UNUSED_MAP_ID}
    await harness.run_for(23 * HOUR)
    assert (await harness.sweep()).scope_maps_removed == 0
    await harness.run_for(HOUR)
    report = await harness.sweep()
    assert (report.scope_maps_removed, report.scope_maps_unreferenced) == (1, {})
    assert UNUSED_MAP not in harness.cloud.scope_maps
    assert len(harness.cloud.scope_maps) == 1
    await expect_nothing_more(harness)


async def test_a_scope_map_that_the_service_keeps_because_it_is_in_use_stays() -> None:
    harness = Harness()
    add_unused_map(harness)
    await harness.sweep()
    harness.clock.advance(2 * DAY)
    use = partial(harness.cloud.add_token, "newcomer", scope_map=UNUSED_MAP)
    harness.cloud.act(use, at="registries.delete_scope_map")
    assert (await harness.sweep()).scope_maps_removed == 0
    assert UNUSED_MAP in harness.cloud.scope_maps
    assert (await harness.sweep()).scope_maps_unreferenced == {}


async def test_a_scope_map_is_not_removed_by_a_sweep_that_could_not_read_its_registry() -> None:
    harness = Harness()
    add_unused_map(harness)
    first = await harness.sweep()
    harness.clock.advance(2 * DAY)
    with harness.cloud.unavailable("registries.list_tokens"):
        blind = await harness.sweep()
    assert blind.scope_maps_removed == 0
    assert blind.scope_maps_unreferenced == first.scope_maps_unreferenced
    assert (await harness.sweep()).scope_maps_removed == 1


async def test_orphans_are_reported_and_not_touched() -> None:
    harness = Harness()
    device = await harness.make_ready()
    name = token_of(harness, device)
    harness.cloud.records.clear()
    before = harness.cloud.writes()
    for _ in range(3):
        orphans = (await harness.sweep()).orphans
        assert [orphan.kind for orphan in orphans] == [Kind.SECRET, Kind.TOKEN, Kind.TWIN_ENTRY]
        assert name in {orphan.name for orphan in orphans}
        harness.clock.advance(DAY)
    assert harness.cloud.tokens[name].status == "enabled"
    assert set(harness.cloud.writes() - before) <= {"registries.delete_scope_map"}


SOURCES = [
    "registries.list_tokens",
    "registries.list_scope_maps",
    "registries.list_connected_registries",
    "secrets.list_secrets",
    "hubs.list_devices",
    "ledgers.get",
]


@pytest.mark.parametrize("source", SOURCES)
async def test_a_source_that_does_not_answer_is_named_and_nothing_is_concluded(source: str) -> None:
    harness = Harness()
    devices = await harness.make_fleet(3)
    before, queued = harness.cloud.writes(), len(harness.cloud.queue)
    with harness.cloud.unavailable(source):
        report = await harness.sweep()
    assert report.unread
    assert (report.drifted, report.revoked, report.held) == ({}, 0, ())
    assert (report.orphans, report.ledger_entries_removed) == ((), 0)
    assert (harness.cloud.writes(), len(harness.cloud.queue)) == (before, queued)
    assert states(harness, devices) == [State.READY] * 3
    await expect_nothing_more(harness)


@pytest.mark.parametrize("unanswered", ["hubs.", "hubs.twin"])
async def test_a_hub_that_cannot_be_read_revokes_nobody_though_its_devices_are_gone(
    unanswered: str,
) -> None:
    harness = Harness()
    devices = await harness.make_fleet(3)
    harness.cloud.unregister(devices[0])
    with harness.cloud.unavailable(unanswered):
        report = await harness.sweep()
    assert (report.revoked, report.held, len(report.unread)) == (0, (), 1)
    assert harness.cloud.record(devices[0]).spec.revocation is None
    assert (await harness.sweep()).revoked == 1


async def test_where_one_source_fails_the_sweep_uses_the_others() -> None:
    harness = Harness()
    devices = await harness.make_fleet(2)
    edit_entry(harness, devices[0])
    with harness.cloud.unavailable("registries."):
        report = await harness.sweep()
    assert report.drifted == {Difference.ENTRY_CHANGED: 1}
    assert len(report.unread) == 1


async def test_a_new_device_that_cannot_be_read_does_not_end_the_sweep() -> None:
    harness = Harness()
    devices = await harness.make_fleet(3)
    harness.opt_in(harness.register("newcomer"))
    harness.cloud.unregister(devices[0])
    with harness.cloud.failing("hubs.twin", fault=Fault.UNAVAILABLE, times=1):
        report = await harness.sweep()
    assert report.unread
    assert report.revoked == 1


async def test_a_ledger_that_cannot_be_written_does_not_end_the_sweep() -> None:
    harness = Harness()
    await harness.make_ready()
    add_unused_map(harness)
    await harness.sweep()
    await hold_room(harness, "nobody", Standing.RESERVED)
    harness.clock.advance(2 * DAY)
    with harness.cloud.unavailable("ledgers.put"):
        assert (await harness.sweep()).scope_maps_removed == 1


async def test_a_password_that_was_stored_twice_is_no_drift() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def store_twice() -> None:
        ((stored,),) = harness.cloud.secrets.values()
        properties = Properties(tags=stored.tags, expires=stored.expires)
        harness.cloud.vault.set(stored.name, stored.value, properties)

    harness.cloud.act(store_twice, at="hubs.patch_desired")
    harness.cloud.inject(Fault.CRASH_BEFORE, at="hubs.patch_desired")
    await harness.run_until_quiet()
    assert harness.crashes == 1
    assert harness.state(device) is State.READY
    await harness.run_for(HOUR)
    assert (await harness.sweep()).drifted == {}


async def test_two_sweeps_at_once_do_what_one_does() -> None:
    harness = Harness(processes=2)
    devices = await harness.make_fleet(5)
    change_all(harness, devices)
    await hold_room(harness, "nobody", Standing.RESERVED)
    harness.clock.advance(2 * HOUR)
    reports = await asyncio.gather(harness.sweep(), harness.sweep())
    assert sum(report.revoked for report in reports) in (1, 2)
    await harness.run_for(HOUR)
    assert states(harness, harness.cloud.records) == [State.REVOKED] + [State.READY] * 5
    assert harness.cloud.record(devices[0]).spec.generation == 2
    latest = await sweeper_of(harness).latest()
    assert latest is not None
    assert latest.id in {report.id for report in reports}
    await harness.sweep()  # the warning ends
    await expect_nothing_more(harness)


async def test_an_approval_given_during_a_sweep_is_not_lost() -> None:
    harness = Harness(processes=2)
    devices = await harness.make_fleet(3)
    harness.cloud.unregister(*harness.cloud.devices)
    held = await harness.sweep()
    async with harness.while_held("secrets.list_secrets", harness.sweep()):
        await sweeper_of(harness).approve(held.id, approved_by="a test")
    assert (await harness.sweep()).revoked == len(devices)


def change_all(harness: Harness, devices: list[DeviceKey]) -> None:
    """Something for every step of a sweep."""
    harness.cloud.unregister(devices[0])
    harness.opt_in(harness.register("newcomer"))
    edit_entry(harness, devices[1])
    harness.cloud.registry().update_token(token_of(harness, devices[2]), status="disabled")
    harness.cloud.clear_twin(devices[3])
    harness.cloud.registry().note_connection(PLANT_ONE.name, "Offline")


async def swept(faults: dict[int, Fault]) -> Harness:
    """A fleet with something to do for every step, after a sweep with faults and one without."""
    harness = Harness()
    devices = await harness.make_fleet(4)
    add_unused_map(harness)
    await harness.sweep()
    await hold_room(harness, "nobody", Standing.RESERVED)
    harness.clock.advance(25 * HOUR)
    change_all(harness, devices)
    begun = len(harness.cloud.calls)
    harness.cloud.faults = {begun + number: fault for number, fault in faults.items()}
    try:
        await harness.sweep()
    except Transient:
        pass
    except Crashed:
        harness.restart(0)
    harness.cloud.faults = {}
    await harness.run_for(5 * MINUTE)
    await harness.sweep()
    await harness.run_for(REVOKED)
    return harness


def whole_state(harness: Harness) -> dict[str, Any]:
    assert UNUSED_MAP not in harness.cloud.scope_maps
    return {d.device_id: end_state(harness.cloud, d) for d in harness.cloud.records}


async def meets_fault(fault: Fault, number: int, *, want: dict[str, Any]) -> bool:
    """Whether a sweep has so many calls; a fault at this one changes nothing in the end."""
    harness = await swept({number: fault})
    assert whole_state(harness) == want
    await expect_nothing_more(harness)
    return harness.cloud.faults_met == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_any_call_of_a_sweep_is_repaired_by_the_next(fault: Fault) -> None:
    want, calls = whole_state(await swept({})), 1
    while await meets_fault(fault, calls, want=want):
        calls += 1
    assert calls > 25


async def test_a_fault_at_some_calls_of_a_sweep_is_repaired_by_the_next() -> None:
    want = whole_state(await swept({}))
    for fault, number in ((Fault.UNAVAILABLE, 9), (Fault.ANSWER_LOST, 18), (Fault.CRASH_AFTER, 22)):
        assert await meets_fault(fault, number, want=want)


async def test_a_sweep_whose_time_is_over_says_so_and_the_next_ones_go_on_there() -> None:
    harness = Harness()
    devices = await harness.make_fleet(8)
    complete_before = (await harness.sweep()).complete_at
    for device in devices:
        edit_entry(harness, device)
    short = replace(
        sweeper_of(harness), most_time=timedelta(), least_time=timedelta(milliseconds=20)
    )
    reports = [await short.run()]
    while reports[-1].continues is not None:
        assert reports[-1].complete_at == complete_before
        reports.append(await short.run())
    found = [sum(report.drifted.values()) for report in reports]
    assert len(reports) > 2
    assert sum(found) == len(devices)
    first = reports[0].continues
    assert first is not None
    assert (first.step, first.after) == (Step.DRIFT, f"{HUB}/press-{found[0] - 1}")
    assert reports[-1].complete_at == reports[-1].finished_at
    await harness.run_until_quiet()
    await expect_nothing_more(harness)


async def test_a_sweep_without_time_to_ask_for_all_that_seem_gone_revokes_none() -> None:
    harness = Harness()
    devices = await harness.make_fleet(8)
    for device in devices[:5]:
        harness.cloud.unregister(device)
    short = replace(
        sweeper_of(harness), most_time=timedelta(), least_time=timedelta(milliseconds=12)
    )
    report = await short.run()
    assert report.continues is not None
    assert (report.continues.step, report.revoked) == (Step.GONE, 0)
    assert 0 < len(report.held) < 5
    approved = await short.approve(report.id, approved_by="a test")
    report = await sweeper_of(harness).run()
    assert (report.revoked, report.continues) == (len(approved.approved), None)


async def test_of_a_hub_that_does_not_answer_a_sweep_asks_for_one_device_alone() -> None:
    harness = Harness()
    devices = await harness.make_fleet(6)
    for device in devices:
        harness.cloud.unregister(device)
    begun = len(harness.cloud.calls)
    with harness.cloud.unavailable("hubs.twin"):
        report = await harness.sweep()
    assert harness.cloud.calls[begun:].count("hubs.twin") == 1
    assert (report.revoked, report.held, len(report.unread)) == (0, (), 1)


async def test_a_source_that_takes_too_long_is_left_out_of_a_sweep() -> None:
    harness = Harness()
    await harness.make_fleet(2)
    sweeper = sweeper_of(harness)
    reader = replace(sweeper.inventory_reader, most_seconds=0.5)
    harness.cloud.silent = ("secrets.list_secrets",)
    report = await replace(sweeper, inventory_reader=reader).run()
    assert report.devices == 2
    assert report.unread == ("Key Vault: it was not read within 0.5 s.",)
