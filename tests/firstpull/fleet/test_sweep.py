"""The sweep sees to what no event told of, and concludes nothing from what it could not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import (
    NewPassword,
    ScopeMap,
    ScopeMapId,
    Slot,
    StoredSecret,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Transient
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import scope_map_name
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.sweep_report import Kind
from tests.firstpull.end_state import end_state
from tests.firstpull.fakes import (
    READS,
    Crashed,
    FakeSecretVersion,
    FakeToken,
    Fault,
    FaultKind,
    name_in,
)
from tests.firstpull.harness import (
    DEPLOYMENT,
    HUB,
    PLANT_ONE,
    REGISTRY,
    Harness,
    make_policy,
)
from tests.firstpull.records import grant_of
from tests.firstpull.reconcile.test_revoke import SETTLED, remains

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONELY = frozenset({"repositories/plant/nobody/content/read"})
LONELY_MAP = scope_map_name(LONELY, deployment=DEPLOYMENT)


async def fleet(harness: Harness, count: int) -> list[DeviceKey]:
    """Devices that are ready, at one place."""
    devices = [harness.register(f"press-{n}") for n in range(count)]
    await asyncio.gather(*(harness.ask(device.device_id) for device in devices))
    await harness.run_until_quiet()
    assert {harness.state(device) for device in devices} == {State.READY}
    return devices


async def expect_nothing_more(harness: Harness) -> None:
    """One more sweep finds all in order, writes its report, and wakes nobody."""
    begun = len(harness.cloud.calls)
    report = await harness.sweep()
    assert (report.drifted, report.onboarded, report.revoked) == ({}, 0, 0)
    assert (report.held, report.unread, report.orphans) == ((), (), ())
    assert (report.ledger_entries_removed, report.scope_maps_removed) == (0, 0)
    assert set(harness.cloud.calls[begun:]) - READS == {"sweeps.put"}


async def test_where_all_is_in_order_a_sweep_reads_and_writes_its_report() -> None:
    harness = Harness()
    await fleet(harness, 3)
    await expect_nothing_more(harness)
    report = await harness.processes[0].application.sweeper.latest()
    assert report is not None
    assert report.devices == 3
    assert report.finished_at > report.started_at


async def test_a_sweep_of_nothing_at_all() -> None:
    harness = Harness()
    assert await harness.processes[0].application.sweeper.latest() is None
    await expect_nothing_more(harness)


async def test_a_sweep_costs_a_few_listings_however_many_devices_there_are() -> None:
    costs = []
    for count in (2, 9):
        harness = Harness()
        await fleet(harness, count)
        begun = len(harness.cloud.calls)
        await harness.sweep()
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
    policy = make_policy(
        defaultOnboarding={"connectedRegistry": "plantone", "repositories": ["plant/app"]}
    )
    harness = Harness(policy=policy)
    device = harness.register()
    harness.cloud.devices[device].desired = {"firstpull": {}}
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
async def test_a_tag_that_cannot_be_is_told_of_and_hinders_no_other(
    tag: object, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness()
    harness.cloud.devices[harness.register("a-first")].tags = {"firstpull": tag}
    good = harness.register("b-second")
    harness.opt_in(good)
    report = await harness.sweep()
    assert report.onboarded == 1
    assert sum("device.tag.refused" in line for line in caplog.messages) == 1
    assert list(harness.cloud.records) == [good]


async def test_a_device_deleted_without_an_event_is_revoked() -> None:
    harness = Harness()
    device, other = await fleet(harness, 2)
    del harness.cloud.devices[device]
    report = await harness.sweep()
    assert (report.revoked, report.held) == (1, ())
    record = harness.cloud.record(device)
    assert record.spec.revocation is not None
    assert record.spec.revocation.requested_by == "sweep"
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert harness.state(other) is State.READY
    await expect_nothing_more(harness)


async def test_the_hub_is_asked_for_the_device_itself_before_it_is_revoked() -> None:
    """The hub's query lags: it shows none of the devices that are there."""
    harness = Harness()
    devices = await fleet(harness, 3)
    hidden = {device: harness.cloud.devices[device] for device in devices}

    def show_again(_: int, operation: str) -> None:
        if operation == "hubs.twin":
            harness.cloud.devices.update(hidden)

    harness.cloud.devices.clear()
    harness.cloud.before_call = show_again
    report = await harness.sweep()
    harness.cloud.before_call = None
    assert (report.revoked, report.held) == (0, ())
    await harness.run_until_quiet()
    assert {harness.state(device) for device in devices} == {State.READY}


