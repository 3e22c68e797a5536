"""A token that exists already, taken over with the password that its device has."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotAllowed, Refused
from firstpull.model.ports import Page, Query
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import remains
from tests.firstpull.harness import OUR_PREFIX, PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import make_by_hand
from tests.world.storage import FakeRecords

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BY_HAND = "by-hand"
ADOPTING = make_policy(adoptableTokens=[BY_HAND, "fp-*", "plant*"])
ONE_CLIENT = make_policy(
    adoptableTokens=[BY_HAND], connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[]
)


def with_token(*, processes: int = 1) -> Harness:
    """A world in which somebody made a token, a client of the first connected registry."""
    harness = Harness(policy=ADOPTING, processes=processes)
    make_by_hand(harness, BY_HAND)
    return harness


async def ask(
    harness: Harness, token: str = BY_HAND, *, device_id: str = "press-1", play: timedelta = HOUR
) -> DeviceKey:
    """Ask for a device with a token, and play on."""
    device = harness.register(device_id)
    await harness.ask(device_id, adopt=token)
    await harness.run_for(play)
    return device


async def adopted(harness: Harness) -> DeviceKey:
    """A device whose token was taken over."""
    device = await ask(harness, play=5 * MINUTE)
    assert harness.reason(device) is Reason.ADOPTED
    return device


def hand_made(harness: Harness) -> set[str]:
    """The passwords that the token has had by hand."""
    return {*harness.cloud.passwords[REGISTRY, BY_HAND]} - {*harness.cloud.passwords_made}


def give_second_password(harness: Harness) -> None:
    """Make another endless password by hand."""
    harness.cloud.generate(REGISTRY, BY_HAND, Slot.TWO)


def assert_has_our_password_only(harness: Harness, device: DeviceKey) -> None:
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert harness.cloud.accepted(BY_HAND) == {harness.cloud.passwords_made[-1]}
    assert not harness.cloud.record(device).status.adopted


async def test_an_adopted_token_keeps_its_password_for_months_and_the_twin_stays_empty() -> None:
    harness = with_token()
    device = await adopted(harness)
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert record.is_converged
    assert record.status.adopted
    assert grant_of(record).names.token == BY_HAND
    before = harness.cloud.writes()
    for _ in range(3):
        harness.clock.advance(60 * DAY)
        await harness.run_for(HOUR)
    assert harness.cloud.writes() == before
    assert harness.reason(device) is Reason.ADOPTED
    assert harness.cloud.accepted(BY_HAND) == hand_made(harness)
    assert harness.cloud.twin_entry(device, PLANT_ONE) == {}
    assert not any(v.enabled for found in harness.cloud.secrets.values() for v in found)
    assert set(harness.cloud.tokens) == {BY_HAND}


async def test_an_adopted_token_reaches_the_repositories_asked_for() -> None:
    harness = with_token()
    harness.register()
    await harness.ask(adopt=BY_HAND, repositories=["plant/other"])
    await harness.run_until_quiet()
    assert harness.cloud.actions(BY_HAND) == {"repositories/plant/other/content/read"}


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([BY_HAND], Reason.ADOPTED),
        ([], Reason.ADOPTED),
        (["foreign"], Reason.CONNECTED_REGISTRY_FULL),
    ],
)
async def test_only_a_token_that_is_not_listed_needs_room(
    listed: list[str], reason: Reason
) -> None:
    harness = Harness(policy=ONE_CLIENT)
    make_by_hand(harness, BY_HAND)
    harness.cloud.add_token("foreign")
    harness.cloud.put_clients(PLANT_ONE, *listed)
    device = await ask(harness)
    assert harness.reason(device) is reason
    assert harness.cloud.clients(PLANT_ONE) == (listed or [BY_HAND])
    assert len(harness.cloud.list_sizes) == (not listed)


async def test_a_token_without_any_password_gets_one_delivered() -> None:
    harness = with_token()
    harness.cloud.registry().update_token(BY_HAND, keep_passwords=())
    device = await ask(harness)
    assert_has_our_password_only(harness, device)


async def test_an_adopted_token_deleted_by_hand_is_made_anew_with_a_password() -> None:
    harness = with_token()
    device = await adopted(harness)
    harness.cloud.delete_token(BY_HAND)
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)


@pytest.mark.parametrize("immediately", [False, True])
async def test_the_first_rotation_replaces_the_hand_made_password(*, immediately: bool) -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.rotate(device, immediately=immediately)
    await harness.run_until_quiet()
    assert_has_our_password_only(harness, device)
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[0]}
    harness.must_stay_logged_in.add(device)
    harness.clock.advance(60 * DAY)
    await harness.run_for(6 * HOUR)
    assert len(harness.cloud.passwords_made) == 2


async def test_the_hand_made_password_stays_until_the_device_has_logged_in() -> None:
    harness = with_token()
    device = await adopted(harness)
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(6 * HOUR)
    assert harness.state(device) is State.DELIVERED
    delivery = harness.cloud.record(device).status.delivery
    assert delivery is not None
    assert delivery.slot is Slot.TWO
    assert hand_made(harness) <= harness.cloud.accepted(BY_HAND)


async def test_two_endless_passwords_leave_no_slot_until_one_is_deleted() -> None:
    harness = with_token()
    device = await adopted(harness)
    give_second_password(harness)
    await harness.rotate(device)
    await harness.run_for(HOUR)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.WAITING, Reason.NO_FREE_SLOT)
    assert condition.remedy
    assert harness.cloud.accepted(BY_HAND) == hand_made(harness)
    harness.cloud.registry().update_token(BY_HAND, keep_passwords=["password2"])
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.passwords_made[0] in harness.cloud.accepted(BY_HAND)


async def test_two_endless_passwords_end_with_an_immediate_rotation() -> None:
    harness = with_token()
    device = await adopted(harness)
    give_second_password(harness)
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()
    assert_has_our_password_only(harness, device)


async def test_a_token_that_does_not_exist_is_waited_for_and_not_made() -> None:
    harness = Harness(policy=ADOPTING)
    device = await ask(harness)
    assert harness.state(device) is State.BLOCKED
    assert harness.reason(device) is Reason.TOKEN_NOT_FOUND
    assert not harness.cloud.writes()
    make_by_hand(harness, BY_HAND)
    await harness.run_for(2 * HOUR)
    assert harness.reason(device) is Reason.ADOPTED


async def test_a_token_that_another_device_adopted_is_free_after_its_revoke() -> None:
    harness = with_token()
    first = await adopted(harness)
    second = await ask(harness, device_id="press-2")
    assert harness.state(second) is State.BLOCKED
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS
    assert harness.cloud.accepted(BY_HAND) == hand_made(harness)
    await harness.revoke(first)
    await harness.run_for(30 * MINUTE)
    make_by_hand(harness, BY_HAND)
    await harness.run_for(2 * HOUR)
    assert harness.reason(second) is Reason.ADOPTED


async def test_a_token_that_another_device_is_leaving_is_not_taken() -> None:
    harness = with_token()
    await adopted(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    second = await ask(harness, device_id="press-2", play=MINUTE)
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS


async def test_the_token_of_another_device_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the page of records that names it comes after an empty one."""
    harness = with_token()
    await harness.make_ready("press-2")
    (made,) = (name for name in harness.cloud.tokens if name.startswith(OUR_PREFIX))
    page = FakeRecords.page

    async def page_after_an_empty_one(records: FakeRecords, query: Query) -> Page:
        if query.token is not None and query.after is None:
            return Page(records=(), next_page="0")
        return await page(records, query)

    monkeypatch.setattr(FakeRecords, "page", page_after_an_empty_one)
    harness.register()
    device = (await harness.ask(connectedRegistry="planttwo", adopt=made)).device
    await harness.run_for(MINUTE)
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS


