from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firstpull.intake.onboard import LONGEST_WAIT, _at_rest
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import Invalid, NotAllowed, NotKnown, Refused, Transient
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import from_json, to_json
from tests.firstpull.builders import record as ready_record
from tests.firstpull.fakes import Fault, FaultKind
from tests.firstpull.harness import HUB, PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of

OTHER_HUB = "hub-2.azure-devices.net"
NARROW = make_policy(
    hubs=[HUB, OTHER_HUB],
    connectedRegistries=[
        {"name": "plantone", "repositories": ["plant/*"]},
        {"name": "planttwo", "repositories": ["plant/app"], "actions": ["content/write"]},
    ],
)


async def paths(**changes: Any) -> list[str]:  # noqa: ANN401 - JSON
    """What the policy forbids of a request."""
    harness = Harness(policy=NARROW)
    with pytest.raises(NotAllowed) as raised:
        await harness.ask(**changes)
    assert raised.value.reason is Reason.NOT_ALLOWED
    assert harness.cloud.calls == []
    return [error.path for error in raised.value.errors]


@pytest.mark.parametrize(
    ("changes", "forbidden"),
    [
        ({"hub": "stranger.azure-devices.net"}, ["/hub"]),
        ({"containerRegistry": "stranger"}, ["/containerRegistry"]),
        ({"connectedRegistry": "stranger"}, ["/connectedRegistry"]),
        ({"connectedRegistry": None, "site": "stranger"}, ["/site"]),
        ({"repositories": ["plant/app", "other"]}, ["/repositories/1"]),
        ({"repositories": ["*"]}, ["/repositories/0"]),
        ({"actions": ["content/read", "content/delete"]}, ["/actions/1"]),
        ({"connectedRegistry": "planttwo"}, ["/actions/0"]),
        (
            {"connectedRegistry": None, "site": "plant", "repositories": ["plant/tool"]},
            ["/repositories/0", "/actions/0"],
        ),
        (
            {"hub": "x", "repositories": ["a", "b"], "actions": ["content/write"]},
            ["/hub", "/repositories/0", "/repositories/1", "/actions/0"],
        ),
    ],
)
async def test_everything_that_the_policy_forbids_is_told_at_once(
    changes: dict[str, Any], forbidden: list[str]
) -> None:
    assert await paths(**changes) == forbidden


async def test_the_intent_is_recorded_before_anybody_is_told() -> None:
    harness = Harness()
    record = await harness.ask(repositories=["plant/b", "plant/a"])
    assert harness.cloud.calls == ["records.get", "records.insert", "queue.put"]
    assert record.spec.generation == 1
    assert record.status.condition.state is State.PENDING
    assert record.spec.intent.repositories == ("plant/a", "plant/b")
    assert record.spec.intent.actions == ("content/read",)
    assert record.spec.intent.requested_by == "a test"
    assert record.spec.intent.candidates == (PLANT_ONE,)
    assert harness.cloud.record(record.device) == record


async def test_a_site_is_recorded_with_its_connected_registries_in_order() -> None:
    record = await Harness().ask(connectedRegistry=None, site="plant")
    assert record.spec.intent.target == "site plant"
    assert record.spec.intent.candidates == (PLANT_ONE, PLANT_TWO)


async def test_the_first_hub_is_meant_where_none_is_named() -> None:
    harness = Harness(policy=make_policy(hubs=[HUB, OTHER_HUB]))
    assert (await harness.ask()).device.hub == HUB
    assert (await harness.ask(hub=OTHER_HUB)).device.hub == OTHER_HUB
    assert len(harness.cloud.records) == 2


async def test_another_wish_is_another_generation() -> None:
    harness = Harness()
    await harness.ask()
    record = await harness.ask(repositories=["plant/other"])
    assert (record.spec.generation, record.status.observed_generation) == (2, 0)
    assert record.schedule.due_at <= harness.clock.now()


async def test_a_device_of_a_site_stays_where_it_is_when_the_site_is_asked_for() -> None:
    harness = Harness()
    await harness.make_ready(connectedRegistry="planttwo")
    record = await harness.ask(connectedRegistry=None, site="plant")
    assert grant_of(record).ref == PLANT_TWO


