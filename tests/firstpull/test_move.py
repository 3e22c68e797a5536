"""To another connected registry, to other repositories: nothing goes before the device has come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMapId,
    Slot,
    TokenId,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import RetiringGrant, State
from firstpull.model.errors import Refused
from firstpull.model.naming import names_for
from firstpull.model.reasons import Reason
from firstpull.model.transitions import new_record, with_intent
from firstpull.reconcile.actions import DisableSecretVersion
from firstpull.reconcile.observe import GrantView
from firstpull.reconcile.plan import make_plan
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
from tests.firstpull.fakes import FakeToken, name_in
from tests.firstpull.harness import (
    PLANT_ONE,
    PLANT_TWO,
    REGISTRY,
    VALIDITY,
    Harness,
    connect,
    make_policy,
)
from tests.firstpull.records import grant_of

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
PLANT_THREE = ConnectedRegistryRef(registry=REGISTRY, name="plantthree")
OTHER_REGISTRY = RegistryId(f"{REGISTRY}2")
ELSEWHERE = ConnectedRegistryRef(registry=OTHER_REGISTRY, name="plantone")


def clients(harness: Harness, ref: ConnectedRegistryRef) -> list[str]:
    return [name_in(token_id) for token_id in harness.cloud.connected[ref].clients]


def allowed(harness: Harness) -> set[str]:
    """The repositories that the only token of ours reaches."""
    (found,) = (t for name, t in harness.cloud.tokens.items() if name.startswith("fp-"))
    maps = {name.casefold(): m for name, m in harness.cloud.scope_maps.items()}
    actions = maps[name_in(found.scope_map_id).casefold()].actions
    return {action.removeprefix("repositories/").rsplit("/", 2)[0] for action in actions}


async def ready(harness: Harness) -> DeviceKey:
    """A device that is ready, and that must be able to log in from here on."""
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    return device


async def test_a_device_that_moves_ends_where_one_is_that_was_there_from_the_beginning() -> None:
    harness, other = Harness(), Harness()
    device = await ready(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    await other.make_ready(connectedRegistry="planttwo")
    moved, was_there = end_state(harness.cloud, device), end_state(other.cloud, device)
    assert moved | {"generation": None} == was_there | {"generation": None}
    assert clients(harness, PLANT_ONE) == []
    assert not harness.cloud.twin_entry(device, PLANT_ONE)
    assert not harness.cloud.ledger(PLANT_ONE).entries


async def test_token_and_password_stay_the_same_within_a_container_registry() -> None:
    harness = Harness()
    device = await ready(harness)
    before = harness.cloud.twin_entry(device, PLANT_ONE)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    after = harness.cloud.twin_entry(device, PLANT_TWO)
    assert (after["username"], after["password"]) == (before["username"], before["password"])
    assert after["address"] == "planttwo.site.example:8000"
    writes = harness.cloud.writes()
    assert writes["registries.create_token"] == writes["registries.generate_password"] == 1
    assert not writes["registries.disable_token"]
    assert not writes["registries.delete_token"]


async def test_both_connected_registries_are_named_and_usable_until_the_device_has_logged_in() -> (
    None
):
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    harness.must_stay_logged_in.add(device)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(2 * DAY)
    found = harness.cloud.record(device)
    assert [grant.ref for grant in found.grants] == [PLANT_TWO, PLANT_ONE]
    assert found.status.condition.reason is Reason.DEVICE_REPORTS_FAILURE
    assert clients(harness, PLANT_ONE) == clients(harness, PLANT_TWO)
    assert set(harness.cloud.devices[device].held) == {"plantone"}
    harness.cloud.sync(PLANT_TWO)
    await harness.run_for(timedelta(hours=2))
    assert harness.state(device) is State.READY
    assert [grant.ref for grant in harness.cloud.record(device).grants] == [PLANT_TWO]
    assert set(harness.cloud.devices[device].held) == {"planttwo"}


async def test_a_device_that_is_away_keeps_both_connected_registries() -> None:
    harness = Harness()
    device = await ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(5 * DAY)
    assert harness.state(device) is State.DELIVERED
    assert clients(harness, PLANT_ONE) == clients(harness, PLANT_TWO) != []
    harness.devices_answer = True
    await harness.run_for(timedelta(hours=2))
    assert harness.state(device) is State.READY
    assert clients(harness, PLANT_ONE) == []


async def test_a_full_target_blocks_and_the_old_connected_registry_stays() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone"}, {"name": "planttwo", "capacity": 1}]
    )
    harness = Harness(policy=policy)
    first = await harness.make_ready("press-9", connectedRegistry="planttwo")
    device = await ready(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(DAY)
    found = harness.cloud.record(device)
    assert found.status.condition.state is State.BLOCKED
    assert found.status.condition.reason is Reason.CONNECTED_REGISTRY_FULL
    assert [grant.ref for grant in found.grants] == [PLANT_ONE]
    assert harness.cloud.twin_entry(device, PLANT_ONE)
    assert len(clients(harness, PLANT_ONE)) == 1
    await harness.revoke(first)
    await harness.run_for(timedelta(hours=3))
    assert harness.state(device) is State.READY
    assert clients(harness, PLANT_ONE) == []


async def test_a_blocked_move_is_taken_back_by_asking_for_the_old_connected_registry() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone"}, {"name": "planttwo", "capacity": 1}]
    )
    harness = Harness(policy=policy)
    await harness.make_ready("press-9", connectedRegistry="planttwo")
    device = await ready(harness)
    before = harness.cloud.writes()
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(hours=1))
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).status.retiring == ()
    assert harness.cloud.writes() == before


async def test_a_target_that_does_not_exist_leaves_the_device_where_it_is() -> None:
    harness = Harness()
    device = await ready(harness)
    del harness.cloud.connected[PLANT_TWO]
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(DAY)
    assert harness.reason(device) is Reason.CONNECTED_REGISTRY_NOT_FOUND
    assert len(clients(harness, PLANT_ONE)) == 1


async def test_an_old_connected_registry_that_is_gone_is_no_hindrance() -> None:
    harness = Harness()
    device = await harness.make_ready()
    del harness.cloud.connected[PLANT_ONE]
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.record(device).status.retiring == ()
    assert not harness.cloud.ledger(PLANT_ONE).entries
    assert not harness.cloud.twin_entry(device, PLANT_ONE)


async def test_nothing_moves_by_itself_within_a_site() -> None:
    policy = make_policy(
        connectedRegistries=[{"name": "plantone", "capacity": 1}, {"name": "planttwo"}]
    )
    harness = Harness(policy=policy)
    first = await harness.make_ready("press-9", connectedRegistry=None, site="plant")
    second = await harness.make_ready(connectedRegistry=None, site="plant")
    await harness.revoke(first)
    await harness.run_for(DAY)
    record_now = await harness.ask(
        connectedRegistry=None, site="plant", repositories=["plant/other"]
    )
    await harness.run_until_quiet()
    assert grant_of(record_now).ref == PLANT_TWO
    assert grant_of(harness.cloud.record(second)).ref == PLANT_TWO
    assert clients(harness, PLANT_ONE) == []


@pytest.mark.parametrize("seconds", [0, 1, 5, 30, 90, 300])
async def test_there_and_back_after_any_time_ends_as_if_nothing_had_been(seconds: int) -> None:
    harness = Harness(sync_every=timedelta(seconds=40))
    device = await ready(harness)
    before = end_state(harness.cloud, device)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(timedelta(seconds=seconds))
    await harness.ask()
    await harness.run_until_quiet()
    after = end_state(harness.cloud, device)
    assert after | {"generation": None} == before | {"generation": None}
    assert after["generation"] == (3, 3)
    assert clients(harness, PLANT_TWO) == []
    assert not harness.cloud.twin_entry(device, PLANT_TWO)
    assert not harness.cloud.ledger(PLANT_TWO).entries


async def test_back_at_any_moment_never_locks_the_device_out() -> None:
    number, cut_in = 0, True
    while cut_in:
        number += 1
        harness = Harness(sync_every=timedelta(seconds=6))
        device = await ready(harness)
        await harness.ask(connectedRegistry="planttwo")

        async def back(harness: Harness = harness) -> None:
            await harness.ask()

        with harness.at_call(number, back) as tasks:
            await harness.run_for(timedelta(seconds=20))
        cut_in = bool(tasks)
        if cut_in:
            await tasks[0]
            await harness.run_until_quiet()
            found = harness.cloud.record(device)
            assert found.status.condition.state is State.READY
            assert [grant.ref for grant in found.grants] == [PLANT_ONE]
            assert clients(harness, PLANT_TWO) == []
            assert len(harness.cloud.passwords_made) == 1
    assert number > 40


async def test_a_third_connected_registry_before_the_second_was_reached() -> None:
    harness = with_third_place()
    device = await ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    await harness.ask(connectedRegistry="plantthree")
    await harness.run_for(MINUTE)
    refs = {grant.ref for grant in harness.cloud.record(device).grants}
    assert refs == {PLANT_ONE, PLANT_TWO, PLANT_THREE}
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert clients(harness, PLANT_ONE) == clients(harness, PLANT_TWO) == []
    assert len(clients(harness, PLANT_THREE)) == 1
    assert set(harness.cloud.devices[device].held) == {"plantthree"}


def with_third_place() -> Harness:
    """Three connected registries; the latter two are a site, and the first of it takes two."""
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "planttwo", "capacity": 2},
            {"name": "plantthree"},
        ],
        sites=[{"name": "new", "connectedRegistries": ["planttwo", "plantthree"]}],
    )
    harness = Harness(policy=policy)
    connect(harness.cloud, PLANT_THREE, login_server="plantthree.site.example:8000")
    return harness


async def test_a_connected_registry_of_a_site_that_fills_up_meanwhile_is_left_for_the_next() -> (
    None
):
    harness = with_third_place()
    device = await ready(harness)
    there = harness.cloud.connected[PLANT_TWO].clients

    def fill_up(_: int, operation: str) -> None:
        if (
            operation == "records.replace"
            and harness.cloud.record(device).spec.intent.site
            and not there
        ):
            for name in ("foreign1", "foreign2"):
                harness.cloud.tokens[name] = FakeToken(ScopeMapId("someone's"))
                there.append(REGISTRY.token(name))

    harness.cloud.before_call = fill_up
    await harness.ask(connectedRegistry=None, site="new")
    await harness.run_for(DAY)
    assert grant_of(harness.cloud.record(device)).ref == PLANT_THREE
    assert harness.state(device) is State.READY


async def test_a_device_created_again_while_it_moves_has_no_password_of_before() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    (first,) = harness.cloud.passwords_made
    harness.cloud.register(device)
    harness.make_due(device)
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    (found,) = harness.cloud.tokens
    assert first not in harness.cloud.accepted(found)
    assert clients(harness, PLANT_ONE) == []


async def test_other_repositories_are_delivered_to_the_same_connected_registry() -> None:
    harness = Harness()
    device = await ready(harness)
    await harness.ask(repositories=["plant/other"])
    await harness.run_until_quiet()
    assert allowed(harness) == {"plant/other"}
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert entry["repositories"] == ["plant/other"]
    assert entry["password"] == harness.cloud.passwords_made[0]
    assert harness.cloud.record(device).status.retained_actions == frozenset()
    assert len(harness.cloud.passwords_made) == 1


async def test_old_and_new_repositories_are_allowed_until_the_device_has_logged_in_anew() -> None:
    harness = Harness()
    device = await ready(harness)
    harness.devices_answer = False
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(3 * DAY)
    assert harness.state(device) is State.DELIVERED
    assert allowed(harness) == {"plant/app", "plant/other"}
    harness.devices_answer = True
    await harness.run_for(timedelta(hours=2))
    assert allowed(harness) == {"plant/other"}


async def test_a_scope_map_that_another_device_shares_is_not_narrowed_for_one_that_changes() -> (
    None
):
    harness = Harness()
    await harness.make_ready("press-2", repositories=["plant/app", "plant/other"])
    device = await ready(harness)
    harness.devices_answer = False
    before = dict(harness.cloud.scope_maps)
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert before.items() <= harness.cloud.scope_maps.items()


async def test_repositories_asked_for_twice_before_the_device_came_are_all_kept() -> None:
    harness = Harness()
    await ready(harness)
    harness.devices_answer = False
    for name in ("plant/b", "plant/c"):
        await harness.ask(repositories=[name])
        await harness.run_for(MINUTE)
    assert allowed(harness) == {"plant/app", "plant/b", "plant/c"}


async def test_a_move_to_other_repositories_keeps_the_old_ones_at_the_old_connected_registry() -> (
    None
):
    harness = Harness()
    device = await ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo", repositories=["plant/other"])
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert allowed(harness) == {"plant/app", "plant/other"}


async def test_a_device_that_cannot_log_in_with_the_new_keeps_the_old_recorded() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    harness.cloud.connected[PLANT_ONE].logins = frozenset()
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(DAY)
    assert harness.reason(device) is Reason.DEVICE_REPORTS_FAILURE
    assert harness.cloud.record(device).status.retained_actions == {
        "repositories/plant/app/content/read"
    }


async def test_other_actions_need_no_answer_for_the_twin_tells_none() -> None:
    policy = make_policy(
        connectedRegistries=[
            {"name": "plantone", "actions": ["content/read", "metadata/read"]},
            {"name": "planttwo"},
        ]
    )
    harness = Harness(policy=policy)
    harness.cloud.synced[f"{REGISTRY}/tokens/plantone"] |= {"repositories/plant/*/metadata/read"}
    device = await ready(harness)
    delivered = harness.cloud.record(device).status.delivery
    harness.devices_answer = False
    await harness.ask(actions=["content/read", "metadata/read"])
    await harness.run_until_quiet()
    assert harness.cloud.record(device).status.delivery == delivered
    assert harness.state(device) is State.READY


async def test_more_actions_than_a_scope_map_holds_are_never_asked_of_it() -> None:
    harness = Harness(
        policy=make_policy(
            connectedRegistries=[
                {
                    "name": "plantone",
                    "actions": ["content/read", "content/write", "metadata/read"],
                    "repositories": ["plant/*"],
                },
                {"name": "planttwo"},
            ]
        )
    )
    every = ["content/read", "content/write", "metadata/read"]
    device = await harness.make_ready(
        repositories=[f"plant/a{n}" for n in range(100)], actions=every
    )
    harness.devices_answer = False
    await harness.ask(repositories=[f"plant/b{n}" for n in range(100)], actions=every)
    await harness.run_for(MINUTE)
    assert harness.state(device) is State.DELIVERED
    assert {len(m.actions) for m in harness.cloud.scope_maps.values()} == {300}
    assert allowed(harness) == {f"plant/b{n}" for n in range(100)}


async def test_repositories_asked_for_during_a_renewal_are_not_narrowed_before_they_are_told() -> (
    None
):
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    harness.clock.advance_to(harness.cloud.record(device).schedule.due_at)
    await harness.run_for(timedelta(minutes=5))
    assert len(harness.cloud.passwords_made) == 2
    await harness.ask(repositories=["plant/other"])
    await harness.run_for(timedelta(minutes=5))
    found = harness.cloud.record(device)
    told = harness.cloud.twin_entry(device, PLANT_ONE)["repositories"]
    assert (
        told == ["plant/other"]
        or "repositories/plant/app/content/read" in found.status.retained_actions
    )


async def test_another_token_cannot_be_adopted_on_the_way() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    await ready(harness)
    with pytest.raises(Refused) as refused:
        await harness.ask(connectedRegistry="planttwo", adopt="by-hand")
    assert refused.value.reason is Reason.DEVICE_HAS_TOKEN


async def test_a_renewal_waits_until_a_move_is_over() -> None:
    harness = Harness()
    device = await ready(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    harness.clock.advance(timedelta(days=60))
    await harness.run_for(timedelta(hours=3))
    assert len(harness.cloud.passwords_made) == 1
    harness.devices_answer = True
    await harness.run_for(DAY)
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 2
    assert harness.cloud.devices[device].held == {"planttwo": harness.cloud.passwords_made[1]}


def test_what_a_device_leaves_in_another_container_registry_has_a_token_of_its_own() -> None:
    """It goes as after a revoke, once the device has logged in at its new place."""
    grant = RetiringGrant(
        ref=ELSEWHERE,
        names=names_for(DEVICE, deployment="test", registry=OTHER_REGISTRY),
        at_once=False,
    )
    view = GrantView(
        grant=grant,
        token_id=OTHER_REGISTRY.token(NAMES.token),
        connected_registry=None,
        ledger=READY.observed().views[0].ledger,
        shares_token=False,
        token=token(password()),
        secrets=(secret_version(),),
    )
    observed = replace(
        READY.observed(record=record(retiring=(grant,))),
        retiring=(view,),
    )
    plan = make_plan(observed, now=NOW, validity=VALIDITY)
    assert plan.is_teardown
    assert plan.gone == (grant,)
    kinds = [type(action).__name__ for action in plan.actions]
    assert kinds == ["DisableToken", "DisableSecretVersion", "DeleteToken"]
    (disabled,) = (a for a in plan.actions if isinstance(a, DisableSecretVersion))
    assert disabled.secret == grant.names.secret != NAMES.secret


def test_nothing_goes_before_the_device_has_logged_in_or_while_something_is_to_be_done() -> None:
    grant = RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False)
    view = GrantView(
        grant=grant,
        token_id=REGISTRY.token(NAMES.token),
        connected_registry=None,
        ledger=READY.observed().views[0].ledger,
        shares_token=True,
    )
    retiring = record(retiring=(grant,))
    for observed in (
        READY.observed(record=retiring, reported={}),
        READY.observed(record=retiring, listed=()),
    ):
        plan = make_plan(replace(observed, retiring=(view,)), now=NOW, validity=VALIDITY)
        assert (plan.is_teardown, plan.gone) == (False, ())


def test_slots_that_were_asked_for_belong_to_the_token_of_the_container_registry() -> None:
    asked = record(slots_requested=frozenset({Slot.TWO}))
    stays = with_intent(asked, replace(INTENT, candidates=(PLANT_TWO,), at=NOW))
    leaves = with_intent(asked, replace(INTENT, candidates=(ELSEWHERE,), at=NOW))
    assert stays.slots_requested == {Slot.TWO}
    assert leaves.slots_requested == frozenset()
    assert stays.retiring == leaves.retiring
    assert [grant.ref for grant in leaves.grants] == [PLANT_ONE]


def test_what_a_device_keeps_counts_where_its_token_is_the_one_of_before() -> None:
    moved = with_intent(
        record(), replace(INTENT, candidates=(ELSEWHERE,), repositories=("plant/b",), at=NOW)
    )
    assert moved.scope_actions_at(REGISTRY) == {
        "repositories/plant/app/content/read",
        "repositories/plant/b/content/read",
    }
    assert moved.scope_actions_at(OTHER_REGISTRY) == {"repositories/plant/b/content/read"}


def test_a_device_without_a_delivery_keeps_nothing_of_what_was_asked_before() -> None:
    first = new_record(DEVICE, INTENT)
    second = with_intent(first, replace(INTENT, repositories=("plant/b",), at=NOW))
    assert second.retained_actions == frozenset()


async def test_a_site_over_two_container_registries_takes_connected_registries_of_the_one_asked_for() -> (
    None
):
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
        connect(harness.cloud, ref, login_server=f"{name}.other.example:8000")
    for number in range(2):
        device = await harness.make_ready(
            f"press-{number}", connectedRegistry=None, site="plant", containerRegistry=other
        )
        assert grant_of(harness.cloud.record(device)).ref == ELSEWHERE
