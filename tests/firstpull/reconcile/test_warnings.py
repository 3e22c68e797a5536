"""A warning appears with its cause, keeps the time of its beginning, and ends with its cause."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from firstpull.model.azure_resources import ConnectedRegistry, TokenId, Twin
from firstpull.model.device_record import DeviceRecord, DeviceWarning, State
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.warnings import awaiting_sync, warnings_for
from tests.firstpull.builders import MADE, NOW, password, record, token
from tests.firstpull.harness import PLANT_ONE, REGISTRY, VALIDITY, Harness, make_policy
from tests.firstpull.records import changed
from tests.firstpull.scenarios import make_by_hand

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OTHERS = frozenset({"repositories/other/*/content/read"})
SYNC_TOKEN = REGISTRY.token("plantone")
NEAR_END = MADE + 0.75 * VALIDITY
UNANSWERED = record(acknowledged_at=None)
ADOPTED = record(adopted=True, delivery=None)


def plant_one(
    state: str | None = None,
    *,
    last_sync_at: datetime | None = NOW,
    sync_token_id: TokenId | None = SYNC_TOKEN,
) -> ConnectedRegistry:
    return ConnectedRegistry(
        name="plantone",
        client_token_ids=(),
        sync_token_id=sync_token_id,
        login_server=None,
        last_sync_at=last_sync_at,
        connection_state=state,
    )


def found(
    of: DeviceRecord,
    *,
    at: datetime = NOW,
    state: str | None = "Online",
    synced: frozenset[str] | None = frozenset({"repositories/plant/*/content/read"}),
    lives: timedelta | None = VALIDITY,
    sync_token_id: TokenId | None = SYNC_TOKEN,
    twin: Twin | None = None,
) -> tuple[DeviceWarning, ...]:
    return warnings_for(
        of,
        connected_registry=plant_one(state, sync_token_id=sync_token_id),
        synced_actions=synced,
        token=token(password(lives=lives)),
        twin=twin,
        now=at,
    )


@pytest.mark.parametrize(
    ("warnings", "reason", "names"),
    [
        (found(record(), state="Offline"), Reason.CONNECTED_REGISTRY_OFFLINE, "Offline"),
        (found(record(), state="Unhealthy"), Reason.CONNECTED_REGISTRY_OFFLINE, "Unhealthy"),
        (found(record(), synced=OTHERS), Reason.REPOSITORIES_NOT_SYNCED, "plant/app/content/read"),
        (
            found(record(), synced=None, sync_token_id=None),
            Reason.SYNCED_REPOSITORIES_NOT_KNOWN,
            "acrtest/plantone",
        ),
        (found(UNANSWERED, at=NEAR_END), Reason.PASSWORD_EXPIRES_SOON, f"{MADE + VALIDITY:%F}"),
        (found(ADOPTED, at=NEAR_END), Reason.PASSWORD_EXPIRES_SOON, f"{MADE + VALIDITY:%F}"),
        (found(ADOPTED, lives=None), Reason.PASSWORD_NOT_OURS, "password1"),
    ],
)
def test_a_warning_names_its_cause(
    warnings: tuple[DeviceWarning, ...], reason: Reason, names: str
) -> None:
    (warning,) = warnings
    assert warning.reason is reason
    assert names in warning.message


@pytest.mark.parametrize(
    "warnings",
    [
        found(record()),
        found(record(), state="Syncing"),
        found(record(), state=None),
        found(UNANSWERED, at=NEAR_END - MINUTE),
        found(changed(UNANSWERED, delivery=None), at=NEAR_END),
        found(ADOPTED),
        found(record(), lives=None),
        warnings_for(
            record(), connected_registry=None, synced_actions=None, token=None, twin=None, now=NOW
        ),
    ],
)
def test_there_is_no_warning_without_a_cause(warnings: tuple[DeviceWarning, ...]) -> None:
    assert warnings == ()


def test_where_the_synced_actions_are_not_read_a_warning_about_them_stays() -> None:
    warned = record(warnings=found(record(), synced=OTHERS))
    assert found(warned, at=NOW + DAY, synced=None) == warned.status.warnings
    assert found(warned) == ()


def test_where_a_managed_identity_replaces_the_sync_token_an_earlier_warning_ends() -> None:
    warned = record(warnings=found(record(), synced=OTHERS))
    reasons = [w.reason for w in found(warned, synced=None, sync_token_id=None)]
    assert reasons == [Reason.SYNCED_REPOSITORIES_NOT_KNOWN]


def test_a_warning_keeps_the_time_of_its_beginning_while_its_words_change() -> None:
    warned = record(warnings=found(record(), state="Offline"))
    (warning,) = found(warned, at=NOW + DAY, state="Unhealthy")
    assert warning.since == NOW
    assert "Unhealthy" in warning.message
    (anew,) = found(record(), at=NOW + DAY, state="Offline")
    assert anew.since == NOW + DAY


def test_warnings_come_in_a_fixed_order() -> None:
    warnings = found(UNANSWERED, at=NEAR_END, state="Offline", synced=OTHERS)
    reasons = [warning.reason for warning in warnings]
    assert len(reasons) == 3
    assert reasons == sorted(reasons)


@pytest.mark.parametrize(
    ("there", "awaited"),
    [
        (plant_one(last_sync_at=NOW + MINUTE), []),
        (plant_one(last_sync_at=NOW), [Reason.AWAITING_SYNC]),
        (plant_one(last_sync_at=None), [Reason.AWAITING_SYNC]),
        (None, []),
    ],
    ids=["synced since", "not synced since", "never synced", "gone"],
)
def test_after_a_revoke_a_connected_registry_has_to_sync_once(
    there: ConnectedRegistry | None, awaited: list[Reason]
) -> None:
    warnings = awaiting_sync(PLANT_ONE, there, since=NOW, now=NOW + HOUR)
    assert [warning.reason for warning in warnings] == awaited


def warnings_in(harness: Harness) -> tuple[DeviceWarning, ...]:
    (only,) = harness.cloud.all_records()
    return only.status.warnings


async def test_a_sync_after_a_revoke_is_awaited_since_the_revoke() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    await harness.revoke(device)
    await harness.run_for(MINUTE)
    first = warnings_in(harness)
    await harness.run_for(DAY)
    assert [w.since for w in warnings_in(harness)] == [w.since for w in first]


async def test_a_pass_finds_a_warning_and_a_sweep_ends_it() -> None:
    harness = Harness()
    plant_one = harness.cloud.sites[PLANT_ONE]
    device = await harness.make_ready()
    plant_one.go_offline()
    await harness.reconcile(device)
    (warning,) = warnings_in(harness)
    assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    await harness.run_for(DAY)
    await harness.sweep()
    assert warnings_in(harness) == (warning,)
    harness.cloud.change_identity(device, enabled=False)
    await harness.reconcile(device)
    assert harness.state(device) is State.WAITING
    plant_one.go_online()
    await harness.run_for(HOUR)
    await harness.sweep()
    assert warnings_in(harness) == ()


async def test_a_sweep_warns_once_of_a_device_that_it_does_not_requeue(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    await harness.make_ready()
    harness.cloud.sites[PLANT_ONE].problem = "DISK_ERROR"
    harness.cloud.sync(PLANT_ONE)
    queued = len(harness.cloud.queue)
    for _ in range(2):
        await harness.sweep()
        (warning,) = warnings_in(harness)
        assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    assert len(harness.cloud.queue) == queued
    assert sum(LogEvent.DEVICE_WARNING_RAISED in line for line in caplog.messages) == 1


async def test_a_policy_that_lists_repositories_allows_what_is_not_synced_with_a_warning() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "repositories": ["*"]}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    await harness.make_ready(repositories=["elsewhere/app"])
    (warning,) = warnings_in(harness)
    assert warning.reason is Reason.REPOSITORIES_NOT_SYNCED
    for action, warnings in (
        ("repositories/plant/*/content/read", (warning,)),
        ("repositories/elsewhere/app/content/read", ()),
    ):
        harness.cloud.let_sync(PLANT_ONE, action)
        await harness.sweep()
        assert warnings_in(harness) == warnings


async def test_the_warning_about_an_adopted_password_ends_with_its_rotation() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    make_by_hand(harness, "by-hand")
    device = await harness.make_ready(adopt="by-hand")
    assert [warning.reason for warning in warnings_in(harness)] == [Reason.PASSWORD_NOT_OURS]
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()
    assert warnings_in(harness) == ()


async def test_a_device_that_is_away_is_warned_of_before_its_password_ends() -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(HOUR)
    harness.clock.advance(timedelta(days=70))
    await harness.run_for(2 * HOUR)
    assert [warning.reason for warning in warnings_in(harness)] == [Reason.PASSWORD_EXPIRES_SOON]
    harness.devices_answer = True
    await harness.run_for(3 * HOUR)
    assert harness.state(device) is State.READY
    assert warnings_in(harness) == ()