async def test_asking_again_for_a_device_that_is_stuck_reconciles_it_at_once() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.run_for(timedelta(hours=1))
    harness.register()
    assert harness.state(device) is State.WAITING
    record = await harness.ask()
    assert record.spec.generation == 1
    assert record.schedule.due_at <= harness.clock.now()
    await harness.run_until(lambda: harness.state(device) is State.DELIVERED, timedelta(seconds=1))
    assert harness.state(device) is State.DELIVERED


async def test_asking_again_for_a_device_registered_again_gives_it_credentials() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(timedelta(hours=1))
    harness.cloud.register(device)
    await harness.ask()
    await harness.run_for(timedelta(hours=2))
    assert harness.cloud.twin_entry(device, PLANT_ONE)


async def test_a_message_that_comes_late_does_not_bring_back_the_past() -> None:
    harness = Harness()
    onboarding = harness.processes[0].onboarding
    written_at = harness.clock.now()
    harness.clock.advance(timedelta(hours=1))
    newer = await harness.ask(repositories=["plant/newer"])
    with pytest.raises(Refused) as raised:
        await onboarding.ask(
            harness.request(repositories=["plant/older"]),
            requested_by="a queue",
            asked_at=written_at,
        )
    assert raised.value.reason is Reason.OUT_OF_DATE
    assert harness.cloud.record(newer.device) == newer


async def test_a_message_from_the_future_counts_as_written_now() -> None:
    harness = Harness()
    record = await harness.processes[0].onboarding.ask(
        harness.request(),
        requested_by="a queue",
        asked_at=harness.clock.now() + timedelta(days=1),
    )
    assert record.spec.intent.at <= harness.clock.now()
    assert (await harness.ask(repositories=["plant/other"])).spec.generation == 2


async def test_a_proposal_is_what_asking_then_writes_and_writes_nothing() -> None:
    harness = Harness()
    proposed = await harness.processes[0].onboarding.propose(
        harness.request(), requested_by="a test"
    )
    assert harness.cloud.calls == ["records.get"]
    asked = await harness.ask()
    assert asked.spec.intent.asks_the_same(proposed.spec.intent)
    assert (asked.device, asked.spec.generation) == (proposed.device, proposed.spec.generation)


async def test_a_known_device_is_woken_and_an_unknown_one_is_not() -> None:
    harness = Harness()
    device = await harness.make_ready()
    onboarding = harness.processes[0].onboarding
    assert not await onboarding.wake(DeviceKey(hub=HUB, device_id="press-9"))
    await harness.run_for(timedelta(hours=1))
    harness.cloud.register(device)
    assert await onboarding.wake(device)
    await harness.run_until_quiet()
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.state(device) is State.READY


async def test_a_device_that_is_woken_during_a_pass_is_reconciled_again() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.run_for(timedelta(hours=1))
    with harness.cloud.hold_call("hubs.twin", answer=True) as held:
        look = asyncio.create_task(harness.reconcile(device))
        await held.reached.wait()
        harness.cloud.register(device)
        await harness.processes[0].onboarding.wake(device)
        held.release.set()
        await look
    await harness.run_for(timedelta(hours=1))
    assert harness.cloud.twin_entry(device, PLANT_ONE)


async def test_those_who_ask_at_once_for_different_things_get_a_generation_each() -> None:
    harness = Harness(processes=3)
    await asyncio.gather(*(harness.ask(repositories=[f"plant/r{n}"]) for n in range(5)))
    (record,) = harness.cloud.all_records()
    assert record.spec.generation == 5


async def test_a_record_that_others_change_all_the_time_is_not_waited_for_without_end() -> None:
    harness = Harness()
    device = (await harness.ask()).device

    def change(_: int, operation: str) -> None:
        if operation == "records.replace":
            text, version = harness.cloud.records[device]
            harness.cloud.records[device] = text, version + 1000

    harness.cloud.before_call = change
    request = harness.request(repositories=["plant/other"])
    with pytest.raises(Transient) as raised:
        await harness.processes[0].onboarding.ask(request, requested_by="a test")
    assert raised.value.reason is Reason.CHANGED_MEANWHILE
    assert raised.value.retry_after


async def test_waiting_ends_when_the_device_has_its_credentials() -> None:
    harness = Harness()
    harness.register()
    record = await harness.ask()
    waiting = asyncio.create_task(
        harness.processes[0].onboarding.wait(record, seconds=LONGEST_WAIT)
    )
    await harness.run_until(waiting.done, timedelta(seconds=10))
    assert (await waiting).status.condition.state is State.DELIVERED


