"""Each metric has the value that a person would have counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.azure_resources import TokenId
from firstpull.model.device_record import State
from firstpull.observability import telemetry
from tests.firstpull.fakes import Fault, FaultKind
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_policy
from tests.firstpull.scenarios import make_by_hand

from .recorded import Measured

DEVICES, FIRST_PULL = "firstpull.devices", "firstpull.first_pull.duration"
UNANSWERED = "firstpull.delivery.oldest_unacknowledged"
USED, FREE, AGE = "firstpull.clients.used", "firstpull.clients.free", "firstpull.sweep.age"
SITE_USED, SITE_FREE = "firstpull.site.used", "firstpull.site.free"
ONE = {"container_registry": "acrtest", "connected_registry": "plantone"}
TWO = {"container_registry": "acrtest", "connected_registry": "planttwo"}


async def measure(harness: Harness) -> None:
    await harness.processes[0].application.gauges.measure()


async def test_the_first_pull_is_measured_from_the_request_to_the_devices_word(
    measured: Measured,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=10))
    assert FIRST_PULL not in measured.collect()

    harness.devices_answer = True
    await harness.run_for(timedelta(hours=2))
    answered = next(
        entry.at
        for entry in harness.cloud.record(device).history
        if entry.event == "device.credential.acknowledged"
    )
    took = (answered - harness.cloud.record(device).spec.intent.at).total_seconds()
    assert took > 600
    assert measured.collect()[FIRST_PULL] == {frozenset(): pytest.approx(took, abs=1)}


async def test_a_rotation_is_no_first_pull(measured: Measured) -> None:
    harness = Harness()
    device = await harness.make_ready()
    assert FIRST_PULL in measured.collect()
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=1))
    assert len(harness.cloud.passwords_made) == 2
    assert FIRST_PULL not in measured.collect()


async def test_the_rotation_of_an_adopted_device_is_no_first_pull(measured: Measured) -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["legacy-*"]))
    device = harness.register()
    make_by_hand(harness, "legacy-1", "made by hand")
    await harness.ask(adopt="legacy-1")
    await harness.run_for(timedelta(days=20))
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=3))
    if harness.state(device) is not State.READY or not harness.cloud.passwords_made:
        raise RuntimeError("the device was not rotated")
    assert FIRST_PULL not in measured.collect()


async def test_devices_are_counted_by_state_those_of_no_device_too(measured: Measured) -> None:
    harness = Harness()
    await harness.make_ready("press-1")
    await harness.make_ready("press-2")
    await harness.ask("press-3")  # which is not registered
    await harness.run_for(timedelta(minutes=5))
    await measure(harness)
    counted = measured.collect()[DEVICES]
    assert counted == {
        frozenset({("state", state.value)}): {State.READY: 2, State.WAITING: 1}.get(state, 0)
        for state in State
    }


async def test_devices_are_counted_over_all_pages(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstpull.model.pagination._MOST", 2)
    harness = Harness()
    for number in range(5):
        await harness.make_ready(f"press-{number}")
    await measure(harness)
    assert measured.gauge(DEVICES, state="Ready") == 5


async def test_clients_used_and_free_count_those_of_others(measured: Measured) -> None:
    harness = Harness(
        policy=make_policy(
            connectedRegistries=[{"name": "plantone", "capacity": 5}, {"name": "planttwo"}]
        )
    )
    await harness.make_ready()
    for number in range(3):
        harness.cloud.connected[PLANT_ONE].clients.append(
            TokenId(f"/somebody/else/tokens/t{number}")
        )
    await measure(harness)
    metrics = measured.collect()
    assert metrics[USED] == {frozenset(ONE.items()): 4, frozenset(TWO.items()): 0}
    assert metrics[FREE] == {frozenset(ONE.items()): 1, frozenset(TWO.items()): 50}


async def test_a_site_has_the_room_of_its_connected_registries_together(
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
    metrics = measured.collect()
    assert metrics[FREE] == {frozenset(ONE.items()): 0, frozenset(TWO.items()): 8}
    site = frozenset({("site", "plant")})
    assert (metrics[SITE_USED], metrics[SITE_FREE]) == ({site: 2}, {site: 8})


async def test_a_connected_registry_in_no_site_is_one_by_its_connected_registry(
    measured: Measured,
) -> None:
    harness = Harness(
        policy=make_policy(sites=[{"name": "plant", "connectedRegistries": ["plantone"]}])
    )
    await measure(harness)
    sites = {frozenset({("site", name)}) for name in ("plant", "acrtest/planttwo")}
    assert measured.collect()[SITE_FREE].keys() == sites


async def test_a_connected_registry_that_is_gone_has_no_room(measured: Measured) -> None:
    harness = Harness()
    del harness.cloud.connected[PLANT_TWO]
    await measure(harness)
    assert measured.gauge(FREE, **TWO) == 0


async def test_the_oldest_delivery_without_an_answer_ages_until_there_is_one(
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


async def test_a_rotation_without_an_answer_counts_from_its_delivery(measured: Measured) -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(timedelta(days=3))
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=5))
    await measure(harness)
    assert measured.gauge(UNANSWERED) == pytest.approx(5 * 3600, abs=300)


async def test_nobody_waits_for_the_answer_of_a_device_that_is_revoked(
    measured: Measured,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(hours=1))
    await harness.revoke(device)
    await measure(harness)
    assert harness.state(device) is not State.REVOKED
    assert measured.gauge(UNANSWERED) == 0


async def test_the_sweeps_age_is_unknown_before_the_first_and_grows_after_it(
    measured: Measured,
) -> None:
    harness = Harness()
    await measure(harness)
    assert measured.gauge(AGE) is None
    await harness.sweep()
    harness.clock.advance(timedelta(hours=2))
    await measure(harness)
    assert measured.gauge(AGE) == pytest.approx(2 * 3600, abs=1)


async def test_a_sweep_that_could_not_read_everything_does_not_count(measured: Measured) -> None:
    harness = Harness()
    await harness.sweep()
    harness.clock.advance(timedelta(hours=2))

    def refuse(number: int, operation: str) -> None:
        if operation == "registries.list_tokens":
            harness.cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=False)

    harness.cloud.before_call = refuse
    assert (await harness.sweep()).unread
    harness.cloud.before_call = None
    await measure(harness)
    assert measured.gauge(AGE) == pytest.approx(2 * 3600, abs=1)


async def test_the_sweeps_age_is_told_when_azure_resource_manager_refuses(
    measured: Measured,
) -> None:
    harness = Harness()
    await harness.sweep()

    def refuse(_: int, operation: str) -> None:
        if operation == "registries.list_connected_registries":
            raise ConnectionError

    harness.cloud.before_call = refuse
    with pytest.raises(ConnectionError):
        await measure(harness)
    assert measured.gauge(AGE) == pytest.approx(0, abs=1)


def test_a_value_is_told_once_for_each_time_that_it_was_measured(measured: Measured) -> None:
    for value in (3, 2):
        telemetry.DEVICES.set(value, {"state": "Blocked"})
    assert measured.gauge(DEVICES, state="Blocked") == 2
    assert measured.gauge(DEVICES, state="Blocked") is None


async def test_a_rotation_is_no_first_pull_when_the_history_has_forgotten_the_first(
    measured: Measured,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    assert FIRST_PULL in measured.collect()
    for _ in range(30):
        harness.cloud.connected[PLANT_ONE].clients.clear()
        await harness.sweep()
        await harness.run_for(timedelta(hours=1))
    await harness.rotate(device)
    await harness.run_for(timedelta(hours=3))
    assert harness.state(device) is State.READY
    assert FIRST_PULL not in measured.collect()


async def test_the_rotation_of_an_adopted_device_without_an_answer_counts_too(
    measured: Measured,
) -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["legacy-*"]))
    device = harness.register()
    make_by_hand(harness, "legacy-1", "made by hand")
    await harness.ask(adopt="legacy-1")
    await harness.run_for(timedelta(days=1))
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(timedelta(days=4))
    await measure(harness)
    assert (measured.gauge(UNANSWERED) or 0) > timedelta(days=3).total_seconds()


async def test_the_first_pull_is_measured_from_the_first_of_several_requests(
    measured: Measured,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    harness.register()
    await harness.ask()
    await harness.run_for(timedelta(hours=5))
    await harness.ask(connectedRegistry="planttwo")
    harness.devices_answer = True
    await harness.run_for(timedelta(hours=1))
    (took,) = measured.collect()[FIRST_PULL].values()
    assert took > timedelta(hours=5).total_seconds()