async def test_a_connected_registrys_own_token_is_not_taken() -> None:
    harness = with_token()
    device = await ask(harness, "planttwo")
    assert harness.state(device) is State.BLOCKED
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS
    assert not harness.cloud.writes()


async def test_of_two_devices_that_ask_for_one_token_at_once_one_gets_it() -> None:
    harness = with_token(processes=2)
    for device_id in ("press-1", "press-2"):
        harness.register(device_id)
    await asyncio.gather(*(harness.ask(d, adopt=BY_HAND) for d in ("press-1", "press-2")))
    await harness.run_for(HOUR)
    reasons = sorted(record.status.condition.reason for record in harness.cloud.all_records())
    assert reasons == [Reason.ADOPTED, Reason.TOKEN_NOT_OURS]


@pytest.mark.parametrize("token", ["by-hand-2", "other", "By-Hand"])
async def test_a_request_for_a_token_that_the_policy_does_not_list_is_refused(token: str) -> None:
    harness = with_token()
    with pytest.raises(NotAllowed) as refused:
        await harness.ask(adopt=token)
    assert [error.path for error in refused.value.errors] == ["/adopt"]
    assert harness.cloud.calls == []


@pytest.mark.parametrize("target", ["plantone", "planttwo"])
async def test_a_device_with_a_token_of_its_own_cannot_adopt_one(target: str) -> None:
    harness = with_token()
    await harness.make_ready()
    with pytest.raises(Refused) as refused:
        await harness.ask(adopt=BY_HAND, connectedRegistry=target)
    assert refused.value.reason is Reason.DEVICE_HAS_TOKEN