async def test_more_than_a_share_of_the_fleet_is_held_until_a_person_says_so() -> None:
    harness = Harness()
    devices = await fleet(harness, 5)
    for device in devices[:3]:
        del harness.cloud.devices[device]
    sweeper = harness.processes[0].application.sweeper
    first = await harness.sweep()
    assert (first.revoked, set(first.held)) == (0, set(devices[:3]))
    again = await harness.sweep()
    assert (again.revoked, set(again.held)) == (0, set(devices[:3]))
    with pytest.raises(NotKnown) as unknown:
        await sweeper.approve(first.id)
    assert unknown.value.reason is Reason.SWEEP_NOT_KNOWN
    approved = await sweeper.approve(again.id)
    assert set(approved.approved) == set(devices[:3])
    assert harness.state(devices[0]) is State.READY
    report = await harness.sweep()
    assert (report.revoked, report.held, report.approved) == (3, (), ())
    await harness.run_for(SETTLED)
    assert [harness.state(device) for device in devices] == [State.REVOKED] * 3 + [State.READY] * 2
    await expect_nothing_more(harness)


async def test_an_approval_is_for_the_devices_that_were_held_and_no_others() -> None:
    harness = Harness()
    devices = await fleet(harness, 6)
    for device in devices[:2]:
        del harness.cloud.devices[device]
    await harness.processes[0].application.sweeper.approve((await harness.sweep()).id)
    for device in devices[2:4]:
        del harness.cloud.devices[device]
    report = await harness.sweep()
    assert (report.revoked, set(report.held)) == (2, set(devices[2:4]))
    assert harness.cloud.record(devices[2]).spec.revocation is None


async def test_an_approved_device_that_is_back_is_not_revoked() -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    kept = {device: harness.cloud.devices.pop(device) for device in devices[:2]}
    await harness.processes[0].application.sweeper.approve((await harness.sweep()).id)
    harness.cloud.devices.update(kept)
    assert (await harness.sweep()).revoked == 0
    assert {harness.state(device) for device in devices} == {State.READY}


async def test_nothing_waits_for_an_approval_where_nothing_was_held() -> None:
    harness = Harness()
    with pytest.raises(NotKnown):
        await harness.processes[0].application.sweeper.approve("unknown")
    report = await harness.sweep()
    with pytest.raises(NotKnown):
        await harness.processes[0].application.sweeper.approve(report.id)


async def test_an_approval_outlives_a_sweep_that_could_not_read_the_hub() -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    harness.cloud.devices.clear()
    await harness.processes[0].application.sweeper.approve((await harness.sweep()).id)
    with harness.cloud.unavailable("hubs.list_devices"):
        await harness.sweep()
    assert (await harness.sweep()).revoked == len(devices)


async def test_a_share_of_nothing_holds_every_device() -> None:
    harness = Harness()
    (device,) = await fleet(harness, 1)
    del harness.cloud.devices[device]
    sweeper = harness.processes[0].application.sweeper
    report = await replace(sweeper, most_revokes_percent=0).run()
    assert (report.revoked, report.held) == (0, (device,))


def lose_token(harness: Harness, device: DeviceKey) -> None:
    del device
    harness.cloud.connected[PLANT_ONE].clients.clear()
    harness.cloud.tokens.clear()


