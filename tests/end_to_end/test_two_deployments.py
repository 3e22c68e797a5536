"""Two deployments of firstpull on one container registry, one vault and one hub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from firstpull.fleet.orphans import SCOPE_MAP_REST
from firstpull.intake.requests import read_request
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.twins import Json, TwinPatch
from local_azure.stack import Stack

from .cloud import (
    clients_of,
    cloud_registry,
    entry_of,
    forget_devices,
    pull_answers,
    register,
    secret_versions,
    site_of,
)
from .deployments import another_storage, settings_of
from .drift_rows import Case, Subject
from .end_state import check_revoked
from .in_process import connected

PLANT, OTHER = "plant15", "plant16"
CAPACITY = 4
"""Clients that a connected registry takes, whosever they are."""
_NUMBERS = count()


@dataclass(frozen=True)
class Both:
    """The two deployments. Their policies list the same connected registries."""

    ours: Case
    theirs: Case

    def everywhere(self) -> Iterator[Case]:
        """One after the other."""
        yield from (self.ours, self.theirs)


@pytest.fixture(scope="module")
async def both(stack: Stack) -> AsyncIterator[Both]:
    async with AsyncExitStack() as opened:
        storage = await opened.enter_async_context(another_storage(stack))
        refs = (PLANT, OTHER)
        ours = settings_of(stack, "ours", *refs, capacity=CAPACITY)
        theirs = settings_of(stack, "theirs", *refs, capacity=CAPACITY, storage=storage)
        one = await opened.enter_async_context(connected(stack, ours))
        other = await opened.enter_async_context(connected(stack, theirs))
        yield Both(Case(one, one.application(), PLANT), Case(other, other.application(), PLANT))
    await forget_devices(stack)


@dataclass(frozen=True)
class Pair:
    """A device of each deployment, at the same connected registry, with the same repositories."""

    ours: Subject
    theirs: Subject


@pytest.fixture
async def pair(both: Both) -> AsyncIterator[Pair]:
    """Both have logged in; afterwards nothing of either is left."""
    number = next(_NUMBERS)
    pair = Pair(
        ours=await both.ours.ready_device(f"ours-{number}"),
        theirs=await both.theirs.ready_device(f"theirs-{number}"),
    )
    yield pair
    await both.ours.revoke(pair.ours.device_id)
    await both.theirs.revoke(pair.theirs.device_id)


def all_that_is(stack: Stack, subject: Subject) -> tuple[Any, ...]:
    """Everything that a deployment made for a device, as Azure keeps it."""
    registry = cloud_registry(stack)
    return (
        registry.token(subject.token),
        registry.scope_map(subject.scope_map),
        secret_versions(stack, subject.secret),
        stack.hub.twin(subject.device_id),
        subject.token in clients_of(stack, subject.plant),
    )


async def sweeps_find_nothing(both: Both) -> None:
    """Neither finds drift, nor anything that it could not explain."""
    for case in both.everywhere():
        report = await case.application.sweeper.run()
        assert (report.drifted, report.orphans, report.unread) == ({}, (), ())
        assert (report.revoked, report.held, report.ledger_entries_removed) == (0, (), 0)


async def test_each_has_names_of_its_own_and_leaves_the_other_s_alone(
    both: Both, stack: Stack, pair: Pair
) -> None:
    assert pair.ours.scope_map != pair.theirs.scope_map
    registry = cloud_registry(stack)
    actions = {registry.scope_map(each.scope_map).actions for each in (pair.ours, pair.theirs)}
    assert len(actions) == 1, "the same repositories"
    before = all_that_is(stack, pair.ours), all_that_is(stack, pair.theirs)
    await sweeps_find_nothing(both)
    assert (all_that_is(stack, pair.ours), all_that_is(stack, pair.theirs)) == before


async def test_a_revoke_in_one_touches_nothing_of_the_other(
    both: Both, stack: Stack, pair: Pair
) -> None:
    before = all_that_is(stack, pair.theirs)
    await both.ours.revoke(pair.ours.device_id)
    await check_revoked(both.ours.firstpull, await both.ours.firstpull.record(pair.ours.device_id))
    assert all_that_is(stack, pair.theirs) == before
    assert clients_of(stack, PLANT) == [pair.theirs.token]
    await sweeps_find_nothing(both)
    assert all_that_is(stack, pair.theirs) == before
    site_of(stack, PLANT).backend.sync()
    assert await pull_answers(stack, entry_of(stack, pair.theirs.device_id, PLANT)) == 200


async def test_the_sweep_of_one_removes_its_own_scope_map_and_not_the_other_s(
    both: Both, stack: Stack, pair: Pair
) -> None:
    await both.ours.revoke(pair.ours.device_id)
    await both.theirs.revoke(pair.theirs.device_id)
    noted = await both.ours.application.sweeper.run()
    ours = f"{stack.registry_id}/scopeMaps/{pair.ours.scope_map}"
    assert [*noted.scope_maps_unreferenced] == [ours]
    both.ours.firstpull.clock.advance(SCOPE_MAP_REST)
    report = await both.ours.application.sweeper.run()
    assert report.scope_maps_removed == 1
    left = {each.name for each in cloud_registry(stack).scope_maps()}
    assert pair.ours.scope_map not in left
    assert pair.theirs.scope_map in left


async def test_a_list_that_somebody_emptied_is_mended_by_each_for_itself(
    both: Both, stack: Stack, pair: Pair
) -> None:
    registry = cloud_registry(stack)
    registry.update_connected_registry(PLANT, ConnectedRegistryChanges(client_token_ids=()))
    for case, subject, listed in (
        (both.ours, pair.ours, {pair.ours.token}),
        (both.theirs, pair.theirs, {pair.ours.token, pair.theirs.token}),
    ):
        assert await case.sweep_says(subject.device_id) == {"the token is off the list"}
        await case.comes_to_rest(subject.device_id)
        assert set(clients_of(stack, PLANT)) == listed


@pytest.mark.usefixtures("pair")
async def test_the_other_s_clients_are_foreign_and_take_room(both: Both, stack: Stack) -> None:
    more = [await both.ours.ready_device(f"more-{number}") for number in range(CAPACITY - 2)]
    for case, ours in ((both.ours, CAPACITY - 1), (both.theirs, 1)):
        room = (await case.application.sites.view()).others[0]
        assert (room.ours, room.foreign, room.free) == (ours, CAPACITY - ours, 0)
    register(stack, "one-too-many")
    for case in both.everywhere():
        await case.firstpull.ask(case.application, "one-too-many", PLANT)
        record = await case.comes_to_rest("one-too-many")
        assert record.status.condition.state is State.BLOCKED
        assert record.status.condition.reason is Reason.CONNECTED_REGISTRY_FULL
        assert record.status.condition.remedy
        await case.revoke("one-too-many")
    assert len(clients_of(stack, PLANT)) == CAPACITY
    for subject in more:
        await both.ours.revoke(subject.device_id)


async def test_a_device_of_both_at_one_connected_registry_is_the_first_one_s(
    both: Both, stack: Stack
) -> None:
    subject = await both.ours.ready_device("of-both")
    entry = entry_of(stack, "of-both", PLANT)
    before = all_that_is(stack, subject)
    await both.theirs.firstpull.ask(both.theirs.application, "of-both", PLANT)
    record = await both.theirs.comes_to_rest("of-both")
    assert record.status.condition.state is State.BLOCKED
    assert record.status.condition.reason is Reason.TWIN_ENTRY_NOT_OURS
    assert record.status.condition.remedy
    assert "Revoke the device there" in record.status.condition.remedy
    assert len([t for t in cloud_registry(stack).tokens() if "-of-both-" in t.name]) == 1
    assert all_that_is(stack, subject) == before
    await sweeps_find_nothing(both)

    edited: Json = {PLANT: {"address": "example.invalid"}}
    edit: dict[str, Json] = {"firstpull": {"registryCredentials": edited}}
    stack.hub.patch_twin("of-both", TwinPatch(desired=edit), etag=None)
    looked = await both.theirs.firstpull.look_again(both.theirs.application, "of-both")
    assert looked == [], "somebody edited the entry, and it is the first one's still"
    await both.ours.application.sweeper.run()
    assert (await both.ours.comes_to_rest("of-both")).is_converged
    assert entry_of(stack, "of-both", PLANT) == entry

    await both.ours.revoke("of-both")
    await both.theirs.comes_to_rest("of-both")
    await both.theirs.logs_in("of-both")
    await both.theirs.nothing_is_left_to_do("of-both")
    await both.theirs.revoke("of-both")


async def test_a_device_of_both_at_two_connected_registries_has_a_login_of_each(
    both: Both, stack: Stack
) -> None:
    subject = await both.ours.ready_device("of-each")
    at_other = Case(both.theirs.firstpull, both.theirs.application, OTHER)
    await at_other.firstpull.ask(at_other.application, "of-each", OTHER)
    await at_other.comes_to_rest("of-each")
    await at_other.logs_in("of-each")
    ours = entry_of(stack, "of-each", PLANT)
    await sweeps_find_nothing(both)

    await at_other.revoke("of-each")
    await sweeps_find_nothing(both)
    assert entry_of(stack, "of-each", OTHER) == {}
    assert entry_of(stack, "of-each", PLANT) == ours
    assert clients_of(stack, PLANT) == [subject.token]
    await both.ours.revoke("of-each")


async def test_a_token_of_one_is_not_taken_over_by_the_other(both: Both, stack: Stack) -> None:
    subject = await both.ours.ready_device("of-adopt")
    before = all_that_is(stack, subject)
    settings = settings_of(stack, "greedy", PLANT, capacity=CAPACITY)
    policy = json.loads(settings["FIRSTPULL_POLICY"]) | {"adoptableTokens": ["*"]}
    async with AsyncExitStack() as opened:
        storage = await opened.enter_async_context(another_storage(stack))
        settings = settings_of(stack, "greedy", PLANT, capacity=CAPACITY, storage=storage)
        settings["FIRSTPULL_POLICY"] = json.dumps(policy)
        greedy = await opened.enter_async_context(connected(stack, settings))
        case = Case(greedy, greedy.application(), PLANT)
        register(stack, "of-greed")
        body = {
            "deviceId": "of-greed",
            "connectedRegistry": PLANT,
            "repositories": ["hello-world"],
            "adopt": subject.token,
        }
        request = read_request(json.dumps(body).encode())
        await case.application.onboarding.ask(request, requested_by="a test")
        record = await case.comes_to_rest("of-greed")
        assert record.status.condition.reason is Reason.TOKEN_NOT_OURS
        assert all_that_is(stack, subject) == before
    await both.ours.revoke("of-adopt")
