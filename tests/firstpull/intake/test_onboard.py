from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firstpull.intake.onboard import LONGEST_WAIT, _is_held_up
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import Invalid, NotAllowed, NotKnown, Refused, Transient
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from local_azure.iot_hub.twins import JsonObject
from tests.firstpull.harness import HUB, PLANT_ONE, PLANT_TWO, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.world.calls import Fault

OTHER_HUB = "hub-2.azure-devices.net"
NARROW = make_policy(
    hubs=[HUB, OTHER_HUB],
    connectedRegistries=[
        {"name": "plantone", "repositories": ["plant/*"]},
        {"name": "planttwo", "repositories": ["plant/app"], "actions": ["content/write"]},
    ],
)


async def wait_for(harness: Harness, record: DeviceRecord) -> DeviceRecord:
    return await harness.processes[0].onboarding.wait(
        record, generation=record.spec.intent_generation, seconds=LONGEST_WAIT
    )


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
async def test_everything_that_the_policy_forbids_is_named_at_once(
    changes: dict[str, Any], forbidden: list[str]
) -> None:
    harness = Harness(policy=NARROW)
    with pytest.raises(NotAllowed) as raised:
        await harness.ask(**changes)
    assert raised.value.reason is Reason.NOT_ALLOWED
    assert [error.path for error in raised.value.errors] == forbidden
    assert harness.cloud.calls == []


async def test_the_intent_is_recorded_before_the_device_is_enqueued() -> None:
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


async def test_another_request_is_another_generation() -> None:
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


async def test_a_message_older_than_the_intent_is_refused() -> None:
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


async def test_a_device_that_was_registered_anew_and_asked_for_gets_another_credential() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.run_for(timedelta(hours=1))
    harness.cloud.register(device)
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    assert harness.state(device) is State.READY


async def test_a_device_without_a_record_is_neither_woken_nor_found() -> None:
    onboarding, stranger = (
        Harness().processes[0].onboarding,
        DeviceKey(hub=HUB, device_id="press-9"),
    )
    assert not await onboarding.wake(stranger)
    with pytest.raises(NotKnown) as raised:
        await onboarding.find(stranger)
    assert raised.value.reason is Reason.DEVICE_NOT_KNOWN


async def test_a_device_that_is_woken_during_a_pass_is_reconciled_again() -> None:
    harness = Harness(processes=2)
    device = await harness.make_ready()
    await harness.run_for(timedelta(hours=1))
    with harness.cloud.hold_call("hubs.twin", answer=True) as held:
        reconciling = asyncio.create_task(harness.reconcile(device))
        await held.reached.wait()
        harness.cloud.clear_twin(device)
        await harness.processes[0].onboarding.wake(device)
        held.release.set()
        await reconciling
    await harness.run_for(timedelta(hours=1))
    assert harness.cloud.twin_entry(device, PLANT_ONE)


async def test_different_requests_at_once_get_a_generation_each() -> None:
    harness = Harness(processes=3)
    await asyncio.gather(*(harness.ask(repositories=[f"plant/r{n}"]) for n in range(5)))
    (record,) = harness.cloud.all_records()
    assert record.spec.generation == 5


async def test_a_record_that_others_keep_changing_is_given_up() -> None:
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


@pytest.mark.parametrize(
    ("is_registered", "reason"),
    [(True, Reason.DELIVERED), (False, Reason.DEVICE_NOT_REGISTERED)],
)
async def test_waiting_ends_when_the_device_is_delivered_or_waits_itself(
    is_registered: bool,  # noqa: FBT001 - a table
    reason: Reason,
) -> None:
    harness = Harness()
    if is_registered:
        harness.register()
    waiting = asyncio.create_task(wait_for(harness, await harness.ask()))
    await harness.run_until(waiting.done, timedelta(seconds=10))
    assert (await waiting).status.condition.reason is reason


async def test_waiting_ends_after_its_time() -> None:
    harness = Harness()
    begun = harness.clock.now()
    found = await wait_for(harness, await harness.ask())
    waited = (harness.clock.now() - begun).total_seconds()
    assert found.status.condition.state is State.PENDING
    assert LONGEST_WAIT <= waited < LONGEST_WAIT + 1


async def test_a_request_that_is_recorded_waits_on_while_storage_does_not_answer() -> None:
    harness = Harness()
    record = await harness.ask()
    begun = harness.clock.now()
    with harness.cloud.unavailable("records.get"):
        assert await wait_for(harness, record) == record
    assert harness.clock.now() - begun >= timedelta(seconds=LONGEST_WAIT)


async def test_who_waits_longer_reads_less_often() -> None:
    harness = Harness()
    record = await harness.ask()
    harness.cloud.calls.clear()
    await wait_for(harness, record)
    assert 20 <= harness.cloud.calls.count("records.get") <= 40