def disable_token(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.tokens[token_of(harness, device)].enabled = False


def other_scope_map(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.tokens[token_of(harness, device)].scope_map_id = REGISTRY.scope_map("other")


def change_scope_map(harness: Harness, device: DeviceKey) -> None:
    del device
    for name in harness.cloud.scope_maps:
        harness.cloud.scope_maps[name] = ScopeMap(name=name, actions=frozenset())


def lose_scope_map(harness: Harness, device: DeviceKey) -> None:
    del device
    harness.cloud.scope_maps.clear()


def off_the_list(harness: Harness, device: DeviceKey) -> None:
    del device
    harness.cloud.connected[PLANT_ONE].clients.clear()


def regenerate(harness: Harness, device: DeviceKey) -> None:
    made = NewPassword(
        slot=Slot.ONE,
        created_at=harness.clock.now(),
        expires_at=None,
        value=Secret("made by hand"),
    )
    harness.cloud.tokens[token_of(harness, device)].passwords[Slot.ONE] = made


def delete_password(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.tokens[token_of(harness, device)].passwords.clear()


def lose_secret(harness: Harness, device: DeviceKey) -> None:
    del device
    harness.cloud.secrets.clear()


def disable_secret(harness: Harness, device: DeviceKey) -> None:
    del device
    for versions in harness.cloud.secrets.values():
        for stored in versions:
            stored.version = replace(stored.version, enabled=False)


def change_entry(harness: Harness, device: DeviceKey) -> None:
    found = harness.cloud.devices[device]
    found.desired["firstpull"]["registryCredentials"]["plantone"]["address"] = "elsewhere"
    found.twin_version += 1


def lose_entry(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.devices[device].desired = {"firstpull": {}}
    harness.cloud.devices[device].twin_version += 1


def lose_section(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.devices[device].desired = {}
    harness.cloud.devices[device].twin_version += 1


def re_create(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.register(device).desired = {"firstpull": {}}


def re_create_bare(harness: Harness, device: DeviceKey) -> None:
    harness.cloud.register(device)


def lose_ledger(harness: Harness, device: DeviceKey) -> None:
    del device
    del harness.cloud.ledgers[PLANT_ONE]


def token_of(harness: Harness, device: DeviceKey) -> str:
    names = grant_of(harness.cloud.record(device)).names
    assert names is not None
    return names.token


MEDDLING: list[tuple[Callable[[Harness, DeviceKey], None], str]] = [
    (lose_token, "the token is missing"),
    (disable_token, "the token is disabled"),
    (other_scope_map, "the token has another scope map"),
    (change_scope_map, "the scope map was changed"),
    (lose_scope_map, "the scope map is missing"),
    (off_the_list, "the token is off the list"),
    (regenerate, "the password was changed"),
    (delete_password, "the password was changed"),
    (lose_secret, "the secret is missing"),
    (disable_secret, "the secret is disabled"),
    (change_entry, "the twin's entry was changed"),
    (lose_entry, "the twin's entry is gone"),
    (re_create, "the device's identity was changed"),
    (lose_ledger, "the ledger has lost the device"),
]


@pytest.mark.parametrize(("meddle", "told"), MEDDLING, ids=lambda v: getattr(v, "__name__", ""))
async def test_what_somebody_changed_is_found_told_and_mended(
    meddle: Callable[[Harness, DeviceKey], None], told: str
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(3 * HOUR)
    meddle(harness, device)
    report = await harness.sweep()
    assert told in report.drifted
    history = [happened.event for happened in harness.cloud.record(device).history]
    assert "device.drift.found" in history
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    password = harness.cloud.twin_entry(device, PLANT_ONE)["password"]
    assert harness.cloud.devices[device].held == {"plantone": password}
    assert password in harness.cloud.accepted(token_of(harness, device))
    await expect_nothing_more(harness)


@pytest.mark.parametrize("meddle", [lose_section, re_create_bare])
async def test_a_device_that_the_query_shows_no_more_for_lack_of_an_entry_is_mended(
    meddle: Callable[[Harness, DeviceKey], None],
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    meddle(harness, device)
    assert (await harness.sweep()).revoked == 0
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    await expect_nothing_more(harness)


async def test_an_entry_that_is_gone_is_told_whether_the_query_shows_the_device_or_not() -> None:
    harness = Harness()
    device = await harness.make_ready()
    lose_section(harness, device)
    assert (await harness.sweep()).drifted == {"the twin's entry is gone": 1}


async def test_a_lost_ledger_of_many_is_rebuilt_and_the_list_stays() -> None:
    harness = Harness()
    devices = await fleet(harness, 6)
    foreign = REGISTRY.token("foreign")
    harness.cloud.tokens["foreign"] = FakeToken(ScopeMapId("someone's"))
    harness.cloud.connected[PLANT_ONE].clients.append(foreign)
    listed = {name_in(token_id) for token_id in harness.cloud.connected[PLANT_ONE].clients}
    harness.must_stay_logged_in.update(devices)
    lose_ledger(harness, devices[0])
    report = await harness.sweep()
    assert report.drifted == {"the ledger has lost the device": 6}
    await harness.run_until_quiet()
    entries = harness.cloud.ledger(PLANT_ONE).entries.values()
    assert [entry.standing for entry in entries] == [Standing.MEMBER] * 6
    found = {name_in(token_id) for token_id in harness.cloud.connected[PLANT_ONE].clients}
    assert found == listed
    await expect_nothing_more(harness)


async def hold_room(harness: Harness, token: str, standing: Standing) -> None:
    """Have the ledger of the first place hold room for a token, from now on."""
    ledgers = harness.processes[0].membership.ledgers
    stored = await ledgers.get(PLANT_ONE)
    ledger = stored.value if stored is not None else Ledger()
    entry = Entry(token_id=REGISTRY.token(f"{token}"), standing=standing, since=harness.clock.now())
    await ledgers.put(PLANT_ONE, ledger.with_entry(entry), etag=stored.etag if stored else None)


@pytest.mark.parametrize("standing", Standing)
async def test_room_held_for_nobody_is_free_after_an_hour_and_not_before(
    standing: Standing,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await hold_room(harness, "nobodys", standing)
    assert (await harness.sweep()).ledger_entries_removed == 0
    await harness.run_for(59 * MINUTE)
    assert (await harness.sweep()).ledger_entries_removed == 0
    await harness.run_for(2 * MINUTE)
    assert (await harness.sweep()).ledger_entries_removed == 1
    entries = harness.cloud.ledger(PLANT_ONE).entries.values()
    assert [name_in(entry.token_id) for entry in entries] == [token_of(harness, device)]
    await expect_nothing_more(harness)


async def test_what_leaves_the_ledger_stays_in_the_list() -> None:
    """It may be somebody else's: nobody knows, so it counts as theirs from then on."""
    harness = Harness()
    harness.cloud.tokens["nobodys"] = FakeToken(ScopeMapId("someone's"))
    foreign = REGISTRY.token("nobodys")
    harness.cloud.connected[PLANT_ONE].clients.append(foreign)
    await hold_room(harness, "nobodys", Standing.MEMBER)
    harness.clock.advance(2 * HOUR)
    before = harness.cloud.writes()
    await harness.sweep()
    assert harness.cloud.ledger(PLANT_ONE).entries == {}
    assert harness.cloud.connected[PLANT_ONE].clients == [foreign]
    assert harness.cloud.writes() == before


async def test_room_held_for_a_device_that_waits_is_kept() -> None:
    harness = Harness()
    harness.register()
    await harness.ask()
    with harness.cloud.unavailable("registries.create_token"):
        await harness.run_for(5 * HOUR)
        await harness.sweep()
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 1


def add_lonely_map(harness: Harness, name: str = LONELY_MAP) -> None:
    harness.cloud.scope_maps[name] = ScopeMap(name=name, actions=LONELY)


async def test_a_scope_map_without_a_reference_goes_after_a_day() -> None:
    harness = Harness()
    await harness.make_ready()
    add_lonely_map(harness)
    first = await harness.sweep()
    assert list(first.scope_maps_unreferenced) == [REGISTRY.scope_map(LONELY_MAP)]
    await harness.run_for(timedelta(hours=23))
    assert (await harness.sweep()).scope_maps_removed == 0
    await harness.run_for(timedelta(hours=1))
    report = await harness.sweep()
    assert (report.scope_maps_removed, report.scope_maps_unreferenced) == (1, {})
    assert LONELY_MAP not in harness.cloud.scope_maps
    assert len(harness.cloud.scope_maps) == 1
    await expect_nothing_more(harness)


@pytest.mark.parametrize("name", ["made-by-hand", scope_map_name(LONELY, deployment="other")])
async def test_a_scope_map_that_is_not_ours_stays(name: str) -> None:
    harness = Harness()
    add_lonely_map(harness, name)
    for _ in range(3):
        report = await harness.sweep()
        assert report.scope_maps_unreferenced == {}
        await harness.run_for(DAY)
    assert name in harness.cloud.scope_maps


async def test_a_scope_map_that_is_wanted_again_meanwhile_stays() -> None:
    harness = Harness()
    add_lonely_map(harness)
    await harness.sweep()
    await harness.run_for(timedelta(hours=23))
    device = await harness.make_ready(repositories=["plant/nobody"])
    await harness.run_for(2 * HOUR)
    report = await harness.sweep()
    assert (report.scope_maps_removed, report.scope_maps_unreferenced) == (0, {})
    await harness.revoke(device)
    await harness.run_for(HOUR)
    report = await harness.sweep()
    (since,) = report.scope_maps_unreferenced.values()
    assert since >= report.started_at
    await harness.run_for(timedelta(hours=23))
    assert (await harness.sweep()).scope_maps_removed == 0


async def test_a_scope_map_that_is_taken_into_use_during_the_sweep_is_refused_and_stays() -> None:
    harness = Harness()
    add_lonely_map(harness)
    await harness.sweep()
    harness.clock.advance(2 * DAY)

    def use(_: int, operation: str) -> None:
        if operation == "registries.delete_scope_map":
            harness.cloud.tokens["new"] = FakeToken(REGISTRY.scope_map(LONELY_MAP))

    harness.cloud.before_call = use
    report = await harness.sweep()
    harness.cloud.before_call = None
    assert report.scope_maps_removed == 0
    assert LONELY_MAP in harness.cloud.scope_maps
    assert (await harness.sweep()).scope_maps_unreferenced == {}


async def test_a_scope_map_does_not_age_by_being_unread_and_is_not_forgotten() -> None:
    harness = Harness()
    add_lonely_map(harness)
    first = await harness.sweep()
    harness.clock.advance(2 * DAY)
    with harness.cloud.unavailable("registries.list_tokens"):
        blind = await harness.sweep()
    assert blind.scope_maps_removed == 0
    assert blind.scope_maps_unreferenced == first.scope_maps_unreferenced
    assert (await harness.sweep()).scope_maps_removed == 1


async def test_what_no_record_names_is_reported_and_not_touched() -> None:
    harness = Harness()
    device = await harness.make_ready()
    name = token_of(harness, device)
    harness.cloud.records.clear()
    before = harness.cloud.writes()
    for _ in range(3):
        report = await harness.sweep()
        kinds = [(thing.kind, thing.name) for thing in report.orphans]
        assert [kind for kind, _ in kinds] == [Kind.SECRET, Kind.TOKEN, Kind.TWIN_ENTRY]
        assert (Kind.TOKEN, name) in kinds
        harness.clock.advance(DAY)
    assert harness.cloud.tokens[name].enabled
    writes = harness.cloud.writes() - before
    assert set(writes) <= {"registries.delete_scope_map"}


async def test_another_deployment_at_the_same_hub_and_registry_is_not_reported() -> None:
    harness = Harness()
    await harness.make_ready()
    harness.cloud.tokens["fp-press-9-theirs"] = FakeToken(ScopeMapId("theirs"))
    tags = {"deployment": "other", "token": "fp-press-9-theirs"}
    stored = next(iter(harness.cloud.secrets.values()))[0]
    harness.cloud.secrets["fp-press-9-theirs-secret"] = [
        FakeSecretVersion(replace(stored.version, tags=tags), "theirs")
    ]
    other = harness.register("press-9")
    entry = harness.cloud.twin_entry(DeviceKey(hub=HUB, device_id="press-1"), PLANT_ONE)
    theirs = entry | {"username": "fp-press-9-theirs"}
    harness.cloud.devices[other].desired = {
        "firstpull": {"registryCredentials": {"plantone": theirs}}
    }
    await expect_nothing_more(harness)


BLIND = [
    "registries.list_tokens",
    "registries.list_scope_maps",
    "registries.list_connected_registries",
    "secrets.list_secrets",
    "hubs.list_devices",
    "ledgers.get",
]


@pytest.mark.parametrize("source", BLIND)
async def test_a_source_that_does_not_answer_is_named_and_nothing_is_concluded(source: str) -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    before, queued = harness.cloud.writes(), len(harness.cloud.queue)
    with harness.cloud.unavailable(source):
        report = await harness.sweep()
    assert report.unread
    assert (report.drifted, report.revoked, report.held) == ({}, 0, ())
    assert (report.orphans, report.ledger_entries_removed) == ((), 0)
    assert (harness.cloud.writes(), len(harness.cloud.queue)) == (before, queued)
    assert {harness.state(device) for device in devices} == {State.READY}
    await expect_nothing_more(harness)


async def test_a_hub_that_cannot_be_read_revokes_nobody_though_its_devices_are_gone() -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    del harness.cloud.devices[devices[0]]
    with harness.cloud.unavailable("hubs."):
        report = await harness.sweep()
    assert (report.revoked, report.held) == (0, ())
    assert [HUB in source for source in report.unread] == [True]
    assert harness.cloud.record(devices[0]).spec.revocation is None
    assert (await harness.sweep()).revoked == 1


async def test_where_one_source_fails_the_others_are_seen_to() -> None:
    harness = Harness()
    devices = await fleet(harness, 2)
    change_entry(harness, devices[0])
    with harness.cloud.unavailable("registries."):
        report = await harness.sweep()
    assert report.drifted == {"the twin's entry was changed": 1}
    assert len(report.unread) == 1


async def test_a_hub_that_fails_when_it_is_asked_for_one_device_does_not_end_the_sweep() -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    del harness.cloud.devices[devices[0]]
    with harness.cloud.unavailable("hubs.twin"):
        report = await harness.sweep()
    assert report.unread
    assert report.revoked == 0


async def test_a_newcomer_that_cannot_be_read_does_not_end_the_sweep() -> None:
    harness = Harness()
    devices = await fleet(harness, 3)
    harness.opt_in(harness.register("newcomer"))
    del harness.cloud.devices[devices[0]]

    def fail_once(number: int, operation: str) -> None:
        if operation == "hubs.twin":
            harness.cloud.before_call = None
            harness.cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=False)

    harness.cloud.before_call = fail_once
    report = await harness.sweep()
    assert report.unread
    assert report.revoked == 1


async def test_a_ledger_that_is_busy_does_not_end_the_sweep() -> None:
    harness = Harness()
    await harness.make_ready()
    add_lonely_map(harness)
    await harness.sweep()
    await hold_room(harness, "nobodys", Standing.RESERVED)
    harness.clock.advance(2 * DAY)
    with harness.cloud.unavailable("ledgers.put"):
        report = await harness.sweep()
    assert report.scope_maps_removed == 1


async def test_a_password_that_was_stored_twice_is_no_drift() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()

    def store_twice(number: int, operation: str) -> None:
        if operation == "hubs.patch_desired":
            harness.cloud.before_call = None
            harness.cloud.faults[number] = Fault(kind=FaultKind.CRASH, after=False)
            (versions,) = harness.cloud.secrets.values()
            second = replace(versions[0].version, version=f"{versions[0].version.version}-again")
            versions.append(FakeSecretVersion(second, versions[0].value))

    harness.cloud.before_call = store_twice
    await harness.run_until_quiet()
    assert harness.crashes == 1
    assert harness.state(device) is State.READY
    await harness.run_for(HOUR)
    assert (await harness.sweep()).drifted == {}


async def test_a_device_that_is_under_way_is_not_woken() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.rotate(device)
    harness.cloud.queue.clear()
    report = await harness.sweep()
    assert report.drifted == {}
    assert harness.cloud.queue == []


async def test_two_sweeps_at_once_do_what_one_does() -> None:
    harness = Harness(processes=2)
    devices = await fleet(harness, 12)
    del harness.cloud.devices[devices[0]]
    harness.opt_in(harness.register("newcomer"))
    change_entry(harness, devices[1])
    disable_token(harness, devices[2])
    await hold_room(harness, "nobodys", Standing.RESERVED)
    harness.clock.advance(2 * HOUR)
    reports = await asyncio.gather(harness.sweep(), harness.sweep())
    assert sum(report.revoked for report in reports) in (1, 2)
    await harness.run_for(HOUR)
    assert harness.state(devices[0]) is State.REVOKED
    states = [record.status.condition.state for record in harness.cloud.all_records()]
    assert sorted(set(states)) == [State.READY, State.REVOKED]
    assert states.count(State.REVOKED) == 1
    assert harness.cloud.record(devices[0]).spec.generation == 2
    latest = await harness.processes[0].application.sweeper.latest()
    assert latest is not None
    assert latest.id in {report.id for report in reports}
    await expect_nothing_more(harness)


async def test_an_approval_given_during_a_sweep_is_not_lost() -> None:
    harness = Harness(processes=2)
    devices = await fleet(harness, 3)
    harness.cloud.devices.clear()
    held = await harness.sweep()
    with harness.cloud.hold_call("secrets.list_secrets") as call:
        task = asyncio.create_task(harness.sweep())
        await call.reached.wait()
        await harness.processes[1].application.sweeper.approve(held.id)
        call.release.set()
        await task
    assert (await harness.sweep()).revoked == len(devices)


def meddle_with_all(harness: Harness, devices: list[DeviceKey]) -> None:
    """Something for every step of a sweep."""
    del harness.cloud.devices[devices[0]]
    harness.opt_in(harness.register("newcomer"))
    change_entry(harness, devices[1])
    disable_token(harness, devices[2])
    lose_section(harness, devices[3])
    harness.cloud.connected[PLANT_ONE].connection_state = "Offline"


async def prepared() -> Harness:
    """A world in which there is something to do for every step of a sweep."""
    harness = Harness()
    devices = await fleet(harness, 4)
    add_lonely_map(harness)
    await harness.sweep()
    await hold_room(harness, "nobodys", Standing.RESERVED)
    harness.clock.advance(timedelta(hours=25))
    meddle_with_all(harness, devices)
    return harness


def whole_state(harness: Harness) -> dict[str, Any]:
    return {d.device_id: end_state(harness.cloud, d) for d in harness.cloud.records}


async def sweep_with(harness: Harness, faults: dict[int, Fault]) -> int:
    """Sweep with faults at these calls, and once more, and come to rest. Counts the calls."""
    begun = len(harness.cloud.calls)
    harness.cloud.faults = {begun + number: fault for number, fault in faults.items()}
    try:
        await harness.sweep()
    except Transient:
        pass
    except Crashed:
        harness.restart(0)
    calls = len(harness.cloud.calls) - begun
    harness.cloud.faults = {}
    await harness.run_for(5 * MINUTE)
    await harness.sweep()
    await harness.run_for(SETTLED)
    return calls


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.TRANSIENT, after=False),
        Fault(kind=FaultKind.TRANSIENT, after=True),
        Fault(kind=FaultKind.CRASH, after=True),
    ],
    ids=["unavailable", "answer lost", "crash"],
)
async def test_a_fault_at_any_call_of_a_sweep_is_made_good_by_the_next(fault: Fault) -> None:
    smooth = await prepared()
    calls = await sweep_with(smooth, {})
    want = whole_state(smooth)
    assert LONELY_MAP not in smooth.cloud.scope_maps
    for number in range(1, calls + 1):
        harness = await prepared()
        await sweep_with(harness, {number: fault})
        assert harness.cloud.faults_met == 1
        assert whole_state(harness) == want
        await expect_nothing_more(harness)
    assert calls > 25


async def test_a_revoke_that_a_sweep_began_leaves_nothing() -> None:
    harness = Harness()
    device, _ = await fleet(harness, 2)
    held = harness.cloud.passwords_made[0]
    del harness.cloud.devices[device]
    await harness.sweep()
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert held not in harness.cloud.accepted(token_of(harness, device))
    assert token_of(harness, device) not in remains(harness, device)


async def test_secrets_of_others_in_the_same_vault_are_nobodys_business() -> None:
    harness = Harness()
    await harness.make_ready()
    stored = next(iter(harness.cloud.secrets.values()))[0]
    harness.cloud.secrets["mine"] = [FakeSecretVersion(replace(stored.version, tags={}), "mine")]
    listed = await harness.processes[0].application.ports.secrets.list_secrets()
    assert StoredSecret(name="mine", enabled=True, tags={}) in listed
    await expect_nothing_more(harness)
