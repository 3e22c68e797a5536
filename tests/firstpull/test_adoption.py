"""A token that is there already, taken over with the password that its device has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import NewPassword, ScopeMap, Slot, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotAllowed, Refused
from firstpull.model.ports import Page, Query
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from tests.firstpull.fakes import FakeRecords, FakeToken, name_in
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.records import grant_of
from tests.firstpull.scenarios import HAND_MADE, make_by_hand

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BY_HAND = "by-hand"
ADOPTING = make_policy(adoptableTokens=[BY_HAND, "plant*"])


def with_token(**changes: object) -> Harness:
    """A world in which a token was made by hand, and is a client of the first place."""
    harness = Harness(policy=make_policy(adoptableTokens=[BY_HAND, "fp-*", "plant*"], **changes))
    make_by_hand(harness, BY_HAND, HAND_MADE)
    return harness


async def adopted(harness: Harness, device_id: str = "press-1") -> DeviceKey:
    """A device whose token was taken over."""
    device = harness.register(device_id)
    await harness.ask(device_id, adopt=BY_HAND)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ADOPTED
    return device


def clients(harness: Harness) -> list[str]:
    return [name_in(token_id) for token_id in harness.cloud.connected[PLANT_ONE].clients]


def give_password(harness: Harness, slot: Slot, value: str) -> None:
    """Make a password by hand that never ends."""
    made = NewPassword(
        slot=slot, created_at=harness.clock.now(), expires_at=None, value=Secret(value)
    )
    harness.cloud.tokens[BY_HAND].passwords[slot] = made


async def test_the_password_and_the_twin_are_left_alone() -> None:
    harness = with_token()
    device = await adopted(harness)
    record = harness.cloud.record(device)
    assert record.status.condition.state is State.READY
    assert record.is_converged
    assert record.status.adopted
    assert grant_of(record).names.token == BY_HAND
    assert harness.cloud.accepted(BY_HAND) == {HAND_MADE}
    assert harness.cloud.twin_entry(device, PLANT_ONE) == {}
    assert harness.cloud.passwords_made == []
    assert harness.cloud.secrets == {}
    assert set(harness.cloud.tokens) == {BY_HAND}


async def test_it_stays_so_for_months() -> None:
    harness = with_token()
    device = await adopted(harness)
    before = harness.cloud.writes()
    for _ in range(4):
        harness.clock.advance(timedelta(days=60))
        await harness.run_for(HOUR)
    assert harness.cloud.writes() == before
    assert harness.reason(device) is Reason.ADOPTED


async def test_it_reaches_what_was_asked_for_from_then_on() -> None:
    harness = with_token()
    await harness.ask(adopt=BY_HAND, repositories=["plant/other"])
    harness.register()
    await harness.run_until_quiet()
    scope_map = name_in(harness.cloud.tokens[BY_HAND].scope_map_id)
    actions = harness.cloud.scope_maps[scope_map].actions
    assert actions == {"repositories/plant/other/content/read"}


async def test_a_token_that_is_listed_needs_no_room() -> None:
    harness = with_token(connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[])
    device = await adopted(harness)
    assert clients(harness) == [BY_HAND]
    assert harness.state(device) is State.READY
    assert not harness.cloud.writes()["registries.replace_client_tokens"]


async def test_a_token_that_is_not_listed_needs_room() -> None:
    harness = with_token(connectedRegistries=[{"name": "plantone", "capacity": 1}], sites=[])
    harness.cloud.tokens["foreign"] = FakeToken(ScopeMapId("someone's"))
    foreign = REGISTRY.token("foreign")
    harness.cloud.connected[PLANT_ONE].clients = [foreign]
    device = harness.register()
    await harness.ask(adopt=BY_HAND)
    await harness.run_for(HOUR)
    assert harness.reason(device) is Reason.CONNECTED_REGISTRY_FULL
    assert clients(harness) == ["foreign"]


async def test_a_token_that_is_not_listed_joins_where_there_is_room() -> None:
    harness = with_token()
    harness.cloud.connected[PLANT_ONE].clients.clear()
    await adopted(harness)
    assert clients(harness) == [BY_HAND]


async def test_a_token_without_any_password_gets_one_delivered() -> None:
    harness = with_token()
    harness.cloud.tokens[BY_HAND].passwords.clear()
    device = harness.register()
    await harness.ask(adopt=BY_HAND)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)
    assert not harness.cloud.record(device).status.adopted


async def test_a_token_deleted_by_hand_is_made_anew_with_a_password() -> None:
    harness = with_token()
    device = await adopted(harness)
    del harness.cloud.tokens[BY_HAND]
    harness.cloud.connected[PLANT_ONE].clients.clear()
    await harness.reconcile(device)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)


async def test_the_first_rotation_delivers_a_password_of_firstpulls() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.rotate(device)
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert record.status.condition.reason is Reason.ACKNOWLEDGED
    assert not record.status.adopted
    assert record.status.delivery is not None
    assert record.status.delivery.slot is Slot.TWO
    assert harness.cloud.devices[device].held == {"plantone": harness.cloud.passwords_made[0]}


async def test_the_password_of_before_is_left_until_the_device_has_logged_in() -> None:
    harness = with_token()
    device = await adopted(harness)
    harness.devices_answer = False
    await harness.rotate(device)
    await harness.run_for(timedelta(days=3))
    assert harness.state(device) is State.DELIVERED
    assert HAND_MADE in harness.cloud.accepted(BY_HAND)


async def test_the_password_of_before_goes_when_the_device_has_logged_in() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.rotate(device)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)


async def test_an_adopted_device_that_was_rotated_is_renewed_like_any_other() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.rotate(device)
    await harness.run_until_quiet()
    harness.must_stay_logged_in.add(device)
    harness.clock.advance(timedelta(days=60))
    await harness.run_for(timedelta(hours=6))
    assert len(harness.cloud.passwords_made) == 2


async def test_the_password_of_before_goes_when_a_move_is_over() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(adopt=BY_HAND, connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)


async def test_immediately_ends_the_password_of_before_at_once() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)
    assert harness.state(device) is State.READY


async def test_two_passwords_that_never_end_leave_no_slot_until_one_is_deleted() -> None:
    harness = with_token()
    device = await adopted(harness)
    give_password(harness, Slot.TWO, "the other")
    await harness.rotate(device)
    await harness.run_for(HOUR)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.WAITING, Reason.NO_FREE_SLOT)
    assert condition.remedy
    assert harness.cloud.accepted(BY_HAND) == {HAND_MADE, "the other"}
    del harness.cloud.tokens[BY_HAND].passwords[Slot.ONE]
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert harness.cloud.passwords_made[0] in harness.cloud.accepted(BY_HAND)


async def test_two_passwords_that_never_end_yield_to_a_rotation_at_once() -> None:
    harness = with_token()
    device = await adopted(harness)
    give_password(harness, Slot.TWO, "the other")
    await harness.rotate(device, immediately=True)
    await harness.run_until_quiet()
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)
    assert harness.state(device) is State.READY


async def test_a_token_that_does_not_exist_is_not_made() -> None:
    harness = Harness(policy=ADOPTING)
    device = harness.register()
    await harness.ask(adopt=BY_HAND)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.BLOCKED
    assert harness.reason(device) is Reason.TOKEN_NOT_FOUND
    assert not harness.cloud.writes()
    make_by_hand(harness, BY_HAND, HAND_MADE)
    await harness.run_for(2 * HOUR)
    assert harness.reason(device) is Reason.ADOPTED


async def test_a_token_that_another_record_names_is_not_taken() -> None:
    harness = with_token()
    first = await adopted(harness)
    second = harness.register("press-2")
    await harness.ask("press-2", adopt=BY_HAND)
    await harness.run_for(HOUR)
    assert harness.state(second) is State.BLOCKED
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS
    assert harness.cloud.accepted(BY_HAND) == {HAND_MADE}
    await harness.revoke(first)
    await harness.run_for(timedelta(minutes=30))
    make_by_hand(harness, BY_HAND, "made again")
    await harness.run_for(2 * HOUR)
    assert harness.reason(second) is Reason.ADOPTED


async def test_a_token_that_firstpull_made_for_another_device_is_not_taken() -> None:
    harness = with_token()
    await harness.make_ready("press-2")
    (made,) = (name for name in harness.cloud.tokens if name.startswith("fp-"))
    device = harness.register()
    await harness.ask(adopt=made)
    await harness.run_for(HOUR)
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS


async def test_the_token_of_a_connected_registry_itself_is_not_taken() -> None:
    harness = with_token()
    harness.cloud.scope_maps["plantone"] = ScopeMap(name="plantone", actions=frozenset())
    harness.cloud.tokens["planttwo"] = FakeToken(REGISTRY.scope_map("plantone"))
    device = harness.register()
    await harness.ask(adopt="planttwo")
    await harness.run_for(HOUR)
    assert harness.state(device) is State.BLOCKED
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS
    assert not harness.cloud.writes()


@pytest.mark.parametrize("token", ["by-hand-2", "other", "By-Hand"])
async def test_a_token_that_the_policy_does_not_list_is_refused_at_the_endpoint(token: str) -> None:
    harness = Harness(policy=ADOPTING)
    with pytest.raises(NotAllowed) as refused:
        await harness.ask(adopt=token)
    assert [error.path for error in refused.value.errors] == ["/adopt"]
    assert harness.cloud.calls == []


async def test_a_device_with_a_token_of_its_own_is_told_to_give_it_up_first() -> None:
    harness = with_token()
    await harness.make_ready()
    with pytest.raises(Refused) as refused:
        await harness.ask(adopt=BY_HAND)
    assert refused.value.reason is Reason.DEVICE_HAS_TOKEN


async def test_asking_again_changes_nothing_with_the_token_or_without() -> None:
    harness = with_token()
    device = await adopted(harness)
    before = harness.cloud.writes()
    assert (await harness.ask(adopt=BY_HAND)).spec.generation == 1
    await harness.ask()
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert record.status.condition.reason is Reason.ADOPTED
    assert grant_of(record).names.token == BY_HAND
    assert harness.cloud.writes() == before


async def test_a_device_waiting_for_a_person_over_its_token_may_adopt_it() -> None:
    harness = with_token()
    other = Harness()
    await other.make_ready()
    (made,) = other.cloud.tokens
    harness.cloud.tokens[made] = harness.cloud.tokens[BY_HAND]
    device = harness.register()
    await harness.ask()
    await harness.run_for(MINUTE)
    assert harness.reason(device) is Reason.TOKEN_NOT_OURS
    await harness.ask(adopt=made)
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ADOPTED


async def test_a_device_created_again_does_not_get_the_password_of_before() -> None:
    harness = with_token()
    device = await adopted(harness)
    harness.cloud.register(device)
    harness.make_due(device)
    await harness.run_until_quiet()
    assert harness.cloud.accepted(BY_HAND) == set(harness.cloud.passwords_made)
    assert harness.state(device) is State.READY


async def test_a_revoke_takes_the_adopted_token_away() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.revoke(device)
    await harness.run_for(timedelta(minutes=20))
    assert harness.state(device) is State.REVOKED
    assert BY_HAND not in harness.cloud.tokens
    assert clients(harness) == []


async def test_a_move_with_the_adopted_token_tells_the_device_a_password() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(adopt=BY_HAND, connectedRegistry="planttwo")
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert record.status.condition.reason is Reason.ACKNOWLEDGED
    assert grant_of(record).names.token == BY_HAND
    assert harness.cloud.twin_entry(device, PLANT_TWO)["username"] == BY_HAND
    assert clients(harness) == []


async def test_a_move_without_it_gives_the_device_a_token_of_its_own() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_until_quiet()
    assert harness.reason(device) is Reason.ACKNOWLEDGED
    assert BY_HAND not in harness.cloud.tokens
    assert clients(harness) == []
    assert harness.cloud.record(device).status.retiring == ()


async def test_there_and_back_without_it_does_not_forget_the_adopted_token() -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.ask(connectedRegistry="planttwo")
    await harness.ask()
    await harness.run_until_quiet()
    names = {grant.names.token for grant in harness.cloud.record(device).grants}
    assert BY_HAND in names or BY_HAND not in harness.cloud.tokens


async def test_two_devices_that_ask_for_one_token_at_once_do_not_both_get_it() -> None:
    harness = Harness(policy=ADOPTING, processes=2)
    make_by_hand(harness, BY_HAND, HAND_MADE)
    for device_id in ("press-1", "press-2"):
        harness.register(device_id)
    await asyncio.gather(*(harness.ask(d, adopt=BY_HAND) for d in ("press-1", "press-2")))
    await harness.run_for(HOUR)
    reasons = sorted(record.status.condition.reason for record in harness.cloud.all_records())
    assert reasons == [Reason.ADOPTED, Reason.TOKEN_NOT_OURS]


async def test_a_token_that_another_device_is_leaving_is_not_taken() -> None:
    harness = with_token()
    await adopted(harness)
    harness.devices_answer = False
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(MINUTE)
    second = harness.register("press-2")
    await harness.ask("press-2", adopt=BY_HAND)
    await harness.run_for(MINUTE)
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS


@pytest.mark.parametrize("later", [5 * MINUTE, 21 * DAY], ids=["soon", "weeks later"])
async def test_a_token_of_the_name_that_is_made_again_after_the_revoke_is_left_alone(
    later: timedelta,
) -> None:
    harness = with_token()
    device = await adopted(harness)
    await harness.revoke(device)
    await harness.run_for(later)
    assert harness.cloud.record(device).is_tombstone
    make_by_hand(harness, BY_HAND, "made again")
    await harness.run_for(HOUR)
    del harness.cloud.devices[device]
    await harness.handle(device, created=False)
    await harness.run_for(HOUR)
    assert harness.cloud.accepted(BY_HAND) == {"made again"}


async def test_a_token_is_taken_though_the_page_that_says_so_comes_after_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["*"]))
    names = grant_of(harness.cloud.record(await harness.make_ready("press-2"))).names
    assert names is not None
    page = FakeRecords.page

    async def page_after_an_empty_one(records: FakeRecords, query: Query) -> Page:
        if query.token is not None and query.after is None:
            return Page(records=(), next_page="0")
        return await page(records, query)

    monkeypatch.setattr(FakeRecords, "page", page_after_an_empty_one)
    second = harness.register("press-1")
    await harness.ask("press-1", connectedRegistry="planttwo", adopt=names.token)
    await harness.run_for(HOUR)
    assert harness.reason(second) is Reason.TOKEN_NOT_OURS


async def test_a_password_that_ends_is_warned_of_and_replaced_at_its_end() -> None:
    harness = with_token()
    end = harness.clock.now() + 30 * DAY
    token = harness.cloud.tokens[BY_HAND]
    token.passwords = {s: replace(p, expires_at=end) for s, p in token.passwords.items()}
    device = await adopted(harness)
    await harness.run_for(20 * DAY)
    await harness.sweep()
    assert harness.cloud.record(device).status.warnings == ()
    await harness.run_for(9 * DAY)
    await harness.sweep()
    (warning,) = harness.cloud.record(device).status.warnings
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
    await harness.run_until(lambda: harness.clock.now() > end + 5 * MINUTE, 2 * DAY)
    assert len(harness.cloud.accepted(BY_HAND)) == 1
    assert harness.cloud.twin_entry(device, PLANT_ONE)
