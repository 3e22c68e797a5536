"""To another connected registry or to other repositories: the old access goes last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import RetiringGrant, State, TokenSlot
from firstpull.model.ledger import Ledger
from firstpull.model.naming import names_for
from firstpull.model.reasons import Reason
from firstpull.model.transitions import new_record, torn_down, with_intent
from firstpull.reconcile.actions import DisableSecretVersion
from firstpull.reconcile.observe import GrantView
from firstpull.reconcile.plan import make_plan
from local_azure.container_registry.backends import ConnectedRegistrySnapshot
from tests.firstpull.builders import (
    DEVICE,
    INTENT,
    NAMES,
    NOW,
    READY,
    password,
    record,
    secret_version,
    token,
)
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import (
    OTHER_REGISTRY,
    OUR_PREFIX,
    PLANT_ONE,
    PLANT_TWO,
    REGISTRY,
    VALIDITY,
    Harness,
    make_policy,
)
from tests.firstpull.records import grant_of, provision
from tests.firstpull.scenarios import EACH_OR_SOME_CALLS, ask, at_each_call, ready_for_good

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PLANT_THREE = ConnectedRegistryRef(registry=REGISTRY, name="plantthree")
ELSEWHERE = ConnectedRegistryRef(registry=OTHER_REGISTRY, name="plantone")
SECOND_TAKES_ONE = make_policy(
    connectedRegistries=[{"name": "plantone"}, {"name": "planttwo", "capacity": 1}]
)


def allowed(harness: Harness) -> set[str]:
    """The repositories that the only token of ours reaches."""
    (found,) = (name for name in harness.cloud.tokens if name.startswith(OUR_PREFIX))
    actions = harness.cloud.actions(found)
    return {action.removeprefix("repositories/").rsplit("/", 2)[0] for action in actions}


def assert_nothing_at(harness: Harness, device: DeviceKey, ref: ConnectedRegistryRef) -> None:
    assert harness.cloud.clients(ref) == []
    assert not harness.cloud.twin_entry(device, ref)
    assert not harness.cloud.ledger(ref).entries
    assert harness.cloud.record(device).status.retiring == ()


async def move(harness: Harness, *, play: timedelta = 2 * MINUTE) -> None:
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(play)


async def test_a_device_that_moved_has_what_one_has_that_began_there() -> None:
    harness, other = Harness(), Harness()
    device = await ready_for_good(harness)
    before = harness.cloud.twin_entry(device, PLANT_ONE)
    await move(harness, play=HOUR)
    await other.make_ready(connectedRegistry="planttwo")
    moved, began_there = end_state(harness.cloud, device), end_state(other.cloud, device)
    assert moved | {"generation": None} == began_there | {"generation": None}
    assert_nothing_at(harness, device, PLANT_ONE)
    after = harness.cloud.twin_entry(device, PLANT_TWO)
    assert (after["username"], after["password"]) == (before["username"], before["password"])


async def test_both_connected_registries_are_usable_until_the_device_has_logged_in() -> None:
    harness = Harness(sync_every=None)
    device = await ready_for_good(harness)
    await move(harness, play=DAY)
    found = harness.cloud.record(device)
    assert [grant.ref for grant in found.grants] == [PLANT_TWO, PLANT_ONE]
    assert found.status.condition.reason is Reason.DEVICE_REPORTS_FAILURE
    assert harness.cloud.clients(PLANT_ONE) == harness.cloud.clients(PLANT_TWO) != []
    assert set(harness.cloud.devices[device].held) == {"plantone"}
    harness.cloud.sync(PLANT_TWO)
    await harness.run_for(2 * HOUR)
    assert harness.state(device) is State.READY
    assert_nothing_at(harness, device, PLANT_ONE)
    assert set(harness.cloud.devices[device].held) == {"planttwo"}


async def test_a_full_target_blocks_and_the_old_connected_registry_stays() -> None:
    harness = Harness(policy=SECOND_TAKES_ONE)
    harness.cloud.add_foreign_client(PLANT_TWO, "foreign")
    device = await ready_for_good(harness)
    await move(harness, play=HOUR)
    found = harness.cloud.record(device)
    assert found.status.condition.state is State.BLOCKED
    assert found.status.condition.reason is Reason.CONNECTED_REGISTRY_FULL
    assert [grant.ref for grant in found.grants] == [PLANT_ONE]
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    harness.cloud.put_clients(PLANT_TWO)
    await harness.run_for(3 * HOUR)
    assert harness.state(device) is State.READY
    assert_nothing_at(harness, device, PLANT_ONE)


async def test_a_blocked_move_ends_with_a_request_for_the_old_connected_registry() -> None:
    harness = Harness(policy=SECOND_TAKES_ONE)
    harness.cloud.add_foreign_client(PLANT_TWO, "foreign")
    device = await ready_for_good(harness)
    before = harness.cloud.writes()
    await move(harness)
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).status.retiring == ()
    assert harness.cloud.writes() == before


async def test_a_target_that_does_not_exist_leaves_the_device_where_it_is() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    harness.cloud.registry().delete_connected_registry(PLANT_TWO.name)
    await move(harness, play=HOUR)
    assert harness.reason(device) is Reason.CONNECTED_REGISTRY_NOT_FOUND
    assert len(harness.cloud.clients(PLANT_ONE)) == 1


async def test_a_device_moves_away_from_a_connected_registry_that_was_deleted() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.registry().delete_connected_registry(PLANT_ONE.name)
    await move(harness, play=HOUR)
    assert harness.state(device) is State.READY
    assert_nothing_at(harness, device, PLANT_ONE)


async def test_a_device_stays_in_its_connected_registry_though_an_earlier_one_gets_room() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    harness.cloud.add_foreign_client(PLANT_ONE, "foreign")
    device = await harness.make_ready(connectedRegistry=None, site="plant")
    harness.cloud.put_clients(PLANT_ONE)
    harness.cloud.ledgers.clear()
    await harness.reconcile(device)
    await harness.ask(connectedRegistry=None, site="plant", repositories=["plant/other"])
    await harness.run_until_quiet()
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO
    assert harness.cloud.clients(PLANT_ONE) == []


async def assert_back(harness: Harness, device: DeviceKey) -> None:
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert grant_of(harness.cloud.record(device)).ref == PLANT_ONE
    assert_nothing_at(harness, device, PLANT_TWO)
    assert len(harness.cloud.passwords_made) == 1


@pytest.mark.parametrize("seconds", [0, 30, 300])
async def test_there_and_back_ends_as_if_nothing_had_been(seconds: int) -> None:
    harness = Harness(sync_every=timedelta(seconds=40))
    device = await ready_for_good(harness)
    before = end_state(harness.cloud, device)
    await move(harness, play=timedelta(seconds=seconds))
    await harness.ask()
    await assert_back(harness, device)
    assert end_state(harness.cloud, device) == before | {"generation": (3, 3)}


async def moving(harness: Harness) -> DeviceKey:
    device = await ready_for_good(harness)
    await harness.ask(connectedRegistry="planttwo")
    return device


@EACH_OR_SOME_CALLS
async def test_back_at_any_call_never_locks_the_device_out(calls: Iterable[int]) -> None:
    within = timedelta(seconds=20)
    async for harness, device in at_each_call(moving, ask, calls=calls, within=within):
        await assert_back(harness, device)


def with_three() -> Harness:
    """Three connected registries; the latter two are a site, and its first one takes two."""
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "planttwo", "capacity": 2},
            {"name": "plantthree"},
        ],
        sites=[{"name": "new", "connectedRegistries": ["planttwo", "plantthree"]}],
    )
    harness = Harness(policy=policy)
    harness.cloud.connect(PLANT_THREE, login_server="plantthree.site.example:8000")
    return harness


async def test_a_device_goes_to_a_third_connected_registry_before_it_reached_the_second() -> None:
    harness = with_three()
    device = await ready_for_good(harness)
    harness.devices_answer = False
    await move(harness)
    await harness.ask(connectedRegistry="plantthree")
    await harness.run_for(MINUTE)
    refs = {grant.ref for grant in harness.cloud.record(device).grants}
    assert refs == {PLANT_ONE, PLANT_TWO, PLANT_THREE}
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert_nothing_at(harness, device, PLANT_ONE)
    assert_nothing_at(harness, device, PLANT_TWO)
    assert set(harness.cloud.devices[device].held) == {"plantthree"}


async def test_the_next_of_a_site_is_taken_if_the_first_fills_up_meanwhile() -> None:
    harness = with_three()
    device = await ready_for_good(harness)
    await harness.ask(connectedRegistry=None, site="new")
    for name in ("foreign1", "foreign2"):
        fill_up = partial(harness.cloud.add_foreign_client, PLANT_TWO, name)
        harness.cloud.act(fill_up, at="records.replace")
    await harness.run_for(HOUR)
    assert grant_of(harness.cloud.record(device)).ref == PLANT_THREE
    assert harness.state(device) is State.READY


async def test_a_device_created_again_while_it_moves_has_no_older_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    await move(harness)
    (first,) = harness.cloud.passwords_made
    harness.cloud.register(device)
    await harness.ask(connectedRegistry="planttwo")
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    (found,) = harness.cloud.tokens
    assert first not in harness.cloud.accepted(found)
    assert_nothing_at(harness, device, PLANT_ONE)


@pytest.mark.parametrize("target", ["plantone", "planttwo"])
async def test_old_and_new_repositories_are_allowed_until_the_device_has_logged_in_anew(
    target: str,
) -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    harness.devices_answer = False
    for name in ("plant/b", "plant/c"):
        await harness.ask(connectedRegistry=target, repositories=[name])
        await harness.run_for(MINUTE)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.DELIVERED
    assert allowed(harness) == {"plant/app", "plant/b", "plant/c"}
    harness.devices_answer = True
    await harness.run_for(2 * HOUR)
    assert allowed(harness) == {"plant/c"}
    found = harness.cloud.record(device)
    assert found.status.retained_actions == frozenset()
    entry = harness.cloud.twin_entry(device, grant_of(found).ref)
    assert entry["repositories"] == ["plant/c"]
    assert [entry["password"]] == harness.cloud.passwords_made


async def test_a_scope_map_that_another_device_shares_is_not_narrowed() -> None:
    harness = Harness()
    await harness.make_ready("press-2", repositories=["plant/app", "plant/other"])
    device = await ready_for_good(harness)
    harness.devices_answer = False
    before = dict(harness.cloud.scope_maps)
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert before.items() <= harness.cloud.scope_maps.items()


async def test_a_device_that_cannot_log_in_anew_retains_the_old_repositories() -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    site, now = harness.cloud.sites[PLANT_ONE], harness.clock.now()
    site.snapshot = ConnectedRegistrySnapshot(now, {}, {})
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(6 * HOUR)
    assert harness.reason(device) is Reason.DEVICE_REPORTS_FAILURE
    assert allowed(harness) == {"plant/app", "plant/other"}


async def test_repositories_are_not_narrowed_before_the_twin_has_the_new_ones() -> None:
    harness = Harness(sync_every=None)
    device = await ready_for_good(harness)
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(5 * MINUTE)
    assert len(harness.cloud.passwords_made) == 2  # a renewal waits for the sync
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(5 * MINUTE)
    is_delivered = harness.cloud.twin_entry(device, PLANT_ONE)["repositories"] == ["plant/other"]
    assert is_delivered or "plant/app" in allowed(harness)


async def test_other_actions_need_no_answer_because_the_twin_has_none() -> None:
    actions = ["content/read", "metadata/read"]
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "actions": actions}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    harness.cloud.let_sync(PLANT_ONE, "repositories/plant/*/metadata/read")
    device = await ready_for_good(harness)
    delivered = harness.cloud.record(device).status.delivery
    harness.devices_answer = False
    await harness.ask(actions=actions)
    await harness.run_until_quiet()
    assert harness.cloud.record(device).status.delivery == delivered
    assert harness.state(device) is State.READY


async def test_a_scope_map_never_gets_more_actions_than_it_takes() -> None:
    every = ["content/read", "content/write", "metadata/read"]
    entry = {"name": "plantone", "actions": every, "repositories": ["plant/*"]}
    harness = Harness(policy=make_policy(connectedRegistries=[entry, {"name": "planttwo"}]))
    device = await harness.make_ready(
        repositories=[f"plant/a{n}" for n in range(100)], actions=every
    )
    harness.devices_answer = False
    await harness.ask(repositories=[f"plant/b{n}" for n in range(100)], actions=every)
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert {len(m.actions) for m in harness.cloud.scope_maps.values()} == {300}
    assert allowed(harness) == {f"plant/b{n}" for n in range(100)}


async def test_a_renewal_waits_until_a_move_is_over() -> None:
    harness = Harness()
    device = await ready_for_good(harness)
    harness.devices_answer = False
    await move(harness)
    harness.clock.advance(60 * DAY)
    await harness.run_for(3 * HOUR)
    assert len(harness.cloud.passwords_made) == 1
    harness.devices_answer = True
    await harness.run_for(6 * HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"planttwo": harness.cloud.passwords_made[1]}


def view_of(grant: RetiringGrant, *, shares_token: bool) -> GrantView:
    return GrantView(
        grant=grant,
        token_id=grant.ref.registry.token(grant.names.token),
        connected_registry=None,
        capacity=None,
        ledger=Ledger(),
        shares_token=shares_token,
        token=None if shares_token else token(password()),
        secrets=() if shares_token else (secret_version(),),
    )


def test_the_token_in_another_container_registry_goes_with_its_secret() -> None:
    names = names_for(DEVICE, deployment="test", registry=OTHER_REGISTRY)
    grant = RetiringGrant(ref=ELSEWHERE, names=names, at_once=False)
    observed = READY.observed(record=record(retiring=(grant,)))
    observed = replace(observed, retiring=(view_of(grant, shares_token=False),))
    retire = provision(make_plan(observed, now=NOW, validity=VALIDITY)).retire
    assert retire is not None
    assert retire.gone == (grant,)
    kinds = [type(action).__name__ for action in retire.actions]
    assert kinds == ["DisableToken", "DisableSecretVersion", "DeleteToken"]
    (disabled,) = (a for a in retire.actions if isinstance(a, DisableSecretVersion))
    assert disabled.secret == names.secret != NAMES.secret


def test_nothing_retires_before_the_device_has_logged_in_or_while_a_step_is_left() -> None:
    grant = RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False)
    retiring = record(retiring=(grant,))
    for observed in (
        READY.observed(record=retiring, reported={}),
        READY.observed(record=retiring, listed=()),
    ):
        moving = replace(observed, retiring=(view_of(grant, shares_token=True),))
        assert provision(make_plan(moving, now=NOW, validity=VALIDITY)).retire is None


def test_requested_slots_and_retained_actions_belong_to_the_token_of_the_registry() -> None:
    token_id = REGISTRY.token(NAMES.token)
    requested = record(slots_requested=frozenset({TokenSlot(token=token_id, slot=Slot.TWO)}))
    leaves = with_intent(
        requested, replace(INTENT, candidates=(ELSEWHERE,), repositories=("plant/b",), at=NOW)
    )
    elsewhere = OTHER_REGISTRY.token(NAMES.token)
    assert leaves.requested_slots(token_id) == {Slot.TWO}
    assert leaves.requested_slots(elsewhere) == frozenset()
    assert torn_down(leaves, leaves.status.retiring).requested_slots(token_id) == frozenset()
    assert [grant.ref for grant in leaves.grants] == [PLANT_ONE]
    new = {"repositories/plant/b/content/read"}
    assert leaves.scope_actions_at(REGISTRY) == INTENT.scope_actions | new
    assert leaves.scope_actions_at(OTHER_REGISTRY) == new


def test_a_device_without_a_delivery_retains_nothing() -> None:
    first = new_record(DEVICE, INTENT)
    second = with_intent(first, replace(INTENT, repositories=("plant/b",), at=NOW))
    assert second.status.retained_actions == frozenset()


async def test_a_site_over_two_container_registries_uses_the_one_asked_for() -> None:
    other = "acrtest2"
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER_REGISTRY],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "plantone", "containerRegistry": other},
            {"name": "planttwo", "containerRegistry": other, "capacity": 1},
        ],
        sites=[{"name": "plant", "connectedRegistries": ["plantone", "planttwo"]}],
    )
    harness = Harness(policy=policy)
    for name in ("plantone", "planttwo"):
        ref = ConnectedRegistryRef(registry=OTHER_REGISTRY, name=name)
        harness.cloud.connect(ref, login_server=f"{name}.other.example:8000")
    for number in range(2):
        device = await harness.make_ready(
            f"press-{number}", connectedRegistry=None, site="plant", containerRegistry=other
        )
        assert grant_of(harness.cloud.record(device)).ref == ELSEWHERE
