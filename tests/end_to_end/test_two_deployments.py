"""Two deployments of firstpull on one container registry, one vault and one hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from firstpull.fleet.orphans import SCOPE_MAP_REST
from firstpull.model.reasons import Reason
from firstpull.reconcile.checks import Difference
from local_azure.stack import Stack

from .actions import patch_entry, write_clients
from .cloud import (
    clients_of,
    cloud_registry,
    entry_of,
    operations_end,
    pull_answers,
    register,
    secret_versions,
    site_of,
    tokens_like,
)
from .deployments import Deployment, Subject, another_storage, deployed, settings_of
from .end_state import check_revoked
from .in_process import connected

PLANT, OTHER = "plant15", "plant16"
CAPACITY = 4
"""Clients that a connected registry takes, whosever they are."""


@dataclass(frozen=True)
class Both:
    """The two deployments. Their policies list the same connected registries."""

    ours: Deployment
    theirs: Deployment


@pytest.fixture(scope="module")
async def both(stack: Stack) -> AsyncIterator[Both]:
    async with AsyncExitStack() as opened:
        storage = await opened.enter_async_context(another_storage(stack))
        ours = await opened.enter_async_context(
            deployed(stack, "ours", PLANT, OTHER, capacity=CAPACITY)
        )
        theirs = await opened.enter_async_context(
            connected(
                stack,
                settings_of(
                    stack,
                    "theirs",
                    *(PLANT, OTHER),
                    capacity=CAPACITY,
                    storage=storage,
                    adoptableTokens=["*"],
                ),
            )
        )
        yield Both(ours, Deployment(theirs, theirs.application(), PLANT))


@dataclass(frozen=True)
class Pair:
    """A device of each deployment, at the same connected registry, with the same repositories."""

    ours: Subject
    theirs: Subject


@pytest.fixture(scope="module")
async def pair(both: Both) -> Pair:
    """Both have logged in, and stay."""
    return Pair(
        ours=await both.ours.ready_device("of-ours"),
        theirs=await both.theirs.ready_device("of-theirs"),
    )


def _resources(stack: Stack, subject: Subject) -> tuple[Any, ...]:
    """Everything that a deployment made for a device, as Azure keeps it."""
    registry = cloud_registry(stack)
    return (
        registry.token(subject.token),
        registry.scope_map(subject.scope_map),
        secret_versions(stack, subject.secret),
        stack.hub.twin(subject.device_id),
        subject.token in clients_of(stack, subject.plant),
    )


async def _check_that_sweeps_find_nothing(both: Both) -> None:
    """Neither finds drift, nor anything that no record names. Raises AssertionError."""
    for deployment in (both.ours, both.theirs):
        report = await deployment.application.sweeper.run()
        assert (report.drifted, report.orphans, report.unread) == ({}, (), ())
        assert (report.revoked, report.held, report.ledger_entries_removed) == (0, (), 0)


async def test_each_has_names_of_its_own_and_leaves_the_others_alone(
    both: Both, stack: Stack, pair: Pair
) -> None:
    registry = cloud_registry(stack)
    assert pair.ours.scope_map != pair.theirs.scope_map
    actions = {registry.scope_map(each.scope_map).actions for each in (pair.ours, pair.theirs)}
    assert len(actions) == 1, "the repositories are the same"
    before = _resources(stack, pair.ours), _resources(stack, pair.theirs)
    await _check_that_sweeps_find_nothing(both)
    assert (_resources(stack, pair.ours), _resources(stack, pair.theirs)) == before


@pytest.mark.slow
async def test_a_list_that_somebody_emptied_is_repaired_by_each_for_itself(
    both: Both, stack: Stack, pair: Pair
) -> None:
    write_clients(stack, PLANT, [])
    for deployment, subject, listed in (
        (both.ours, pair.ours, {pair.ours.token}),
        (both.theirs, pair.theirs, {pair.ours.token, pair.theirs.token}),
    ):
        assert await deployment.sweep_says(subject.device_id) == {Difference.NOT_LISTED}
        await deployment.come_to_rest(subject.device_id)
        assert set(clients_of(stack, PLANT)) == listed


@pytest.mark.usefixtures("pair")
async def test_the_others_clients_are_foreign_and_take_room(both: Both, stack: Stack) -> None:
    more = [await both.ours.ready_device(f"more-{number}") for number in range(CAPACITY - 2)]
    for deployment, ours in ((both.ours, CAPACITY - 1), (both.theirs, 1)):
        room = (await deployment.application.sites.view()).others[0]
        assert (room.ours, room.foreign, room.free) == (ours, CAPACITY - ours, 0)
    register(stack, "one-too-many")
    await both.theirs.ask("one-too-many")
    record = await both.theirs.come_to_rest("one-too-many")
    assert record.status.condition.reason is Reason.CONNECTED_REGISTRY_FULL
    assert len(clients_of(stack, PLANT)) == CAPACITY
    await both.theirs.revoke("one-too-many")
    for subject in more:
        await both.ours.revoke(subject.device_id)


@pytest.mark.slow
async def test_a_device_of_both_at_one_connected_registry_is_that_of_the_first(
    both: Both, stack: Stack
) -> None:
    subject = await both.ours.ready_device("of-both")
    entry, before = entry_of(stack, "of-both", PLANT), _resources(stack, subject)
    both.theirs.firstpull.clock.advance(timedelta(seconds=10))  # a look is shared for seconds
    await both.theirs.ask("of-both")
    record = await both.theirs.come_to_rest("of-both")
    assert record.status.condition.reason is Reason.TWIN_ENTRY_NOT_OURS
    assert len(tokens_like(stack, "of-both")) == 1
    assert _resources(stack, subject) == before

    patch_entry(stack, subject, {"address": "example.invalid"})
    again = both.theirs.firstpull.reconcile_again(both.theirs.application, "of-both")
    assert await again == [], "an edited entry still belongs to the first"
    await both.ours.application.sweeper.run()
    assert (await both.ours.come_to_rest("of-both")).is_converged
    assert entry_of(stack, "of-both", PLANT) == entry

    await both.ours.revoke("of-both")
    await both.theirs.come_to_rest("of-both")
    await both.theirs.log_in("of-both")
    await both.theirs.check_that_nothing_is_left_to_do("of-both")
    await both.theirs.revoke("of-both")


@pytest.mark.slow
async def test_a_device_of_both_at_two_connected_registries_has_a_login_of_each(
    both: Both, stack: Stack
) -> None:
    subject = await both.ours.ready_device("of-each")
    at_other = both.theirs.at(OTHER)
    await at_other.ask("of-each")
    await at_other.come_to_rest("of-each")
    await at_other.log_in("of-each")
    ours = entry_of(stack, "of-each", PLANT)

    await at_other.revoke("of-each")
    await _check_that_sweeps_find_nothing(both)
    assert entry_of(stack, "of-each", OTHER) == {}
    assert entry_of(stack, "of-each", PLANT) == ours
    assert subject.token in clients_of(stack, PLANT)
    await both.ours.revoke("of-each")


@pytest.mark.slow
async def test_a_token_of_one_is_not_adopted_by_the_other(
    both: Both, stack: Stack, pair: Pair
) -> None:
    before = _resources(stack, pair.ours)
    register(stack, "adopts")
    theirs = both.theirs
    await theirs.firstpull.ask(theirs.application, "adopts", PLANT, adopt=pair.ours.token)
    record = await theirs.come_to_rest("adopts")
    assert record.status.condition.reason is Reason.TOKEN_NOT_OURS
    assert _resources(stack, pair.ours) == before
    await theirs.revoke("adopts")


@pytest.mark.slow
async def test_a_revoke_in_one_and_the_end_of_its_scope_map_touch_nothing_of_the_other(
    both: Both, stack: Stack, pair: Pair
) -> None:
    before = _resources(stack, pair.theirs)
    tombstone = await both.ours.revoke(pair.ours.device_id)
    await check_revoked(both.ours.firstpull, tombstone)
    await _check_that_sweeps_find_nothing(both)
    assert clients_of(stack, PLANT) == [pair.theirs.token]

    both.ours.firstpull.clock.advance(SCOPE_MAP_REST)
    report = await both.ours.application.sweeper.run()
    assert report.scope_maps_removed == 1
    await operations_end(stack)
    left = {each.name for each in cloud_registry(stack).scope_maps()}
    assert pair.ours.scope_map not in left
    assert _resources(stack, pair.theirs) == before
    site_of(stack, PLANT).backend.sync()
    assert await pull_answers(stack, entry_of(stack, pair.theirs.device_id, PLANT)) == 200
