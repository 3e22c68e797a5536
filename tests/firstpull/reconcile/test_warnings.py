"""Warnings appear with what they tell of, keep the time of their beginning, and vanish with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import ConnectedRegistry, ScopeMap
from firstpull.model.device_record import DeviceRecord, DeviceWarning, State
from firstpull.model.reasons import Reason
from firstpull.reconcile.warnings import awaiting_sync, warnings_for
from tests.firstpull.builders import MADE, NOW, password, record, token
from tests.firstpull.fakes import FakeToken
from tests.firstpull.harness import PLANT_ONE, REGISTRY, VALIDITY, Harness, make_policy
from tests.firstpull.records import changed
from tests.firstpull.scenarios import HAND_MADE, make_by_hand

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SYNCED = frozenset({"repositories/plant/*/content/read"})
OTHERS = frozenset({"repositories/other/*/content/read"})


def ref(**changes: Any) -> ConnectedRegistry:  # noqa: ANN401 - fields of ConnectedRegistry
    fields: dict[str, Any] = {
        "name": "plantone",
        "client_token_ids": (),
        "sync_token_id": None,
        "login_server": None,
        "last_sync_at": NOW,
        "connection_state": "Online",
    }
    return ConnectedRegistry(**(fields | changes))


def found(
    of: DeviceRecord,
    *,
    at: datetime = NOW,
    state: str | None = "Online",
    synced: frozenset[str] | None = SYNCED,
    endless: bool = False,
) -> dict[Reason, DeviceWarning]:
    lives = None if endless else VALIDITY
    warnings = warnings_for(
        of,
        connected_registry=ref(connection_state=state),
        synced_actions=synced,
        token=token(password(lives=lives)),
        now=at,
    )
    return {warning.reason: warning for warning in warnings}


def test_a_device_that_is_as_it_should_be_has_none() -> None:
    assert found(record()) == {}
    assert (
        warnings_for(record(), connected_registry=None, synced_actions=None, token=None, now=NOW)
        == ()
    )


@pytest.mark.parametrize(
    ("state", "warning"),
    [("Online", False), ("Syncing", False), (None, False), ("Offline", True), ("Unhealthy", True)],
)
def test_a_connected_registry_that_is_out_of_touch_is_told_of(
    state: str | None,
    warning: bool,  # noqa: FBT001 - a table
) -> None:
    warnings = found(record(), state=state)
    assert (Reason.CONNECTED_REGISTRY_OFFLINE in warnings) is warning
    assert all(f"acrtest/plantone is {state}" in w.message for w in warnings.values())


def test_repositories_that_are_not_synced_are_told_of_by_name() -> None:
    (warning,) = found(record(), synced=OTHERS).values()
    assert warning.reason is Reason.REPOSITORIES_NOT_SYNCED
    assert "repositories/plant/app/content/read" in warning.message


def test_where_it_is_not_read_what_is_synced_all_stays_as_it_was() -> None:
    before = record(warnings=tuple(found(record(), synced=OTHERS).values()))
    later = found(before, at=NOW + DAY, synced=None)
    assert tuple(later.values()) == before.status.warnings
    assert found(before, synced=SYNCED) == {}


def test_the_end_of_a_password_that_nobody_acknowledged_is_told_of_in_time() -> None:
    waits = record(acknowledged_at=None)
    near = MADE + 0.75 * VALIDITY
    assert found(waits, at=near - MINUTE) == {}
    (warning,) = found(waits, at=near).values()
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
    assert f"{MADE + VALIDITY:%Y-%m-%d}" in warning.message
    assert found(record(), at=near) == {}
    assert found(changed(waits, delivery=None), at=near) == {}


def test_a_password_made_by_hand_is_told_of_while_the_token_is_adopted() -> None:
    adopted = record(adopted=True, delivery=None)
    (warning,) = found(adopted, endless=True).values()
    assert warning.reason is Reason.PASSWORD_NOT_OURS
    assert "password1" in warning.message
    assert found(adopted) == {}
    assert found(record(), endless=True) == {}


def test_a_warning_keeps_the_time_of_its_beginning_while_its_words_change() -> None:
    before = record(warnings=tuple(found(record(), state="Offline").values()))
    (warning,) = found(before, at=NOW + DAY, state="Unhealthy").values()
    assert warning.since == NOW
    assert "Unhealthy" in warning.message
    again = changed(before, warnings=())
    (anew,) = found(again, at=NOW + DAY, state="Offline").values()
    assert anew.since == NOW + DAY


def test_warnings_come_in_a_fixed_order() -> None:
    waits = record(acknowledged_at=None)
    at = MADE + VALIDITY
    first = list(found(waits, at=at, state="Offline", synced=OTHERS))
    assert first == sorted(first)
    assert len(first) == 3


@pytest.mark.parametrize(
    ("synced", "warning"),
    [(NOW + MINUTE, False), (NOW, True), (NOW - DAY, True), (None, True)],
)
def test_after_a_revoke_a_connected_registry_has_to_sync_once(
    synced: datetime | None,
    warning: bool,  # noqa: FBT001 - a table
) -> None:
    there = ref(last_sync_at=synced)
    warnings = awaiting_sync(PLANT_ONE, there, since=NOW, now=NOW + HOUR)
    assert bool(warnings) is warning
    assert all(w.reason is Reason.AWAITING_SYNC for w in warnings)


def test_a_connected_registry_that_is_gone_is_waited_for_by_nobody() -> None:
    assert awaiting_sync(PLANT_ONE, None, since=NOW, now=NOW) == ()


async def test_a_sync_that_is_awaited_was_awaited_since_the_revoke() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    await harness.revoke(device)
    await harness.run_for(MINUTE)
    (first,) = harness.cloud.record(device).status.warnings
    await harness.run_for(DAY)
    (later,) = harness.cloud.record(device).status.warnings
    assert later.since == first.since


async def test_a_device_has_its_warnings_from_the_first_pass_and_loses_them_by_a_sweep() -> None:
    harness = Harness()
    harness.cloud.connected[PLANT_ONE].connection_state = "Offline"
    device = await harness.make_ready()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    assert harness.state(device) is State.READY
    await harness.run_for(DAY)
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == (warning,)
    harness.cloud.connected[PLANT_ONE].connection_state = "Online"
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == ()


async def test_a_sweep_warns_of_devices_that_nobody_reconciles(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.connected[PLANT_ONE].connection_state = "Unhealthy"
    queued = len(harness.cloud.queue)
    await harness.sweep()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    assert len(harness.cloud.queue) == queued
    assert sum("device.warning.raised" in line for line in caplog.messages) == 1
    caplog.clear()
    await harness.sweep()
    assert not any("device.warning.raised" in line for line in caplog.messages)


async def test_a_policy_that_lists_repositories_allows_what_is_not_synced_with_a_warning() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "repositories": ["*"]}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    device = await harness.make_ready(repositories=["elsewhere/app"])
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.REPOSITORIES_NOT_SYNCED
    syncs(harness, "repositories/plant/*/content/read")
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == (warning,)
    syncs(harness, "repositories/elsewhere/app/content/read")
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == ()


def syncs(harness: Harness, action: str) -> None:
    """Have the first connected registry's own token say that it syncs this."""
    sync_map = ScopeMap(
        name="plantone", actions=frozenset({action, "gateway/plantone/config/read"})
    )
    harness.cloud.scope_maps["plantone"] = sync_map
    harness.cloud.tokens["plantone"] = FakeToken(REGISTRY.scope_map("plantone"))


async def test_an_adopted_password_is_warned_of_until_it_is_rotated() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    make_by_hand(harness, "by-hand", HAND_MADE)
    device = harness.register()
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.PASSWORD_NOT_OURS
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()
    assert harness.cloud.record(device).status.warnings == ()


async def test_a_device_that_is_away_is_warned_of_before_its_password_ends() -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(HOUR)
    harness.clock.advance(timedelta(days=70))
    await harness.run_for(2 * HOUR)
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).status.warnings == ()


async def test_a_warning_ends_with_its_cause_for_a_device_that_waits_too() -> None:
    harness = Harness()
    harness.cloud.connected[PLANT_ONE].connection_state = "Offline"
    device = await harness.make_ready()
    harness.cloud.change_identity(device, enabled=False)
    await harness.reconcile(device)
    harness.cloud.connected[PLANT_ONE].connection_state = "Online"
    await harness.run_for(HOUR)
    await harness.sweep()
    assert harness.reason(device) is Reason.DEVICE_DISABLED
    assert harness.cloud.record(device).status.warnings == ()
