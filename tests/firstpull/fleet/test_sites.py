from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.fleet.sites import NOT_FOUND, UNKNOWN, Room, SitesView
from firstpull.model.errors import Transient
from tests.firstpull.harness import (
    OTHER_REGISTRY,
    PLANT_ONE,
    PLANT_TWO,
    REGISTRY,
    Harness,
    make_policy,
    over_two_registries,
)
from tests.firstpull.refusals import NO_ANSWER, refuse
from tests.world.ports import FakeContainerRegistries

POLICY = make_policy(
    connectedRegistries=[
        {"name": "plantone", "capacity": 3},
        {"name": "planttwo", "capacity": 2, "endpoint": "two:443"},
        {"name": "alone"},
    ],
    sites=[
        {"name": "plant", "connectedRegistries": ["plantone", "planttwo"]},
        {"name": "hall", "connectedRegistries": ["planttwo"]},
    ],
)


@pytest.fixture
def harness() -> Harness:
    return Harness(policy=POLICY)


async def view(harness: Harness) -> SitesView:
    return await harness.processes[0].application.sites.view()


async def rooms(harness: Harness) -> dict[str, Room]:
    found = await view(harness)
    every = (*(room for site in found.sites for room in site.rooms), *found.others)
    return {room.ref.name: room for room in every}


async def plant_one(harness: Harness) -> Room:
    return (await rooms(harness))["plantone"]


async def test_sites_are_shown_in_the_policys_order_with_all_their_room(harness: Harness) -> None:
    plant, hall = (await view(harness)).sites
    assert [(site.name, site.free, site.used) for site in (plant, hall)] == [
        ("plant", 5, 0),
        ("hall", 2, 0),
    ]
    assert [room.ref for room in plant.rooms] == [PLANT_ONE, PLANT_TWO]
    assert [room.ref for room in hall.rooms] == [PLANT_TWO]


async def test_devices_and_the_tokens_of_others_are_counted_apart(harness: Harness) -> None:
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    await harness.make_ready()
    one = await plant_one(harness)
    assert (one.ours, one.foreign, one.retiring, one.used, one.free) == (1, 1, 0, 2, 1)


async def test_room_is_taken_while_a_device_is_on_its_way(harness: Harness) -> None:
    harness.register()
    await harness.ask()
    with harness.cloud.unavailable("registries.create_token"):
        await harness.run_for(timedelta(seconds=5))
    assert harness.cloud.clients(PLANT_ONE) == []
    assert (await plant_one(harness)).free == 2


async def test_room_is_free_only_when_a_device_has_left_the_list(harness: Harness) -> None:
    device = await harness.make_ready()
    await harness.revoke(device)
    with harness.cloud.unavailable("registries.replace_client_tokens"):
        await harness.run_for(timedelta(minutes=1))
    one = await plant_one(harness)
    assert (one.ours, one.retiring, one.foreign, one.free) == (1, 1, 0, 2)
    await harness.run_for(timedelta(minutes=20))
    one = await plant_one(harness)
    assert (one.ours, one.retiring, one.free) == (0, 0, 3)


async def test_a_device_that_moves_takes_room_at_both_connected_registries(
    harness: Harness,
) -> None:
    await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(minutes=1))
    found = await rooms(harness)
    assert (found["plantone"].ours, found["planttwo"].ours) == (1, 1)
    plant, _ = (await view(harness)).sites
    assert (plant.used, plant.free) == (2, 3)


async def test_more_clients_than_the_policy_allows_leave_no_room(harness: Harness) -> None:
    for n in range(5):
        harness.cloud.add_foreign_client(PLANT_ONE, f"foreign{n}")
    one = await plant_one(harness)
    assert (one.used, one.free) == (5, 0)


async def test_a_connected_registry_that_azure_does_not_know_has_no_room(
    harness: Harness,
) -> None:
    (alone,) = (await view(harness)).others
    assert (alone.ref.name, alone.state, alone.free) == ("alone", NOT_FOUND, 0)
    assert (alone.capacity, alone.address) == (50, None)


async def test_state_sync_and_address_are_the_services_own(harness: Harness) -> None:
    harness.cloud.sync(PLANT_ONE)
    synced_at = harness.clock.now()
    harness.cloud.sites[PLANT_ONE].go_offline()
    harness.cloud.set_address(PLANT_TWO, None)
    found = await rooms(harness)
    one, two = found["plantone"], found["planttwo"]
    assert (one.state, one.address) == ("Offline", "plantone.site.example:8000")
    assert one.last_sync_at == synced_at
    assert (two.address, two.last_sync_at) == ("two:443", None)


async def test_a_fleet_is_counted_with_one_listing_and_one_ledger_each(harness: Harness) -> None:
    begun = len(harness.cloud.calls)
    await view(harness)
    calls = harness.cloud.calls[begun:]
    once = ["records.page", "registries.list_connected_registries"]
    assert sorted(calls) == ["ledgers.get"] * 3 + once


async def test_a_container_registry_that_does_not_answer_is_unknown_and_the_others_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = over_two_registries()
    listing = ("list_connected_registries",)
    refuse(monkeypatch, FakeContainerRegistries, listing, of=OTHER_REGISTRY, error=NO_ANSWER)
    found = {name: (room.state, room.free) for name, room in (await rooms(harness)).items()}
    assert found == {
        "plantone": ("Online", 50),
        "planttwo": ("Online", 50),
        "portone": (UNKNOWN, 0),
    }
    refuse(monkeypatch, FakeContainerRegistries, listing, of=REGISTRY, error=NO_ANSWER)
    with pytest.raises(Transient):
        await view(harness)