async def test_asking_again_with_the_token_or_without_changes_nothing() -> None:
    harness = with_token()
    device = await adopted(harness)
    before = harness.cloud.writes()
    assert (await harness.ask(adopt=BY_HAND)).spec.generation == 1
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ADOPTED
    assert grant_of(harness.cloud.record(device)).names.token == BY_HAND
    assert harness.cloud.writes() == before


async def test_a_device_whose_token_exists_already_may_adopt_it() -> None:
    harness, other = with_token(), Harness()
    await other.make_ready()
    (made,) = other.cloud.tokens
    make_by_hand(harness, made)
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS
    await harness.ask(adopt=made)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ADOPTED


async def test_a_device_created_again_does_not_get_the_hand_made_password() -> None:
    harness = with_token()
    device = await adopted(harness)
    harness.cloud.register(device)
    await harness.ask(adopt="by-hand")
    await harness.run_until_quiet()
    assert_has_our_password_only(harness, device)


@pytest.mark.parametrize("later", [5 * MINUTE, DAY], ids=["soon", "a day later"])
async def test_a_revoke_deletes_the_token_and_spares_one_that_is_made_later(
    later: timedelta,
) -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.revoke(device)
    await harness.run_for(later)
    assert harness.cloud.record(device).is_tombstone
    assert set(harness.cloud.tokens) == remains(harness.cloud, device) == set()
    again = make_by_hand(harness, BY_HAND)
    await harness.run_for(HOUR)
    harness.cloud.unregister(device)
    await harness.handle(device, created=False)
    await harness.run_for(HOUR)
    assert harness.cloud.accepted(BY_HAND) == {again}


async def test_a_move_with_the_adopted_token_delivers_a_password() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(adopt=BY_HAND, connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert_has_our_password_only(harness, device)
    assert grant_of(harness.cloud.record(device)).names.token == BY_HAND
    assert harness.cloud.twin_entry(device, PLANT_TWO)["username"] == BY_HAND
    assert harness.cloud.clients(PLANT_ONE) == []


async def test_a_move_without_the_adopted_token_gives_the_device_a_token_of_its_own() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert BY_HAND not in harness.cloud.tokens
    assert harness.cloud.clients(PLANT_ONE) == []
    assert harness.cloud.record(device).status.retiring == ()


async def test_there_and_back_without_the_adopted_token_does_not_forget_it() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.ask()
    await harness.run_until_quiet()
    names = {grant.names.token for grant in harness.cloud.record(device).grants}
    assert BY_HAND in names or BY_HAND not in harness.cloud.tokens


async def test_the_end_of_a_hand_made_password_is_warned_of_and_then_another_is_delivered() -> None:
    harness = Harness(policy=ADOPTING)
    end = harness.clock.now() + 4 * DAY
    make_by_hand(harness, BY_HAND, expires_at=end)
    device = await adopted(harness)
    await harness.run_for(2 * DAY)
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == ()
    await harness.run_for(1.5 * DAY)
    await harness.sweep()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
    await harness.run_until(lambda: harness.clock.now() > end + 5 * MINUTE, DAY)
    assert len(harness.cloud.accepted(BY_HAND)) == 1
    assert harness.cloud.twin_entry(device, PLANT_ONE)
