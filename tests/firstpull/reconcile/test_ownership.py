"""A token has one owner: the live record that names it, in its grant or in a retiring one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firstpull.model import record_codec
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Grant, RetiringGrant, State
from firstpull.model.errors import NotKnown
from firstpull.model.naming import names_for
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import remains
from tests.firstpull.harness import (
    DEPLOYMENT,
    HUB,
    OTHER_REGISTRY,
    PLANT_TWO,
    REGISTRY,
    Harness,
    make_policy,
    make_process,
    over_two_registries,
)
from tests.firstpull.records import changed, grant_of
from tests.firstpull.scenarios import make_by_hand

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BY_HAND = "by-hand"
ADOPTING = make_policy(adoptableTokens=[BY_HAND, "fp-*"])
ARM = "registries."


def with_token() -> Harness:
    """A world in which somebody made a token, a client of the first connected registry."""
    harness = Harness(policy=ADOPTING)
    make_by_hand(harness, BY_HAND)
    return harness


async def adopt(
    harness: Harness, device_id: str, token: str = BY_HAND, *, at: str = "plantone"
) -> DeviceKey:
    """Ask for a device with a token, and play for a few minutes."""
    device = harness.register(device_id)
    await harness.ask(device_id, adopt=token, connectedRegistry=at)
    await harness.run_for(5 * MINUTE)
    return device


def damage(harness: Harness, device: DeviceKey, *, names: str) -> None:
    """Make a device's record name another token, at the second connected registry."""
    record = harness.cloud.record(device)
    own = names_for(device, deployment=DEPLOYMENT, registry=REGISTRY)
    grant = Grant(ref=PLANT_TWO, names=replace(own, token=names))
    before = grant_of(record)
    retiring = (RetiringGrant(ref=before.ref, names=before.names, at_once=False),)
    named = changed(record, grant=grant, retiring=retiring, adopted=True, delivery=None)
    text = record_codec.to_json(named)
    harness.cloud.records[device] = text, harness.cloud.next_number()


