"""P7: a revoke is final. A late, repeated or untimely message brings nothing back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import Refused
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import remains
from tests.firstpull.harness import PLANT_ONE, Harness, make_policy
from tests.firstpull.scenarios import (
    EACH_OR_SOME_CALLS,
    Act,
    Prepare,
    ask,
    at_each_call,
    make_by_hand,
    storm,
)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SETTLED = timedelta(minutes=20)
"""So long after a revoke, the second pass over the tombstone is over."""


async def revoked(harness: Harness) -> DeviceKey:
    """A device that was ready, and of which nothing is left."""
    device = await harness.make_ready()
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    return device


async def assert_stays_revoked(harness: Harness, device: DeviceKey) -> None:
    before = harness.cloud.writes()
    await harness.run_for(HOUR)
    assert harness.cloud.writes() == before
    assert harness.state(device) is State.REVOKED
    assert remains(harness.cloud, device) == set()


@pytest.mark.parametrize("age", [0 * SECOND, SECOND, timedelta(days=3)], ids=str)
async def test_a_message_that_was_written_before_the_revoke_is_refused(age: timedelta) -> None:
    harness = Harness()
    device = await harness.make_ready()
    record = await harness.revoke(device)
    assert record.spec.revocation is not None
    with pytest.raises(Refused) as refused:
        await harness.processes[0].onboarding.ask(
            harness.request(), requested_by="a queue", asked_at=record.spec.revocation.at - age
        )
    assert refused.value.reason is Reason.OUT_OF_DATE
    await harness.run_for(SETTLED)
    await assert_stays_revoked(harness, device)


async def test_a_message_from_before_the_revoke_does_not_undo_a_request_made_after_it() -> None:
    harness = Harness()
    device = await harness.make_ready()
    written_at = harness.clock.now()
    await harness.run_for(MINUTE)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    await harness.ask(connectedRegistry="planttwo")
    with pytest.raises(Refused) as refused:
        await harness.processes[0].onboarding.ask(
            harness.request(), requested_by="a queue", asked_at=written_at
        )
    assert refused.value.reason is Reason.OUT_OF_DATE


@pytest.mark.parametrize("event", ["created", "deleted"])
async def test_an_event_that_comes_late_brings_nothing_back(event: str) -> None:
    harness = Harness()
    device = harness.register()
    harness.opt_in(device)
    happened_at = harness.clock.now()
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    await harness.handle(device, created=event == "created", at=happened_at)
    await assert_stays_revoked(harness, device)
    harness.cloud.unregister(device)
    await harness.handle(device, created=event == "created", at=happened_at)
    await assert_stays_revoked(harness, device)


async def test_a_device_that_is_still_in_the_hub_is_not_onboarded_again_by_itself() -> None:
    policy = make_policy(
        defaultOnboarding={"connectedRegistry": "plantone", "repositories": ["plant/app"]}
    )
    harness = Harness(policy=policy)
    device = await revoked(harness)
    harness.opt_in(device)
    await harness.handle(device, created=True)
    await assert_stays_revoked(harness, device)
    harness.cloud.change_identity(device, enabled=True)
    await harness.handle(device, created=True)
    await harness.processes[0].onboarding.introduce(
        harness.request(), requested_by="provisioning", may_reset_twin=True
    )
    assert (await harness.sweep()).onboarded == 0
    await assert_stays_revoked(harness, device)


@pytest.mark.parametrize("found_by", ["event", "sweep"])
async def test_a_device_created_again_is_another_one_and_gets_its_own_password(
    found_by: str,
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.unregister(device)
    await harness.handle(device, created=False)
    await harness.run_for(SETTLED)
    await assert_stays_revoked(harness, device)
    harness.cloud.register(device)
    harness.opt_in(device)
    if found_by == "event":
        await harness.handle(device, created=True)
    else:
        assert (await harness.sweep()).onboarded == 1
    await harness.run_until_quiet()
    await assert_has_only_the_second_password(harness, device)


async def assert_has_only_the_second_password(harness: Harness, device: DeviceKey) -> None:
    _, second = harness.cloud.passwords_made
    (token,) = harness.cloud.tokens
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held == {"plantone": second}
    assert harness.cloud.accepted(token) == harness.cloud.passwords_in_use() == {second}


async def test_a_device_deleted_and_created_before_the_first_event_gets_another_password() -> None:
    """The event of the deletion is handled when the hub has another device of the id."""
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.handle(device, created=False)
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    await assert_has_only_the_second_password(harness, device)


@pytest.mark.parametrize("recreated", ["before the revoke, with the tag", "after, without it"])
async def test_a_device_created_again_that_nobody_asks_for_stays_revoked(recreated: str) -> None:
    harness = Harness()
    device = await harness.make_ready()
    if recreated.startswith("before"):
        harness.cloud.register(device)
        harness.opt_in(device)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    if recreated.startswith("after"):
        harness.cloud.register(device)
        await harness.handle(device, created=True)
    await harness.sweep()
    await assert_stays_revoked(harness, device)


async def test_a_device_revoked_before_its_first_delivery_may_be_created_anew() -> None:
    harness = Harness()
    harness.cloud.set_address(PLANT_ONE, None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    assert harness.reason(device) is Reason.NO_ENDPOINT
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    harness.cloud.set_address(PLANT_ONE, "plantone.site.example:8000")
    await assert_stays_revoked(harness, device)
    assert not harness.cloud.tokens
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_late_event_of_a_deletion_does_not_revoke_a_device_that_the_hub_has() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.handle(device, created=False)
    await harness.run_until_quiet()
    assert harness.cloud.record(device).spec.generation == 1
    assert harness.state(device) is State.READY


async def test_a_device_that_the_hub_never_had_is_waited_for_and_not_revoked() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.handle(device, created=False)
    await harness.run_for(10 * MINUTE)
    assert harness.reason(device) is Reason.DEVICE_NOT_REGISTERED
    harness.register()
    await harness.run_for(10 * MINUTE)
    assert harness.state(device) is State.READY


async def test_reconcile_requests_after_the_revoke_do_nothing() -> None:
    harness = Harness()
    device = await revoked(harness)
    await harness.processes[0].application.ports.queue.put(device)
    await assert_stays_revoked(harness, device)
    await harness.reconcile(device)
    await assert_stays_revoked(harness, device)


async def test_a_tombstone_spares_a_token_that_another_device_adopted_since() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    make_by_hand(harness, "by-hand")
    device = harness.register()
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    again = make_by_hand(harness, "by-hand")
    other = harness.register("press-2")
    await harness.ask("press-2", adopt="by-hand")
    await harness.run_until_quiet()
    assert harness.reason(other) is Reason.ADOPTED
    await harness.handle(device, created=False)
    await harness.run_for(5 * MINUTE)
    assert harness.cloud.accepted("by-hand") == {again}


@pytest.mark.parametrize("before", ["new", "revoked"])
async def test_a_device_asked_for_and_revoked_at_once_is_given_nothing(before: str) -> None:
    harness = Harness()
    device = await revoked(harness) if before == "revoked" else harness.register()
    made = len(harness.cloud.passwords_made)
    await harness.ask()
    await harness.revoke(device)
    await harness.run_for(HOUR)
    await assert_stays_revoked(harness, device)
    assert len(harness.cloud.passwords_made) == made


async def onboarding(harness: Harness) -> DeviceKey:
    device = harness.register()
    await harness.ask()
    return device


async def move(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    await harness.ask(connectedRegistry="planttwo")
    return device


async def rotation(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    await harness.rotate(device)
    return device


async def re_creation(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    harness.cloud.register(device)
    await harness.handle(device, created=True)
    return device


async def revoking(harness: Harness) -> DeviceKey:
    device = await harness.make_ready()
    await harness.revoke(device)
    return device


EACH_SITUATION = pytest.mark.parametrize("prepare", [onboarding, move, rotation, re_creation])


@EACH_OR_SOME_CALLS
@EACH_SITUATION
async def test_a_revoke_at_any_call_leaves_nothing(prepare: Prepare, calls: Iterable[int]) -> None:
    async for harness, device in at_each_call(
        prepare, Harness.revoke, calls=calls, within=40 * SECOND
    ):
        await harness.run_for(10 * MINUTE)
        assert harness.cloud.record(device).claim is None
        await assert_stays_revoked(harness, device)


@EACH_OR_SOME_CALLS
async def test_a_request_at_any_call_of_a_revoke_begins_anew(calls: Iterable[int]) -> None:
    async for harness, device in at_each_call(revoking, ask, calls=calls, within=3 * SECOND):
        await harness.run_until_quiet()
        await assert_has_only_the_second_password(harness, device)


@pytest.mark.parametrize("seeds", [1, pytest.param(6, marks=pytest.mark.slow)])
@EACH_SITUATION
async def test_a_revoke_in_a_storm_of_faults_leaves_nothing(prepare: Prepare, seeds: int) -> None:
    met = 0
    for seed in range(seeds):
        harness = Harness(processes=2, sync_every=6 * SECOND)
        device = await prepare(harness)
        begun = len(harness.cloud.calls)
        harness.cloud.faults = storm(seed, chance=0.12, calls=120, begun=begun)
        await harness.run_for((seed + 1) * SECOND)
        await harness.revoke(device)
        await harness.run_for(45 * MINUTE)
        met += harness.cloud.faults_met
        await assert_stays_revoked(harness, device)
    assert met >= 2 * seeds


@pytest.mark.parametrize("seeds", [4, pytest.param(16, marks=pytest.mark.slow)])
async def test_revokes_and_requests_at_once_end_as_the_one_that_was_recorded_last(
    seeds: int,
) -> None:
    acts: list[Act] = [ask, Harness.revoke]
    ends = set()
    for seed in range(seeds):
        chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        harness = Harness(processes=3, sync_every=6 * SECOND)
        device = await harness.make_ready()

        async def begin(
            act: Act, delay: float, harness: Harness = harness, device: DeviceKey = device
        ) -> None:
            await harness.clock.sleep(delay)
            await act(harness, device)

        await asyncio.gather(*(begin(act, chance.random() / 10) for act in acts * 3))
        await harness.run_for(30 * MINUTE)
        is_revoked = harness.cloud.record(device).spec.revocation is not None
        ends.add(is_revoked)
        assert harness.state(device) is (State.REVOKED if is_revoked else State.READY)
        assert bool(remains(harness.cloud, device)) is not is_revoked
    assert ends == {True, False}


async def test_an_old_password_is_not_accepted_after_the_next_sync() -> None:
    harness = Harness(sync_every=None)
    device = await harness.make_ready()
    username = harness.cloud.twin_entry(device, PLANT_ONE)["username"]
    password = harness.cloud.devices[device].held["plantone"]
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.cloud.accepted(username) == set()
    assert harness.cloud.site_accepts(PLANT_ONE, username, password)
    harness.cloud.sync(PLANT_ONE)
    assert not harness.cloud.site_accepts(PLANT_ONE, username, password)
