from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.fleet.sites import NOT_FOUND, Room, SitesView
from firstpull.model.azure_resources import ScopeMapId
from firstpull.model.errors import Transient
from tests.firstpull.fakes import FakeToken
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy

POLICY = make_policy(
    connectedRegistries=[
        {"name": "plantone", "capacity": 3},
        {"name": "planttwo", "capacity": 2, "endpoint": "two:443"},
        {"name": "alone"},
    ],
)
MISSING = "alone"


async def view(harness: Harness) -> SitesView:
    return await harness.processes[0].application.sites.view()


async def rooms(harness: Harness) -> dict[str, Room]:
    found = await view(harness)
    every = (*(room for site in found.sites for room in site.rooms), *found.others)
    return {room.ref.name: room for room in every}


def with_foreign(harness: Harness, count: int) -> None:
    for n in range(count):
        harness.cloud.tokens[f"foreign{n}"] = FakeToken(ScopeMapId("someone's"))
        token_id = REGISTRY.token(f"foreign{n}")
        harness.cloud.connected[PLANT_ONE].clients.append(token_id)


async def test_an_empty_site_has_all_its_room() -> None:
    (site,) = (await view(Harness(policy=POLICY))).sites
    assert site.name == "plant"
    assert [room.ref for room in site.rooms] == [PLANT_ONE, PLANT_TWO]
    assert (site.free, site.used) == (5, 0)


async def test_devices_and_the_tokens_of_others_are_counted_apart() -> None:
    harness = Harness(policy=POLICY)
    with_foreign(harness, 1)
    await harness.make_ready()
    one = (await rooms(harness))["plantone"]
    assert (one.ours, one.foreign, one.retiring, one.used, one.free) == (1, 1, 0, 2, 1)


async def test_room_is_taken_while_a_device_is_on_its_way() -> None:
    harness = Harness(policy=POLICY)
    harness.register()
    await harness.ask()
    with harness.cloud.unavailable("registries.create_token"):
        await harness.run_for(timedelta(seconds=5))
    assert harness.cloud.connected[PLANT_ONE].clients == []
    assert (await rooms(harness))["plantone"].free == 2


async def test_room_is_free_only_when_a_device_is_seen_to_have_left() -> None:
    harness = Harness(policy=POLICY)
    device = await harness.make_ready()
    await harness.revoke(device)
    with harness.cloud.unavailable("registries.replace_client_tokens"):
        await harness.run_for(timedelta(minutes=1))
    one = (await rooms(harness))["plantone"]
    assert (one.ours, one.retiring, one.foreign, one.free) == (1, 1, 0, 2)
    await harness.run_for(timedelta(minutes=20))
    one = (await rooms(harness))["plantone"]
    assert (one.ours, one.retiring, one.free) == (0, 0, 3)


async def test_a_device_that_moves_takes_room_at_both_connected_registries() -> None:
    harness = Harness(policy=POLICY)
    await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(minutes=1))
    found = await rooms(harness)
    assert (found["plantone"].ours, found["planttwo"].ours) == (1, 1)
    (site,) = (await view(harness)).sites
    assert (site.used, site.free) == (2, 3)


async def test_more_clients_than_the_policy_says_leave_no_room_and_not_less_than_none() -> None:
    harness = Harness(policy=POLICY)
    with_foreign(harness, 5)
    one = (await rooms(harness))["plantone"]
    assert (one.used, one.free) == (5, 0)


async def test_a_connected_registry_that_azure_does_not_know_has_no_room() -> None:
    found = await view(Harness(policy=POLICY))
    (alone,) = found.others
    assert alone.ref.name == MISSING
    assert (alone.state, alone.free, alone.capacity, alone.address) == (NOT_FOUND, 0, 50, None)


async def test_state_sync_and_address_are_the_services_own() -> None:
    harness = Harness(policy=POLICY)
    harness.cloud.connected[PLANT_ONE].connection_state = "Offline"
    harness.cloud.sync(PLANT_ONE)
    harness.cloud.connected[PLANT_TWO].login_server = None
    found = await rooms(harness)
    assert found["plantone"].state == "Offline"
    assert found["plantone"].last_sync_at == harness.cloud.connected[PLANT_ONE].last_sync_at
    assert found["plantone"].address == "plantone.site.example:8000"
    assert (found["planttwo"].address, found["planttwo"].last_sync_at) == ("two:443", None)


async def test_a_fleet_is_counted_with_one_listing_and_one_ledger_each() -> None:
    harness = Harness(policy=POLICY)
    begun = len(harness.cloud.calls)
    await view(harness)
    calls = harness.cloud.calls[begun:]
    assert sorted(calls) == ["ledgers.get"] * 3 + ["registries.list_connected_registries"]


async def test_a_container_registry_that_does_not_answer_is_not_taken_for_empty() -> None:
    harness = Harness(policy=POLICY)
    with harness.cloud.unavailable("registries."), pytest.raises(Transient):
        await view(harness)


async def test_a_connected_registry_of_two_sites_is_shown_in_both() -> None:
    policy = make_policy(
        sites=[
            {"name": "plant", "connectedRegistries": ["plantone", "planttwo"]},
            {"name": "hall", "connectedRegistries": ["planttwo"]},
        ]
    )
    found = await view(Harness(policy=policy))
    assert [[room.ref for room in site.rooms] for site in found.sites] == [
        [PLANT_ONE, PLANT_TWO],
        [PLANT_TWO],
    ]
    assert found.others == ()
