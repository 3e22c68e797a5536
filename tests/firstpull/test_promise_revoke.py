"""P7: a revoke is final. What comes late, twice or at any moment brings nothing back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import Refused
from firstpull.model.reasons import Reason
from tests.firstpull.fakes import Fault, FaultKind
from tests.firstpull.harness import PLANT_ONE, Harness, make_policy
from tests.firstpull.scenarios import HAND_MADE, make_by_hand
from tests.firstpull.test_revoke import SETTLED, remains, revoked

SECOND = timedelta(seconds=1)


async def stays_revoked(harness: Harness, device: DeviceKey) -> bool:
    """Whether nothing comes of whatever was said just now."""
    before = harness.cloud.writes()
    await harness.run_for(timedelta(hours=1))
    is_left_alone = harness.cloud.writes() == before and not remains(harness, device)
    return is_left_alone and harness.state(device) is State.REVOKED


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
    assert await stays_revoked(harness, device)


async def test_a_message_of_before_the_revoke_does_not_undo_what_was_asked_for_after_it() -> None:
    harness = Harness()
    device = await harness.make_ready()
    written_at = harness.clock.now()
    await harness.run_for(timedelta(minutes=1))
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    await harness.ask(connectedRegistry="planttwo")
    with pytest.raises(Refused) as refused:
        await harness.processes[0].onboarding.ask(
            harness.request(), requested_by="a queue", asked_at=written_at
        )
    assert refused.value.reason is Reason.OUT_OF_DATE


@pytest.mark.parametrize("created", [False, True], ids=["deleted", "created"])
async def test_a_event_that_comes_late_brings_nothing_back(
    created: bool,  # noqa: FBT001 - a table
) -> None:
    harness = Harness()
    device = harness.register()
    harness.opt_in(device)
    told_at = harness.clock.now()
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    await harness.handle(device, created=created, at=told_at)
    assert await stays_revoked(harness, device)
    del harness.cloud.devices[device]
    await harness.handle(device, created=created, at=told_at)
    assert await stays_revoked(harness, device)


async def test_an_appearance_does_not_bring_back_a_device_that_is_still_in_the_hub() -> None:
    policy = make_policy(
        defaultOnboarding={"connectedRegistry": "plantone", "repositories": ["plant/app"]}
    )
    harness = Harness(policy=policy)
    device = await revoked(harness)
    harness.opt_in(device)
    await harness.handle(device, created=True)
    assert await stays_revoked(harness, device)
    harness.cloud.change_identity(device, enabled=True)
    await harness.handle(device, created=True)
    await harness.processes[0].onboarding.introduce(harness.request(), requested_by="provisioning")
    report = await harness.sweep()
    assert report.onboarded == 0
    assert await stays_revoked(harness, device)


async def by_notice(harness: Harness, device: DeviceKey) -> None:
    await harness.handle(device, created=True)


async def by_sweep(harness: Harness, _: DeviceKey) -> None:
    assert (await harness.sweep()).onboarded == 1


@pytest.mark.parametrize("appear", [by_notice, by_sweep])
async def test_a_device_created_again_is_another_one_and_gets_its_own_password(
    appear: Callable[[Harness, DeviceKey], Awaitable[None]],
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    (first,) = harness.cloud.passwords_made
    del harness.cloud.devices[device]
    await harness.handle(device, created=False)
    await harness.run_for(SETTLED)
    assert harness.state(device) is State.REVOKED
    assert remains(harness, device) == []
    harness.cloud.register(device)
    harness.opt_in(device)
    await appear(harness, device)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.devices[device].held["plantone"] == harness.cloud.passwords_made[1]
    assert first not in harness.cloud.accepted(next(iter(harness.cloud.tokens)))


async def test_a_device_created_again_without_the_tag_stays_revoked() -> None:
    harness = Harness()
    device = await revoked(harness)
    harness.cloud.register(device)
    await harness.handle(device, created=True)
    await harness.sweep()
    assert await stays_revoked(harness, device)


async def test_a_device_deleted_and_created_before_anybody_looked_gets_another_password() -> None:
    """The notice of the deletion comes when there is a device of the name again."""
    harness = Harness()
    device = await harness.make_ready()
    (first,) = harness.cloud.passwords_made
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.handle(device, created=False)
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    (token,) = harness.cloud.tokens
    assert harness.cloud.accepted(token) == set(harness.cloud.passwords_made[1:])
    assert first not in harness.cloud.passwords_in_use()


async def test_a_device_revoked_after_it_was_created_again_stays_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    await harness.sweep()
    assert await stays_revoked(harness, device)


async def test_a_device_revoked_before_its_first_delivery_may_be_created_anew() -> None:
    harness = Harness()
    harness.cloud.connected[PLANT_ONE].login_server = None
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=1))
    assert harness.reason(device) is Reason.NO_ENDPOINT
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    harness.cloud.connected[PLANT_ONE].login_server = "plantone.site.example:8000"
    harness.cloud.register(device)
    harness.opt_in(device)
    await harness.handle(device, created=True)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_device_that_is_back_when_the_hub_is_asked_is_not_revoked() -> None:
    harness = Harness()
    device = await harness.make_ready()
    before = harness.cloud.record(device).spec.generation
    await harness.handle(device, created=False)
    await harness.run_until_quiet()
    assert harness.cloud.record(device).spec.generation == before
    assert harness.state(device) is State.READY


async def test_a_device_that_the_hub_never_had_is_waited_for_and_not_revoked() -> None:
    harness = Harness()
    device = (await harness.ask()).device
    await harness.handle(device, created=False)
    await harness.run_for(timedelta(minutes=10))
    assert harness.reason(device) is Reason.DEVICE_NOT_REGISTERED
    harness.register()
    await harness.run_for(timedelta(minutes=10))
    assert harness.state(device) is State.READY


async def test_reconcile_requests_of_before_the_revoke_do_nothing() -> None:
    harness = Harness()
    device = await revoked(harness)
    for _ in range(3):
        await harness.processes[0].application.ports.queue.put(device)
        assert await stays_revoked(harness, device)
        await harness.reconcile(device)
        assert await stays_revoked(harness, device)


async def test_a_tombstone_spares_a_token_that_another_device_adopted_since() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    make_by_hand(harness, "by-hand", HAND_MADE)
    device = harness.register()
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    make_by_hand(harness, "by-hand", "made again")
    other = harness.register("press-2")
    await harness.ask("press-2", adopt="by-hand")
    await harness.run_until_quiet()
    assert harness.reason(other) is Reason.ADOPTED
    await harness.handle(device, created=False)
    await harness.run_for(timedelta(minutes=5))
    assert harness.cloud.accepted("by-hand") == {"made again"}


async def test_a_device_revoked_before_anybody_reconciled_it_is_given_nothing() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    await harness.revoke(device)
    await harness.run_for(timedelta(hours=1))
    assert harness.state(device) is State.REVOKED
    assert not harness.cloud.writes()


async def test_a_device_revoked_while_it_waited_is_given_nothing_when_the_waiting_ends() -> None:
    harness = Harness()
    harness.cloud.connected[PLANT_ONE].login_server = None
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=1))
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=1))
    assert harness.state(device) is State.REVOKED
    harness.cloud.connected[PLANT_ONE].login_server = "plantone.site.example:8000"
    await harness.run_for(timedelta(hours=1))
    assert not harness.cloud.writes()


async def test_a_device_that_began_anew_and_was_revoked_at_once_is_given_nothing() -> None:
    harness = Harness()
    device = await revoked(harness)
    await harness.ask()
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=10))
    assert remains(harness, device) == []
    assert len(harness.cloud.passwords_made) == 1


async def test_a_dry_run_of_the_revoke_of_a_device_that_has_nothing_tells_of_nothing() -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    application = harness.processes[0].application
    proposed = await application.revoking.propose(device, requested_by="a test")
    assert (await application.dry_run.plan_for(proposed)).actions == ()


Scenario = Callable[[Harness], Awaitable[DeviceKey]]


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


@pytest.mark.parametrize("course", [onboarding, move, rotation, re_creation])
async def test_a_revoke_at_any_moment_leaves_nothing(scenario: Scenario) -> None:
    number, cut_in = 0, True
    while cut_in:
        number += 1
        harness = Harness(sync_every=timedelta(seconds=6))
        device = await scenario(harness)

        async def revoke(harness: Harness = harness, device: DeviceKey = device) -> None:
            await harness.revoke(device)

        with harness.at_call(number, revoke) as tasks:
            await harness.run_for(timedelta(seconds=40))
        cut_in = bool(tasks)
        if cut_in:
            await tasks[0]
            await harness.run_for(timedelta(minutes=10))
            assert harness.state(device) is State.REVOKED
            assert remains(harness, device) == []
            assert harness.cloud.record(device).claim is None
            before = harness.cloud.writes()
            await harness.run_for(timedelta(minutes=10))
            assert harness.cloud.writes() == before
    assert number > 30


async def test_a_request_at_any_moment_of_a_revoke_begins_anew() -> None:
    number, cut_in = 0, True
    while cut_in:
        number += 1
        harness = Harness(sync_every=timedelta(seconds=6))
        device = await harness.make_ready()
        await harness.revoke(device)

        async def ask(harness: Harness = harness) -> None:
            await harness.ask()

        with harness.at_call(number, ask) as tasks:
            await harness.run_for(timedelta(seconds=3))
        cut_in = bool(tasks)
        if cut_in:
            await tasks[0]
            await harness.run_until_quiet()
            first, second = harness.cloud.passwords_made
            assert harness.state(device) is State.READY
            assert harness.cloud.devices[device].held == {"plantone": second}
            assert harness.cloud.accepted(next(iter(harness.cloud.tokens))) == {second}
            assert first not in harness.cloud.passwords_in_use()
    assert number > 20


@pytest.mark.parametrize("course", [onboarding, move, rotation, re_creation])
async def test_a_revoke_in_a_storm_of_faults_leaves_nothing(scenario: Scenario) -> None:
    met = 0
    for seed in range(6):
        chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        harness = Harness(processes=2, sync_every=timedelta(seconds=6))
        device = await scenario(harness)
        begun = len(harness.cloud.calls)
        harness.cloud.faults = {
            begun + number: Fault(kind=chance.choice(list(FaultKind)), after=chance.random() < 0.5)
            for number in range(1, 120)
            if chance.random() < 0.12
        }
        await harness.run_for(timedelta(seconds=chance.randrange(8)))
        await harness.revoke(device)
        await harness.run_for(timedelta(minutes=45))
        met += harness.cloud.faults_met
        assert harness.state(device) is State.REVOKED
        assert remains(harness, device) == []
    assert met > 20


async def test_revokes_and_requests_that_come_together_end_as_one_of_them() -> None:
    """Whichever was recorded last: nothing in between."""
    ends = set()
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        harness = Harness(processes=3, sync_every=timedelta(seconds=6))
        device = await harness.make_ready()

        async def one(
            number: int, delay: float, harness: Harness = harness, device: DeviceKey = device
        ) -> None:
            await harness.clock.sleep(delay)
            await (harness.revoke(device) if number % 2 else harness.ask())

        await asyncio.gather(*(one(number, chance.random() / 10) for number in range(6)))
        await harness.run_for(timedelta(minutes=30))
        state = harness.state(device)
        ends.add(state)
        is_revoked = harness.cloud.record(device).spec.revocation is not None
        assert state is (State.REVOKED if is_revoked else State.READY)
        assert bool(remains(harness, device)) is not is_revoked
    assert ends == {State.READY, State.REVOKED}


async def test_what_was_issued_before_is_not_accepted_after_the_next_sync() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(minutes=1))
    harness.cloud.sync(PLANT_ONE)
    await harness.run_until_quiet()
    username = harness.cloud.twin_entry(device, PLANT_ONE)["username"]
    password = harness.cloud.devices[device].held["plantone"]
    await harness.revoke(device)
    await harness.run_for(SETTLED)
    assert harness.cloud.accepted(username) == set()
    assert harness.cloud.site_accepts(PLANT_ONE, username, password)
    harness.cloud.sync(PLANT_ONE)
    assert not harness.cloud.site_accepts(PLANT_ONE, username, password)