async def test_waiting_ends_when_somebody_asks_for_something_else() -> None:
    harness = Harness()
    record = await harness.ask()
    found, _ = await asyncio.gather(
        wait_for(harness, record), harness.ask(repositories=["plant/other"])
    )
    assert found.spec.generation == 2


@pytest.mark.parametrize(
    ("device_id", "hub", "wrong"),
    [
        *((device_id, None, "deviceId") for device_id in ("", "a b", "a/b", "ä", "a" * 129, "a\n")),
        ("press-1", "no host", "hub"),
    ],
)
def test_an_address_names_a_possible_device_and_hub(
    device_id: str, hub: str | None, wrong: str
) -> None:
    with pytest.raises(Invalid) as raised:
        Harness().processes[0].onboarding.device(device_id, hub=hub)
    assert [error.path for error in raised.value.errors] == [wrong]


@pytest.mark.parametrize("hub", [None, HUB.upper()])
def test_an_address_names_a_hub_by_its_host_or_means_the_first(hub: str | None) -> None:
    found = Harness().processes[0].onboarding.device("press-1", hub=hub)
    assert found == DeviceKey(hub=HUB, device_id="press-1")


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


async def test_a_lost_answer_to_the_write_of_the_record_makes_no_second_generation() -> None:
    harness = Harness()
    harness.cloud.faults = {2: Fault.ANSWER_LOST}
    record = await harness.ask()
    assert harness.cloud.faults_met == 1
    assert record.spec.generation == 1


async def test_waiting_goes_on_while_a_worker_has_a_blocked_device() -> None:
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
    found: list[bool] = []

    def poll(_: int, __: str) -> None:
        record = harness.cloud.record(second)
        if record.claim is not None:  # what `wait` would find now
            found.append(_is_held_up(record, asked, now=harness.clock.now()))

    harness.cloud.before_call = poll
    await harness.run_until(lambda: harness.state(second) is State.DELIVERED, timedelta(seconds=30))
    assert found
    assert not any(found)


def test_filters_find_the_names_that_records_have() -> None:
    onboarding = Harness().processes[0].onboarding
    query = Query(hub="Hub-1.Device.Azure-Devices.NET", connected_registry="PLANTONE")
    found = onboarding.checked_filters(query)
    assert (found.hub, found.connected_registry) == (HUB, "plantone")
    assert onboarding.checked_filters(Query()) == Query()


ONLY_EDGE = make_policy(delivery="edgeAgent", deliveries=["edgeAgent", "twin"])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({}, "edgeAgent"), ({"delivery": "twin"}, "twin"), ({"delivery": "edgeAgent"}, "edgeAgent")],
)
async def test_the_request_names_the_delivery_kind_or_the_policy(
    changes: dict[str, Any], kind: str
) -> None:
    harness = Harness(policy=ONLY_EDGE)
    record = await harness.ask(**changes)
    assert (record.spec.intent.delivery, record.delivery_kind.name) == (kind, kind)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"delivery": "kubernetes"}, "/delivery"),
        ({"delivery": "twin", "deliveryOptions": ["agentImageElsewhere"]}, "/deliveryOptions"),
        ({"deliveryOptions": ["agentImageElsewhere", "more"]}, "/deliveryOptions"),
    ],
)
async def test_a_kind_or_an_option_that_the_policy_or_the_kind_does_not_know_is_refused(
    changes: dict[str, Any], path: str
) -> None:
    with pytest.raises(NotAllowed) as refused:
        await Harness(policy=ONLY_EDGE).ask(**changes)
    assert [error.path for error in refused.value.errors] == [path]


async def test_an_unknown_delivery_kind_is_no_request() -> None:
    with pytest.raises(Invalid) as invalid:
        await Harness().ask(delivery="pigeon")
    assert [error.path for error in invalid.value.errors] == ["/delivery"]


async def test_a_tag_names_the_delivery_kind_too() -> None:
    harness = Harness()
    device = harness.register()
    target: JsonObject = {
        "connectedRegistry": "plantone",
        "repositories": ["plant/app"],
        "delivery": "kubernetes",
    }
    harness.cloud.patch_twin(device, tags={"firstpull": target})
    await harness.handle(device, created=True)
    assert harness.cloud.record(device).spec.intent.delivery == "kubernetes"


@pytest.mark.parametrize(
    "changes",
    [
        {"delivery": "twin", "deliveries": ["edgeAgent"]},
        {"deliveries": []},
        {
            "deliveries": ["twin"],
            "defaultOnboarding": {"site": "plant", "repositories": ["a"], "delivery": "edgeAgent"},
        },
        {"enrollments": {"e": {"site": "plant", "repositories": ["a"], "deliveryOptions": ["x"]}}},
    ],
)
def test_a_policy_whose_deliveries_contradict_each_other_is_wrong(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="deliver"):
        make_policy(**changes)
