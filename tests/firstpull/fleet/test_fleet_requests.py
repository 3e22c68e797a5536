"""Batches, ordered listings and the summary of a fleet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from firstpull.fleet.listing import Order
from firstpull.model.device_record import State
from firstpull.model.errors import Invalid, NotAllowed
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_policy

_SITE = {"site": "plant", "repositories": ["plant/app"]}


def small_site() -> Harness:
    """Two connected registries with one place each."""
    connected = [{"name": ref.name, "capacity": 1} for ref in (PLANT_ONE, PLANT_TWO)]
    return Harness(policy=make_policy(connectedRegistries=connected))


def rows(*device_ids: str) -> list[dict[str, Any]]:
    """Rows that ask for the site."""
    return [{"deviceId": device_id, **_SITE} for device_id in device_ids]


async def test_a_bad_row_harms_no_other() -> None:
    harness = small_site()
    batches = harness.processes[0].application.batches
    bad: list[Any] = [
        "no object",
        {"deviceId": "press-2"},
        {"deviceId": "press-3", "site": "nowhere", "repositories": ["plant/app"]},
        *rows("press-1"),
    ]
    answers = await batches.ask([*rows("press-1"), *bad, *rows("press-9")], requested_by="a test")
    taken = [answer.record.device.device_id if answer.record else None for answer in answers]
    assert taken == ["press-1", None, None, None, None, "press-9"]
    errors = [type(answer.error) for answer in answers[1:5]]
    assert errors == [Invalid, Invalid, NotAllowed, Invalid]
    assert {record.device.device_id for record in harness.cloud.all_records()} == {
        "press-1",
        "press-9",
    }


async def test_an_error_of_storage_at_one_row_is_that_rows() -> None:
    harness = small_site()
    batches = harness.processes[0].application.batches
    with harness.at_call(1, _nothing):
        answers = await batches.ask(rows("press-1", "press-2"), requested_by="a test")
    assert all(answer.record is not None for answer in answers)
    with harness.cloud.unavailable("records.insert"):
        (answer,) = await batches.ask(rows("press-3"), requested_by="a test")
    assert answer.error is not None
    assert answer.error.reason is Reason.SERVICE_UNAVAILABLE


async def _nothing() -> None:
    return None


@pytest.mark.parametrize("number", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_rows(number: int) -> None:
    harness = small_site()
    batches = harness.processes[0].application.batches
    with pytest.raises(Invalid):
        await batches.ask([{}] * number, requested_by="a test")


async def test_a_dry_run_fills_the_site_row_by_row_and_says_what_is_left() -> None:
    harness = small_site()
    ready = await harness.make_ready("press-0", connectedRegistry=None, **_SITE)
    batches = harness.processes[0].application.batches
    begun = harness.cloud.writes()
    planned, room = await batches.propose(rows("press-0", "press-1", "press-2"), requested_by="x")
    assert [row.place for row in planned] == [PLANT_ONE, PLANT_TWO, None]
    assert planned[2].finding is Reason.SITE_FULL
    assert [site.free for site in room.sites] == [0]
    assert harness.cloud.writes() == begun
    assert set(harness.cloud.records) == {ready}


async def test_a_dry_run_of_many_rows_reads_the_room_once() -> None:
    harness = small_site()
    batches = harness.processes[0].application.batches
    begun = len(harness.cloud.calls)
    planned, _ = await batches.propose(
        rows(*(f"press-{n}" for n in range(1000))), requested_by="a test"
    )
    assert len(planned) == 1000
    reads = [call for call in harness.cloud.calls[begun:] if call.startswith("registries.")]
    assert reads == ["registries.list_connected_registries"]


async def fleet() -> Harness:
    """One device ready, one revoked, one without room, one that the hub does not know."""
    harness = small_site()
    await harness.make_ready("press-1", connectedRegistry="plantone")
    revoked = await harness.make_ready("press-2", connectedRegistry="planttwo")
    await harness.revoke(revoked)
    await harness.run_until(lambda: harness.state(revoked) is State.REVOKED, timedelta(minutes=5))
    full = harness.register("press-3")
    await harness.ask("press-3", connectedRegistry="plantone")
    await harness.run_until(lambda: harness.state(full) is State.BLOCKED, timedelta(minutes=5))
    await harness.ask("press-4", connectedRegistry=None, site="plant")
    await harness.run_for(timedelta(seconds=30))
    return harness


async def test_the_summary_counts_devices_and_names_the_first_to_look_at() -> None:
    harness = await fleet()
    found = await harness.processes[0].application.summaries.summary()
    assert found.devices == 3
    states = {State.READY: 1, State.REVOKED: 1, State.BLOCKED: 1, State.WAITING: 1}
    assert found.states == states
    assert found.reasons[Reason.CONNECTED_REGISTRY_FULL] == 1
    assert Reason.REVOKED not in found.reasons
    assert found.sites["plant"] == {State.READY: 1, State.BLOCKED: 1, State.WAITING: 1}
    assert found.oldest_wait is not None
    assert found.oldest_wait.device.device_id == "press-3"
    assert found.next_expiry is not None
    assert found.next_expiry.device.device_id == "press-1"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (Query(), ["press-1", "press-2", "press-3", "press-4"]),
        (Query(tombstones=False), ["press-1", "press-3", "press-4"]),
        (Query(states=frozenset({State.READY, State.WAITING})), ["press-1", "press-4"]),
        (Query(reason=Reason.CONNECTED_REGISTRY_FULL), ["press-3"]),
    ],
)
async def test_a_filter_shows_what_it_names(query: Query, shown: list[str]) -> None:
    harness = await fleet()
    page = await harness.processes[0].onboarding.page(query)
    assert [record.device.device_id for record in page.records] == shown


async def test_a_filter_by_an_unlisted_connected_registry_is_refused() -> None:
    harness = small_site()
    with pytest.raises(Invalid) as refused:
        await harness.processes[0].onboarding.page(Query(connected_registry="plantnine"))
    assert [error.path for error in refused.value.errors] == ["connectedRegistry"]


@pytest.mark.parametrize("order", Order)
async def test_an_ordered_listing_shows_each_device_once_page_by_page(order: Order) -> None:
    harness = await fleet()
    listing = harness.processes[0].application.listing
    shown, query = [], Query(size=1)
    while True:
        page = await listing.page(query, order)
        shown += [record.device.device_id for record in page.records]
        if page.next_page is None:
            break
        query = Query(size=1, after=page.next_page)
    assert sorted(shown) == ["press-1", "press-2", "press-3", "press-4"]
    if order is Order.DEVICE_ID:
        assert shown == sorted(shown)
    if order is Order.EXPIRES_ON:
        assert shown[0] == "press-1"
    if order is Order.SINCE:
        records = {r.device.device_id: r for r in harness.cloud.all_records()}
        assert shown == sorted(shown, key=lambda name: records[name].status.condition.since)


@pytest.mark.parametrize("after", ["x", "W10=", "\udcff", "eyJ4IjogMX0="])
async def test_an_ordered_listing_refuses_a_strange_continuation(after: str) -> None:
    harness = small_site()
    with pytest.raises(Invalid):
        await harness.processes[0].application.listing.page(Query(after=after), Order.SINCE)
