"""P7 and P3 after a loss: lost records come back, and records from a backup harm no device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from firstpull.fleet.rebuild import Rebuild
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import Invalid, NotKnown, Transient
from firstpull.model.reasons import Reason
from firstpull.reconcile.checks import Difference
from local_azure.key_vault.models import Properties
from tests.firstpull.end_state import remains
from tests.firstpull.harness import Harness, over_two_registries
from tests.firstpull.scenarios import make_by_hand
from tests.firstpull.virtual_clock import VirtualClock

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
type Change = Callable[[Harness, DeviceKey], Awaitable[object]]


def lose_all(harness: Harness) -> None:
    """Lose the table, and the messages about its devices."""
    for device in list(harness.cloud.records):
        harness.cloud.lose_record(device)
    harness.cloud.queue.clear()


def restore(harness: Harness, backup: dict[DeviceKey, Any]) -> None:
    """Put records from a backup in the place of all records."""
    lose_all(harness)
    for device, (text, _) in backup.items():
        harness.cloud.records[device] = text, harness.cloud.next_number()


def in_azure(harness: Harness) -> dict[str, Any]:
    """What all devices have, whatever the records say."""
    cloud = harness.cloud
    return {
        "passwords": {name: cloud.accepted(name) for name in cloud.tokens},
        "scope maps": {name: token.scope_map_id for name, token in cloud.tokens.items()},
        "clients": {ref: cloud.clients(ref) for ref in cloud.sites},
        "entries": {device: cloud.entries(device) for device in cloud.devices},
        "logins": {device: found.logins for device, found in cloud.devices.items()},
    }


async def play(harness: Harness) -> None:
    """Some hours with sweeps."""
    for _ in range(3):
        await harness.run_for(HOUR)
        await harness.sweep()
    await harness.run_for(HOUR)


async def rebuild(harness: Harness, device: DeviceKey | None = None, **more: Any) -> Rebuild:  # noqa: ANN401
    """Rebuild one device, or a page of all."""
    rebuilding = harness.processes[0].application.rebuilding
    if device is not None:
        return await rebuilding.one(device, dry_run=False)
    return await rebuilding.page(**{"after": None, "size": 100, "dry_run": False, **more})


def blocked(harness: Harness) -> set[DeviceKey]:
    """The devices whose record is out of date."""
    return {
        record.device
        for record in harness.cloud.all_records()
        if record.status.condition.reason is Reason.RECORD_OUT_OF_DATE
    }


async def revoked(harness: Harness, device: DeviceKey) -> None:
    await harness.revoke(device)


async def revoked_and_asked_for(harness: Harness, device: DeviceKey) -> None:
    await harness.revoke(device)
    await harness.run_until_quiet()
    await harness.ask(device.device_id)


def asked(**changes: Any) -> Change:  # noqa: ANN401 - JSON
    async def change(harness: Harness, device: DeviceKey) -> None:
        await harness.ask(device.device_id, **changes)

    return change


async def rotated(harness: Harness, device: DeviceKey) -> None:
    await harness.rotate(device)


async def rotated_at_once(harness: Harness, device: DeviceKey) -> None:
    await harness.rotate(device, immediately=True)


ELSEWHERE = asked(connectedRegistry="portone", containerRegistry="acrtest2")
CHANGES: dict[str, tuple[Change, bool]] = {
    "revoked": (revoked, True),
    "revoked and asked for again": (revoked_and_asked_for, True),
    "moved": (asked(connectedRegistry="planttwo"), True),
    "moved to another container registry": (ELSEWHERE, True),
    "got fewer repositories": (asked(repositories=["plant/other"]), True),
    "rotated": (rotated, False),
    "rotated at once": (rotated_at_once, False),
}
"""What happened since a backup, and whether its record is out of date then."""


@pytest.mark.parametrize(("change", "is_old"), CHANGES.values(), ids=CHANGES)
async def test_a_record_from_a_backup_gives_nothing_and_takes_nothing(
    change: Change, *, is_old: bool
) -> None:
    harness = over_two_registries()
    device, other = await harness.make_ready("press-1"), await harness.make_ready("press-2")
    backup = dict(harness.cloud.records)
    harness.clock.advance(MINUTE)
    await change(harness, device)
    await harness.run_until_quiet()
    await harness.run_for(HOUR)
    state, before = harness.state(device), in_azure(harness)
    restore(harness, backup)
    await play(harness)
    assert in_azure(harness) == before
    assert blocked(harness) == ({device} if is_old else set())
    found = await rebuild(harness)
    assert [record.device for record in found.rebuilt] == ([device] if is_old else [])
    assert (found.not_rebuilt, found.unexplained, found.unread) == ((), (), ())
    await play(harness)
    assert in_azure(harness) == before
    assert (harness.state(device), harness.state(other)) == (state, State.READY)
    if state is State.REVOKED:
        assert harness.cloud.record(device).is_tombstone


async def test_the_sweep_reports_a_record_that_is_out_of_date() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    backup = dict(harness.cloud.records)
    harness.clock.advance(MINUTE)
    await harness.ask(repositories=["plant/other"])
    await harness.run_until_quiet()
    restore(harness, backup)
    assert Difference.RECORD_OUT_OF_DATE in (await harness.sweep()).drifted
    await harness.run_for(MINUTE)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.BLOCKED, Reason.RECORD_OUT_OF_DATE)
    assert "devices:rebuild" in (condition.remedy or "")
    ((secret, versions),) = harness.cloud.secrets.items()
    tags = {**(versions[-1].tags or {}), "askedAt": "2026-01-01T00:00:00+00:00"}
    harness.cloud.vault.set(secret, SecretStr("of before"), Properties(tags=tags, enabled=False))
    assert len((await rebuild(harness)).rebuilt) == 1  # though the latest version names no request


async def test_a_revoked_device_stays_revoked_whatever_it_was_when_it_was_backed_up() -> None:
    """It had asked and had nothing yet, it was being delivered to, or it was adopted."""
    harness = over_two_registries()
    make_by_hand(harness, "by-hand")
    for name in ("asked", "delivered", "adopted"):
        harness.register(name)
    await harness.ask("nobody")
    await harness.ask("delivered")
    await harness.ask("adopted", adopt="by-hand")
    harness.devices_answer = False
    await harness.run_for(MINUTE)
    await harness.ask("asked")
    backup = dict(harness.cloud.records)
    harness.cloud.queue.clear()
    harness.clock.advance(MINUTE)
    for device in backup:
        await harness.revoke(device)
    await harness.run_for(HOUR)
    restore(harness, backup)
    harness.devices_answer = True
    harness.register("nobody")
    await play(harness)
    assert blocked(harness) == set(backup)
    assert not harness.cloud.tokens
    await rebuild(harness)
    await play(harness)
    assert all(harness.cloud.record(device).is_tombstone for device in backup)
    assert not harness.cloud.tokens


async def test_the_tombstone_of_a_backup_takes_nothing_from_a_device_asked_for_since() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    await harness.revoke(device)
    harness.clock.advance(MINUTE)
    begun = dict(harness.cloud.records)
    await harness.run_for(HOUR)
    ended = dict(harness.cloud.records)
    await harness.ask()
    await harness.run_until_quiet()
    before = in_azure(harness)
    for backup in (begun, ended):
        restore(harness, backup)
        await harness.reconcile(device)
        await play(harness)
        assert blocked(harness) == {device}
        assert in_azure(harness) == before
        await rebuild(harness, device)
        await play(harness)
        assert harness.state(device) is State.READY
        assert in_azure(harness) == before


async def test_an_immediate_rotation_of_a_backup_is_not_repeated() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    await harness.rotate(device, immediately=True)
    backup = dict(harness.cloud.records)
    await harness.run_until_quiet()
    before = in_azure(harness)
    restore(harness, backup)
    await play(harness)
    assert in_azure(harness) == before
    assert harness.cloud.record(device).spec.rotation is None
    assert harness.state(device) is State.READY


@pytest.mark.parametrize("by", ["its tag", "an event", "a registration"])
async def test_without_the_table_no_revoked_device_comes_back_by_itself(by: str) -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    harness.opt_in(device)
    await harness.revoke(device)
    await harness.run_for(HOUR)
    lose_all(harness)
    if by == "an event":
        await harness.handle(device, created=True)
    elif by == "a registration":
        onboarding = harness.processes[0].application.onboarding
        await onboarding.introduce(
            harness.request(), requested_by="a registration", may_reset_twin=True
        )
    await play(harness)
    assert harness.cloud.record(device).is_tombstone
    assert remains(harness.cloud, device) == set()
    harness.cloud.register(device)  # another device with the same id
    lose_all(harness)
    await rebuild(harness)
    await play(harness)
    assert harness.cloud.record(device).is_tombstone
    harness.opt_in(device)
    await play(harness)
    assert harness.state(device) is State.READY


async def test_no_record_is_taken_for_a_backup_because_of_a_host_whose_clock_is_behind() -> None:
    harness = over_two_registries()
    harness.clock.advance(HOUR)
    device = await harness.make_ready()
    application = harness.processes[0].application
    revoking = replace(application.revoking, clock=VirtualClock())
    onboarding = replace(application.onboarding, clock=VirtualClock())
    for _ in range(2):
        await revoking.revoke(device, requested_by="a test")
        await harness.run_for(HOUR)
        assert harness.cloud.record(device).is_tombstone
        await onboarding.ask(harness.request(), requested_by="a test")
        await harness.run_until_quiet()
        assert harness.state(device) is State.READY
        restore(harness, dict(harness.cloud.records))
        assert (await rebuild(harness)).rebuilt == ()
    lose_all(harness)
    await rebuild(harness)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_late_message_about_a_device_revoked_since_changes_nothing() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    at = harness.clock.now()
    harness.clock.advance(MINUTE)
    await harness.revoke(device)
    await harness.run_for(HOUR)
    lose_all(harness)
    onboarding = harness.processes[0].application.onboarding
    await onboarding.ask(harness.request(), requested_by="a queue", asked_at=at)
    await play(harness)
    assert blocked(harness) == {device}
    assert remains(harness.cloud, device) == set()
    await harness.ask()  # somebody wants it now
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_rebuilt_records_of_a_lost_table_need_no_work() -> None:
    harness = over_two_registries()
    make_by_hand(harness, "by-hand")
    by_name, by_site = (
        await harness.make_ready("press-1"),
        await harness.make_ready(
            "press-2", connectedRegistry=None, site="all", repositories=["plant/other", "plant/app"]
        ),
    )
    rotated_, gone = await harness.make_ready("press-3"), await harness.make_ready("press-4")
    adopted = harness.register("press-5")
    await harness.ask("press-5", adopt="by-hand")
    await harness.rotate(rotated_)
    await harness.revoke(gone)
    await harness.run_for(3 * HOUR)
    before, known = in_azure(harness), {d: harness.cloud.record(d) for d in harness.cloud.records}
    lose_all(harness)
    pages = [await rebuild(harness, size=2)]
    while (token := pages[-1].next_page) is not None:
        pages.append(await rebuild(harness, size=2, after=token))
    assert [len(page.rebuilt) for page in pages] == [2, 2, 1]
    writes = harness.cloud.writes()
    await play(harness)
    assert harness.cloud.writes() == writes
    assert in_azure(harness) == before
    for device in (by_name, by_site, rotated_, adopted):
        was, is_ = known[device], harness.cloud.record(device)
        assert is_.status.condition.state is State.READY
        assert is_.status.grant == was.status.grant
        assert is_.status.delivery is None or was.status.delivery is not None
        assert is_.spec.generation >= was.spec.intent_generation
        assert is_.spec.intent.asks_the_same(was.spec.intent)
    assert harness.cloud.record(gone).is_tombstone
    found = await rebuild(harness)
    assert (found.rebuilt, found.current) == ((), 5)


async def test_a_device_that_was_moving_when_its_record_was_lost_arrives() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    harness.devices_answer = False
    await ELSEWHERE(harness, device)
    await harness.run_for(MINUTE)
    lose_all(harness)
    await rebuild(harness)
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert set(harness.cloud.devices[device].held) == {"portone"}
    assert not any(
        harness.cloud.clients(ref) for ref in harness.cloud.sites if ref.name != "portone"
    )


async def test_what_cannot_be_rebuilt_is_named() -> None:
    harness = over_two_registries()
    devices = {name: await harness.make_ready(name) for name in ("off", "lost", "secretless")}
    tokens = {n: harness.cloud.record(d).grants[0].names for n, d in devices.items()}
    lose_all(harness)
    harness.cloud.registry().update_token(tokens["off"].token, status="disabled")
    harness.cloud.put_clients(next(iter(harness.cloud.sites)))
    harness.cloud.registry().delete_token(tokens["lost"].token)
    harness.cloud.vault.delete(tokens["secretless"].secret)
    found = await rebuild(harness)
    assert found.rebuilt == ()
    assert {one.device for one in found.not_rebuilt} == {devices["off"], devices["lost"]}
    assert all(one.message for one in found.not_rebuilt)
    assert [orphan.name for orphan in found.unexplained] == [tokens["secretless"].token]
    with pytest.raises(NotKnown):
        await rebuild(harness, devices["secretless"])
    with pytest.raises(Invalid):
        await rebuild(harness, after="bm90IG91cnM=")


@pytest.mark.parametrize("tag", ["askedAt", "revokedAt"])
@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_tag_with_an_impossible_time_names_no_request(tag: str, at: str) -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    ((name, (version,)),) = harness.cloud.secrets.items()
    tags = {**(version.tags or {}), tag: at}
    harness.cloud.vault.update(name, version.version, Properties(tags=tags))
    lose_all(harness)
    found = await rebuild(harness)
    assert [one.device for one in found.not_rebuilt] == ([device] if tag == "askedAt" else [])
    await play(harness)
    assert (device in harness.cloud.records) is (tag != "askedAt")


async def test_what_was_not_read_is_no_reason_for_another_record() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    lose_all(harness)
    for operation in ("registries.list_tokens", "hubs.list_devices"):
        with harness.cloud.unavailable(operation):
            found = await rebuild(harness)
        assert (found.rebuilt, [one.device for one in found.not_rebuilt]) == ((), [device])
        assert found.unread
    with harness.cloud.unavailable("secrets.list_secrets"), pytest.raises(Transient):
        await rebuild(harness)
    assert len((await rebuild(harness)).rebuilt) == 1


async def test_a_dry_run_of_a_rebuild_writes_nothing() -> None:
    harness = over_two_registries()
    device = await harness.make_ready()
    lose_all(harness)
    (record,) = (await rebuild(harness, dry_run=True)).rebuilt
    assert record.device == device
    assert not harness.cloud.records
    assert not harness.cloud.queue
