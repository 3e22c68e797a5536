"""Each metric has the value that a person would count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.device_record import State
from firstpull.observability import telemetry
from firstpull.observability.log_events import LogEvent
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_policy
from tests.firstpull.scenarios import make_by_hand
from tests.world.calls import Fault

from .recorded import Measured

DEVICES, FIRST_PULL = "firstpull.devices", "firstpull.first_pull.duration"
UNANSWERED = "firstpull.delivery.oldest_unacknowledged"
USED, FREE, AGE = "firstpull.clients.used", "firstpull.clients.free", "firstpull.sweep.age"
SITE_USED, SITE_FREE = "firstpull.site.used", "firstpull.site.free"
ONE = {"container_registry": "acrtest", "connected_registry": "plantone"}
TWO = {"container_registry": "acrtest", "connected_registry": "planttwo"}


async def measure(harness: Harness) -> None:
    await harness.processes[0].application.gauges.measure()


# The first pull


async def test_the_first_pull_takes_from_the_first_request_to_the_acknowledgement(
    measured: Measured,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    asked_at = harness.cloud.record(device).spec.intent.at
    await harness.run_for(timedelta(minutes=10))
    await harness.ask(connectedRegistry="planttwo")
    assert FIRST_PULL not in measured.collect()

    harness.devices_answer = True
    await harness.run_for(timedelta(hours=1))
    acknowledged = LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED
    history = harness.cloud.record(device).history
    answered_at = next(entry.at for entry in history if entry.event == acknowledged)
    took = (answered_at - asked_at).total_seconds()
    assert took > 600
    assert measured.collect()[FIRST_PULL] == {frozenset(): pytest.approx(took, abs=1)}


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_rotation_is_not_a_first_pull(measured: Measured, *, adopted: bool) -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["legacy-*"]))
    device = harness.register()
    if adopted:
        make_by_hand(harness, "legacy-1")
    await harness.ask(adopt="legacy-1" if adopted else None)
    await harness.run_for(timedelta(hours=1))
    assert (FIRST_PULL in measured.collect()) is not adopted
    made = len(harness.cloud.passwords_made)
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=1))
    assert len(harness.cloud.passwords_made) == made + 1
    assert FIRST_PULL not in measured.collect()


# Devices and deliveries


async def test_devices_are_counted_by_state_over_all_pages(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstpull.model.pagination._MOST", 2)
    harness = Harness()
    for number in range(3):
        await harness.make_ready(f"press-{number}")
    await harness.ask("not-registered")
    await harness.run_for(timedelta(minutes=5))
    await measure(harness)
    assert measured.collect()[DEVICES] == {
        frozenset({("state", state.value)}): {State.READY: 3, State.WAITING: 1}.get(state, 0)
        for state in State
    }


async def test_the_oldest_delivery_without_an_acknowledgement_ages_until_there_is_one(
    measured: Measured,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    for device_id in ("press-1", "press-2"):
        harness.register(device_id)
        await harness.ask(device_id)
        await harness.run_for(timedelta(hours=2))
    await measure(harness)
    assert measured.gauge(UNANSWERED) == pytest.approx(4 * 3600, abs=60)

    harness.devices_answer = True
    await harness.run_for(timedelta(hours=2))
    await measure(harness)
    assert measured.gauge(UNANSWERED) == 0


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_rotation_without_an_acknowledgement_ages_from_its_delivery(
    measured: Measured, *, adopted: bool
) -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["legacy-*"]))
    device = harness.register()
    if adopted:
        make_by_hand(harness, "legacy-1")
    await harness.ask(adopt="legacy-1" if adopted else None)
    await harness.run_for(timedelta(hours=6))
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=5))
    await measure(harness)
    assert measured.gauge(UNANSWERED) == pytest.approx(5 * 3600, abs=300)


async def test_a_revoked_device_is_not_waited_for(measured: Measured) -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(hours=1))
    await harness.revoke(device)
    await measure(harness)
    assert harness.state(device) is State.REVOKING
    assert measured.gauge(UNANSWERED) == 0


# Room


async def test_foreign_clients_use_the_room_of_a_connected_registry(measured: Measured) -> None:
    harness = Harness(
        policy=make_policy(
            connectedRegistries=[{"name": "plantone", "capacity": 5}, {"name": "planttwo"}]
        )
    )
    await harness.make_ready()
    for number in range(3):
        harness.cloud.add_foreign_client(PLANT_ONE, f"foreign{number}")
    await measure(harness)
    metrics = measured.collect()
    assert metrics[USED] == {frozenset(ONE.items()): 4, frozenset(TWO.items()): 0}
    assert metrics[FREE] == {frozenset(ONE.items()): 1, frozenset(TWO.items()): 50}


async def test_a_site_has_the_sum_of_the_room_of_its_connected_registries(
    measured: Measured,
) -> None:
    harness = Harness(
        policy=make_policy(
            connectedRegistries=[
                {"name": "plantone", "capacity": 1},
                {"name": "planttwo", "capacity": 9},
            ]
        )
    )
    await harness.make_ready("press-1", site="plant", connectedRegistry=None)
    await harness.make_ready("press-2", site="plant", connectedRegistry=None)
    await measure(harness)
    metrics, site = measured.collect(), frozenset({("site", "plant")})
    assert metrics[FREE] == {frozenset(ONE.items()): 0, frozenset(TWO.items()): 8}
    assert (metrics[SITE_USED], metrics[SITE_FREE]) == ({site: 2}, {site: 8})


async def test_a_connected_registry_outside_the_sites_is_a_site_and_has_no_room_when_it_is_gone(
    measured: Measured,
) -> None:
    plant_one_only = [{"name": "plant", "connectedRegistries": ["plantone"]}]
    harness = Harness(policy=make_policy(sites=plant_one_only))
    harness.cloud.registry().delete_connected_registry(PLANT_TWO.name)
    await measure(harness)
    assert measured.collect()[SITE_FREE] == {
        frozenset({("site", "plant")}): 50,
        frozenset({("site", "acrtest/planttwo")}): 0,
    }


# The sweep


async def test_the_sweeps_age_is_unknown_before_the_first_complete_one_and_grows_after_it(
    measured: Measured,
) -> None:
    harness = Harness()
    await measure(harness)
    assert measured.gauge(AGE) is None
    await harness.sweep()
    harness.clock.advance(timedelta(hours=2))
    harness.cloud.inject(Fault.UNAVAILABLE, at="registries.list_tokens")
    assert (await harness.sweep()).unread
    await measure(harness)
    assert measured.gauge(AGE) == pytest.approx(2 * 3600, abs=1)


async def test_the_sweeps_age_is_measured_when_azure_resource_manager_refuses(
    measured: Measured,
) -> None:
    harness = Harness()
    await harness.sweep()
    harness.clock.advance(timedelta(hours=2))

    def refuse() -> None:
        raise ConnectionError

    harness.cloud.act(refuse, at="registries.list_connected_registries")
    with pytest.raises(ConnectionError):
        await measure(harness)
    assert measured.gauge(AGE) == pytest.approx(2 * 3600, abs=1)


async def test_what_a_sweep_has_counted_is_not_counted_again_within_the_hour(
    measured: Measured,
) -> None:
    harness = Harness()
    await harness.make_ready()
    await harness.sweep()
    for begun in (len(harness.cloud.calls),) * 2:
        await measure(harness)
        assert {*harness.cloud.calls[begun:]} == {"sweeps.get"}
        metrics = measured.collect()
        assert metrics[DEVICES][frozenset({("state", "Ready")})] == 1
        assert metrics[USED][frozenset(ONE.items())] == 1
        assert metrics[SITE_USED] == {frozenset({("site", "plant")}): 1}
    harness.clock.advance(timedelta(hours=2))
    await measure(harness)
    assert "records.page" in harness.cloud.calls[begun:]


# The instruments


def test_a_gauge_is_exported_once_for_each_time_that_it_was_set(measured: Measured) -> None:
    for value in (3, 2):
        telemetry.DEVICES.set(value, {"state": "Blocked"})
    assert measured.gauge(DEVICES, state="Blocked") == 2
    assert measured.gauge(DEVICES, state="Blocked") is None


def test_every_instrument_is_in_the_list_of_metrics() -> None:
    kinds = (telemetry.Gauge, telemetry.Histogram)
    declared = [one for one in vars(telemetry).values() if isinstance(one, kinds)]
    assert declared == list(telemetry.METRICS)