async def test_a_token_that_a_device_is_leaving_cannot_be_adopted_elsewhere() -> None:
    harness = with_token()
    first = await adopt(harness, "press-1")
    harness.devices_answer = False
    await harness.ask("press-1", connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    assert BY_HAND in {g.names.token for g in harness.cloud.record(first).status.retiring}
    second = await adopt(harness, "press-2", at="planttwo")
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS


async def test_a_revoked_password_ends_though_another_device_asks_for_the_token() -> None:
    harness = with_token()
    (password,) = harness.cloud.accepted(BY_HAND)
    await adopt(harness, "press-1")
    with harness.cloud.unavailable(ARM):
        await harness.revoke(DeviceKey(hub=HUB, device_id="press-1"))
        await harness.ask("press-1")
        await harness.run_for(MINUTE)
    second = await adopt(harness, "press-2", at="planttwo")
    for _ in range(3):
        await harness.sweep()
        await harness.run_for(HOUR)
    assert password not in harness.cloud.accepted(BY_HAND)
    assert harness.reason(second) in {Reason.TOKEN_NOT_OURS, Reason.TOKEN_NOT_FOUND}


async def test_a_token_that_another_live_record_names_loses_only_the_revoked_passwords() -> None:
    harness = with_token()
    first, second = await harness.make_ready("press-1"), await harness.make_ready("press-2")
    token = grant_of(harness.cloud.record(first)).names.token
    (password,) = harness.cloud.accepted(token)
    damage(harness, second, names=token)
    await harness.revoke(first)
    await harness.run_for(HOUR)
    assert harness.cloud.record(first).is_tombstone
    assert token in harness.cloud.tokens
    assert password not in harness.cloud.accepted(token)
    await harness.revoke(second)
    await harness.run_for(HOUR)
    assert token not in harness.cloud.tokens


async def test_a_token_that_two_revoked_devices_name_is_deleted() -> None:
    harness = with_token()
    first, second = await harness.make_ready("press-1"), await harness.make_ready("press-2")
    token = grant_of(harness.cloud.record(first)).names.token
    damage(harness, second, names=token)
    await asyncio.gather(harness.revoke(first), harness.revoke(second))
    await harness.run_for(HOUR)
    assert harness.cloud.record(first).is_tombstone
    assert harness.cloud.record(second).is_tombstone
    assert token not in harness.cloud.tokens


async def test_the_secret_of_a_token_of_its_own_outlives_the_adopted_token() -> None:
    harness = with_token()
    device = await adopt(harness, "press-1")
    await harness.rotate(device)
    await harness.run_until_quiet()
    await harness.ask("press-1", connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert BY_HAND not in harness.cloud.tokens
    assert len(harness.cloud.passwords_made) == 2


def lose_record(harness: Harness, device: DeviceKey) -> None:
    """Lose the record, and the messages about it."""
    harness.cloud.lose_record(device)
    harness.cloud.queue.clear()


async def test_asking_again_takes_a_lost_device_back_and_it_keeps_its_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    password = harness.cloud.devices[device].held["plantone"]
    lose_record(harness, device)
    harness.must_stay_logged_in.clear()
    await harness.ask()
    await harness.run_until(lambda: harness.state(device) is State.READY, HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": password}
    assert len(harness.cloud.passwords_made) == 1


@pytest.mark.parametrize("rotated", [False, True])
async def test_asking_again_takes_an_adopted_token_back_whatever_the_policy_allows(
    *, rotated: bool
) -> None:
    harness = with_token()
    device = await adopt(harness, "press-1")
    if rotated:
        await harness.rotate(device)
        await harness.run_until_quiet()
    passwords, before = harness.cloud.accepted(BY_HAND), harness.cloud.record(device)
    lose_record(harness, device)
    harness.processes = [make_process(harness.cloud, make_policy())]
    await harness.ask("press-1")
    await harness.run_until(lambda: harness.state(device) is State.READY, HOUR)
    record = harness.cloud.record(device)
    assert set(harness.cloud.tokens) == {BY_HAND}
    assert harness.cloud.accepted(BY_HAND) == passwords
    assert (record.status.grant, record.status.adopted) == (before.status.grant, not rotated)
    await harness.revoke(device)
    await harness.run_until(lambda: harness.cloud.record(device).is_tombstone, HOUR)
    assert not harness.cloud.tokens


@pytest.mark.parametrize("asked", [{"site": "all"}, {"connectedRegistry": "planttwo"}], ids=str)
async def test_asking_again_finds_a_token_in_another_container_registry(
    asked: dict[str, Any],
) -> None:
    """By its site, the device stays where it is, though there is room before; else it moves."""
    harness = over_two_registries()
    elsewhere = {"connectedRegistry": "portone", "containerRegistry": OTHER_REGISTRY.name}
    device = await harness.make_ready(**elsewhere)
    lose_record(harness, device)
    await harness.ask("press-1", **{"connectedRegistry": None, **asked})
    await harness.run_until(lambda: harness.state(device) is State.READY, HOUR)
    await harness.run_until_quiet()
    place = "portone" if "site" in asked else "planttwo"
    assert {ref.name for ref in harness.cloud.sites if harness.cloud.clients(ref)} == {place}
    assert set(harness.cloud.devices[device].held) == {place}
    assert len(harness.cloud.passwords_made) == (1 if "site" in asked else 2)


async def test_a_lost_device_that_was_registered_anew_gets_no_old_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    lose_record(harness, device)
    harness.cloud.register(device)
    await harness.ask()
    await harness.run_until(lambda: harness.state(device) is State.READY, HOUR)
    (token,) = harness.cloud.tokens
    assert harness.cloud.accepted(token) == {harness.cloud.passwords_made[1]}


async def test_a_password_whose_revoke_had_begun_does_not_come_back() -> None:
    harness = Harness()
    device = await harness.make_ready()
    (token,) = harness.cloud.tokens
    harness.cloud.registry().update_token(token, status="disabled")  # the first step of a teardown
    lose_record(harness, device)
    await harness.ask()
    await harness.run_until(lambda: harness.state(device) is State.READY, HOUR)
    assert harness.cloud.accepted(token) == {harness.cloud.passwords_made[1]}


async def test_a_lost_token_that_another_device_has_now_is_not_taken_back() -> None:
    harness = with_token()
    device, other = await harness.make_ready("press-1"), await harness.make_ready("press-2")
    (token,) = (g.names.token for g in harness.cloud.record(device).grants)
    lose_record(harness, device)
    damage(harness, other, names=token)
    await harness.ask("press-1")
    await harness.run_until(lambda: harness.state(device) is State.BLOCKED, HOUR)
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS


@pytest.mark.parametrize("asked_again", [False, True])
async def test_a_revoke_ends_what_is_left_of_a_lost_device(*, asked_again: bool) -> None:
    harness = Harness()
    device = await harness.make_ready()
    lose_record(harness, device)
    if asked_again:
        await harness.ask(connectedRegistry="planttwo")
    await harness.revoke(device)
    await harness.run_until(lambda: harness.cloud.record(device).is_tombstone, HOUR)
    assert harness.state(device) is State.REVOKED
    assert remains(harness.cloud, device) == set()


async def test_a_revoke_ends_an_adopted_token_of_a_lost_device() -> None:
    harness = with_token()
    device = await adopt(harness, "press-1")
    await harness.rotate(device)
    await harness.run_until_quiet()
    lose_record(harness, device)
    await harness.revoke(device)
    await harness.run_until(lambda: harness.cloud.record(device).is_tombstone, HOUR)
    assert BY_HAND not in harness.cloud.tokens
    assert harness.cloud.accepted(BY_HAND) == set()


async def test_a_revoke_names_the_token_that_it_leaves_alone() -> None:
    harness = with_token()
    device = harness.register()
    own = names_for(device, deployment=DEPLOYMENT, registry=REGISTRY).token
    password = make_by_hand(harness, own)
    await harness.revoke(device)
    await harness.run_until(lambda: harness.cloud.record(device).is_tombstone, HOUR)
    assert own in harness.cloud.record(device).status.condition.message
    assert harness.cloud.accepted(own) == {password}


async def test_a_revoke_of_a_device_of_which_nothing_exists_is_refused() -> None:
    harness = Harness()
    device = harness.register()
    with pytest.raises(NotKnown):
        await harness.revoke(device)
    assert not harness.cloud.records


@pytest.mark.parametrize("is_adopted", [False, True])
async def test_the_token_of_a_lost_device_cannot_be_adopted(*, is_adopted: bool) -> None:
    harness = with_token()
    if not is_adopted:
        device = await harness.make_ready("press-1")
    else:
        device = await adopt(harness, "press-1")
        await harness.rotate(device)
        await harness.run_until_quiet()
    name = grant_of(harness.cloud.record(device)).names.token
    lose_record(harness, device)
    other = harness.register("press-2")
    await harness.ask("press-2", adopt=name, connectedRegistry="planttwo")
    await harness.run_until(lambda: harness.state(other) is State.BLOCKED, HOUR)
    assert harness.reason(other) is Reason.TOKEN_NOT_OURS