async def test_waiting_ends_when_a_person_or_the_device_has_to_do_something() -> None:
    harness = Harness()
    record = await harness.ask()
    waiting = asyncio.create_task(
        harness.processes[0].onboarding.wait(record, seconds=LONGEST_WAIT)
    )
    await harness.run_until(waiting.done, timedelta(seconds=10))
    assert (await waiting).status.condition.reason is Reason.DEVICE_NOT_REGISTERED


async def test_waiting_ends_after_its_time() -> None:
    harness = Harness()
    record = await harness.ask()
    begun = harness.clock.now()
    found = await harness.processes[0].onboarding.wait(record, seconds=LONGEST_WAIT)
    waited = (harness.clock.now() - begun).total_seconds()
    assert found.status.condition.state is State.PENDING
    assert LONGEST_WAIT <= waited < LONGEST_WAIT + 1


async def test_waiting_ends_when_somebody_asks_for_something_else() -> None:
    harness = Harness()
    record = await harness.ask()
    onboarding = harness.processes[0].onboarding
    found, _ = await asyncio.gather(
        onboarding.wait(record, seconds=LONGEST_WAIT), harness.ask(repositories=["plant/other"])
    )
    assert found.spec.generation == 2


@pytest.mark.parametrize("device_id", ["", "a b", "a/b", "ä", "a" * 129, "a\n"])
def test_an_address_names_a_possible_device(device_id: str) -> None:
    onboarding = Harness().processes[0].onboarding
    with pytest.raises(Invalid) as raised:
        onboarding.device(device_id, hub=None)
    assert [error.path for error in raised.value.errors] == ["deviceId"]


def test_an_address_names_a_hub_by_its_host() -> None:
    onboarding = Harness().processes[0].onboarding
    assert onboarding.device("press-1", hub=None) == DeviceKey(hub=HUB, device_id="press-1")
    assert onboarding.device("press-1", hub=HUB.upper()) == DeviceKey(hub=HUB, device_id="press-1")
    with pytest.raises(Invalid) as raised:
        onboarding.device("press-1", hub="no host")
    assert [error.path for error in raised.value.errors] == ["hub"]


async def test_a_device_that_nobody_asked_for_is_not_known() -> None:
    onboarding = Harness().processes[0].onboarding
    with pytest.raises(NotKnown) as raised:
        await onboarding.find(DeviceKey(hub=HUB, device_id="press-9"))
    assert raised.value.reason is Reason.DEVICE_NOT_KNOWN


async def test_records_are_listed_a_page_at_a_time() -> None:
    harness = Harness()
    for n in range(5):
        await harness.ask(f"press-{n}")
    found: list[DeviceRecord] = []
    query: Query | None = Query(hub=HUB, size=2)
    while query is not None:
        page = await harness.processes[0].onboarding.page(query)
        found += page.records
        query = replace(query, after=page.next_page) if page.next_page else None
    assert [r.device.device_id for r in found] == [f"press-{n}" for n in range(5)]


async def test_a_lost_answer_of_the_record_does_not_count_as_another_wish() -> None:
    harness = Harness()
    harness.cloud.faults = {2: Fault(kind=FaultKind.TRANSIENT, after=True)}
    record = await harness.ask()
    assert harness.cloud.faults_met == 1
    assert record.spec.generation == 1


def test_a_record_survives_being_stored() -> None:
    record = ready_record()
    assert from_json(to_json(record)) == record
    assert str(REGISTRY) in to_json(record)
    with pytest.raises(ValueError, match="validation error"):
        from_json("{}")


async def test_a_blocked_device_is_not_at_rest_while_a_worker_is_at_it() -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[])
    harness = Harness(policy=policy)
    first = await harness.make_ready()
    second = harness.register("press-2")
    await harness.ask("press-2")
    await harness.run_for(timedelta(seconds=10))
    assert harness.reason(second) is Reason.CONNECTED_REGISTRY_FULL
    await harness.revoke(first)
    await harness.run_until(lambda: harness.state(first) is State.REVOKED, timedelta(seconds=30))
    asked = await harness.ask("press-2")
    ends: list[bool] = []

    def poll(_: int, __: str) -> None:
        record = harness.cloud.record(second)
        if record.claim is not None:  # what `wait` would find now
            ends.append(_at_rest(record, asked, now=harness.clock.now()))

    harness.cloud.before_call = poll
    await harness.run_until(lambda: harness.state(second) is State.DELIVERED, timedelta(seconds=30))
    assert ends
    assert not any(ends)
