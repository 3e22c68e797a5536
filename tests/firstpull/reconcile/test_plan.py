from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import ScopeMap, ScopeMapId, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Rotation, State, TokenSlot
from firstpull.model.ledger import Standing
from firstpull.model.password_slots import SYNC_MARGIN, renewal_time
from firstpull.model.reasons import Reason
from firstpull.reconcile.actions import Deliver, GeneratePassword, ReserveRoom
from firstpull.reconcile.plan import Plan, is_still_unacknowledged, make_plan
from tests.firstpull.builders import (
    DEVICE,
    INTENT,
    LOGGED_IN,
    MADE,
    NEW,
    NOW,
    PASSWORD,
    READY,
    SCOPE_MAP,
    SCOPE_MAP_ID,
    TOKEN_ID,
    World,
    contents,
    credential,
    desired,
    edited,
    password,
    record,
    reported,
    secret_version,
    token,
)
from tests.firstpull.harness import HUB, PLANT_ONE, REGISTRY, VALIDITY, make_policy
from tests.firstpull.records import blocker_of, changed, provision

type Change = dict[str, Any]
FOREIGN = tuple(REGISTRY.token(f"foreign{n}") for n in range(50))
NOT_LISTED = make_policy(connectedRegistries=[{"name": "planttwo"}], sites=[])
ENDPOINT = make_policy(connectedRegistries=[{"name": "plantone", "endpoint": "edge:1"}], sites=[])
WITH_CA = make_policy(
    connectedRegistries=[{"name": "plantone", "ca": "-----BEGIN CERTIFICATE-----"}], sites=[]
)
CLOUDS_OWN: Change = {"login_server": f"{REGISTRY.name}.azurecr.io"}
HOUR = timedelta(hours=1)
RENEW = renewal_time(credential(), DEVICE).replace(microsecond=0) + timedelta(seconds=1)
SECOND = password(Slot.TWO, made=RENEW)
BOTH: Change = {
    "token": token(password(), SECOND),
    "secrets": (secret_version(), secret_version("v2", of=SECOND)),
}
ANOTHER_DEVICE: Change = {"generation_id": "g2", "desired": {}, "reported": {}}
NEW_PASSWORD = ["GeneratePassword", "Deliver"]
REPLACED_PASSWORD = [*NEW_PASSWORD, "DisableSecretVersion"]


def plan_for(world: World, *, now: datetime = NOW, **changes: Any) -> Plan:  # noqa: ANN401 - fields of World
    return make_plan(world.observed(**changes), now=now, validity=VALIDITY)


def kinds(world: World, *, now: datetime = NOW, **changes: Any) -> list[str]:  # noqa: ANN401 - likewise
    """The plan's actions by name; each says why it is there."""
    plan = plan_for(world, now=now, **changes)
    assert blocker_of(plan) is None
    assert all(action.why for action in plan.actions)
    return [type(action).__name__ for action in plan.actions]


PRECONDITIONS: dict[str, tuple[World, Change, State, Reason]] = {
    "not registered": (NEW, {"registered": False}, State.WAITING, Reason.DEVICE_NOT_REGISTERED),
    "deleted": (READY, {"registered": False}, State.WAITING, Reason.DEVICE_NOT_REGISTERED),
    "disabled": (READY, {"enabled": False}, State.WAITING, Reason.DEVICE_DISABLED),
    "no connected registry": (
        NEW,
        {"there": False},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_NOT_FOUND,
    ),
    "connected registry deleted": (
        READY,
        {"there": False},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_NOT_FOUND,
    ),
    "not in the policy": (NEW, {"policy": NOT_LISTED}, State.BLOCKED, Reason.NOT_ALLOWED),
    "no longer in the policy": (READY, {"policy": NOT_LISTED}, State.BLOCKED, Reason.NOT_ALLOWED),
    "no address": (NEW, {"login_server": None}, State.BLOCKED, Reason.NO_ENDPOINT),
    "the cloud's own login server": (NEW, CLOUDS_OWN, State.BLOCKED, Reason.NO_ENDPOINT),
    "a login server with a scheme": (
        NEW,
        {"login_server": "https://plantone.site.example"},
        State.BLOCKED,
        Reason.NO_ENDPOINT,
    ),
    "a login server that is no host": (
        NEW,
        {"login_server": "pending"},
        State.BLOCKED,
        Reason.NO_ENDPOINT,
    ),
    "address lost": (READY, {"login_server": None}, State.BLOCKED, Reason.NO_ENDPOINT),
    "full": (NEW, {"listed": FOREIGN}, State.BLOCKED, Reason.CONNECTED_REGISTRY_FULL),
    "thrown out of a full one": (
        READY,
        {"listed": FOREIGN, "standing": None},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_FULL,
    ),
    "another deployment's entry": (
        NEW,
        {"desired": desired(contents(username="fp-theirs"))},
        State.BLOCKED,
        Reason.TWIN_ENTRY_NOT_OURS,
    ),
    "an entry of another deployment in place of ours": (
        READY,
        {"desired": desired(contents(username="fp-theirs"))},
        State.BLOCKED,
        Reason.TWIN_ENTRY_NOT_OURS,
    ),
    "somebody else's token": (NEW, {"token": token()}, State.BLOCKED, Reason.TOKEN_NOT_OURS),
    "other repositories synced": (
        NEW,
        {"synced_actions": frozenset({"repositories/other/*/content/read"})},
        State.BLOCKED,
        Reason.REPOSITORIES_NOT_SYNCED,
    ),
    "nothing synced": (
        NEW,
        {"synced_actions": frozenset()},
        State.BLOCKED,
        Reason.REPOSITORIES_NOT_SYNCED,
    ),
    "both passwords live, neither stored": (
        READY,
        {"token": token(password(), SECOND), "secrets": ()},
        State.WAITING,
        Reason.NO_FREE_SLOT,
    ),
    "the device before the connected registry": (
        NEW,
        {"registered": False, "there": False, "token": token()},
        State.WAITING,
        Reason.DEVICE_NOT_REGISTERED,
    ),
    "the connected registry before the token": (
        NEW,
        {"listed": FOREIGN, "token": token()},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_FULL,
    ),
}


@pytest.mark.parametrize(
    ("world", "change", "state", "reason"), PRECONDITIONS.values(), ids=PRECONDITIONS
)
def test_a_precondition_that_does_not_hold_blocks_the_plan(
    world: World, change: Change, state: State, reason: Reason
) -> None:
    plan = plan_for(world, **change)
    blocker = blocker_of(plan)
    assert blocker is not None
    assert (blocker.state, blocker.reason, plan.actions) == (state, reason, ())
    assert blocker.message
    assert blocker.remedy


@pytest.mark.parametrize(
    ("world", "change"),
    [
        (NEW, {"login_server": None, "policy": ENDPOINT}),
        (NEW, {"listed": FOREIGN, "standing": Standing.RESERVED}),
        (READY, {"listed": (*FOREIGN[1:], TOKEN_ID)}),
        (NEW, {"listed": FOREIGN[1:]}),
        (NEW, {"token": token(), "record": record(delivery=None)}),
        (NEW, {"synced_actions": frozenset({"repositories/plant/*/content/read"})}),
    ],
    ids=[
        "the policy knows the address",
        "room is reserved already",
        "the token is listed already",
        "one more client fits",
        "the token is the record's",
        "a wildcard is synced",
    ],
)
def test_preconditions_that_hold_block_nothing(world: World, change: Change) -> None:
    assert blocker_of(plan_for(world, **change)) is None


def test_a_ready_device_needs_nothing() -> None:
    plan = provision(plan_for(READY))
    assert plan.actions == ()
    assert plan.answer is not None
    assert plan.answer.logged_in
    assert plan.renew_at == renewal_time(credential(), DEVICE)


def test_a_new_device_needs_everything_in_this_order() -> None:
    assert kinds(NEW) == [
        "ReserveRoom",
        "PutScopeMap",
        "CreateToken",
        "GeneratePassword",
        "JoinConnectedRegistry",
        "Deliver",
    ]
    reserve = plan_for(NEW).actions[0]
    assert isinstance(reserve, ReserveRoom)
    assert (reserve.ref, reserve.token_id) == (PLANT_ONE, TOKEN_ID)


REPAIRS: dict[str, tuple[Change, list[str]]] = {
    "no scope map": ({"scope_map": None}, ["PutScopeMap"]),
    "scope map changed": (
        {"scope_map": ScopeMap(name=SCOPE_MAP, actions=frozenset())},
        ["PutScopeMap"],
    ),
    "no token": ({"token": None}, ["CreateToken", *REPLACED_PASSWORD]),
    "token disabled": ({"token": token(password(), enabled=False)}, ["UpdateToken"]),
    "another scope map": (
        {"token": token(password(), scope_map_id=ScopeMapId("other"))},
        ["UpdateToken"],
    ),
    "scope map id in another case": (
        {"token": token(password(), scope_map_id=ScopeMapId(str(SCOPE_MAP_ID).upper()))},
        [],
    ),
    "passwords removed": ({"token": token()}, REPLACED_PASSWORD),
    "password made anew": ({"token": token(password(made=NOW))}, REPLACED_PASSWORD),
    "secret lost": ({"secrets": ()}, NEW_PASSWORD),
    "off the list": ({"listed": FOREIGN[:3]}, ["JoinConnectedRegistry"]),
    "joining": ({"listed": (), "standing": Standing.JOINING}, ["JoinConnectedRegistry"]),
    "listed, not yet a member": ({"standing": Standing.JOINING}, ["JoinConnectedRegistry"]),
    "list and ledger lost": (
        {"listed": (), "standing": None},
        ["ReserveRoom", "JoinConnectedRegistry"],
    ),
    "ledger lost": ({"standing": None}, ["ReserveRoom", "JoinConnectedRegistry"]),
    "twin empty": ({"desired": {}}, ["Deliver"]),
    "twin edited": ({"desired": edited(address="stranger:8000")}, ["Deliver"]),
    "another delivery": ({"desired": desired(contents(address="old:8000"))}, ["Deliver"]),
    "address changed": ({"login_server": "new:8000"}, ["Deliver"]),
    "endpoint in the policy": ({"policy": ENDPOINT}, ["Deliver"]),
    "certificate added": ({"policy": WITH_CA}, ["Deliver"]),
    "superseded secret version": (
        {"secrets": (secret_version(), secret_version("v0", of=password(made=MADE - HOUR)))},
        ["DisableSecretVersion"],
    ),
    "another device of the id": (ANOTHER_DEVICE, ["KeepPasswords", "DisableSecretVersion"]),
}


@pytest.mark.parametrize(("change", "expected"), REPAIRS.values(), ids=REPAIRS)
def test_each_difference_is_repaired(change: Change, expected: list[str]) -> None:
    assert kinds(READY, **change) == expected


@pytest.mark.parametrize(
    ("login_server", "entry", "address"),
    [
        ("site.example:8000", {}, "site.example:8000"),
        ("192.100.100.1", {}, "192.100.100.1"),
        ("site.example:443", {}, "site.example"),
        ("site.example:443", {"insecure": True}, "site.example:443"),
        ("site.example:8000", {"endpoint": "10.0.0.4:443"}, "10.0.0.4"),
        ("site.example:8000", {"endpoint": "edge:443"}, "edge:443"),
        (None, {"endpoint": "edge:1"}, "edge:1"),
        ("acrtest.azurecr.io", {"endpoint": "edge:1"}, "edge:1"),
        ("https://site.example", {"endpoint": "edge:1"}, "edge:1"),
        ("ACRTest.azurecr.io:443", {}, None),
        ("acrtest-a1b2c3.azurecr.us", {}, None),
        ("acrtest-a1b2c3.site.example", {}, "acrtest-a1b2c3.site.example"),
        ("other.azurecr.io", {}, "other.azurecr.io"),
        ("registry", {}, None),
        ("", {}, None),
    ],
)
def test_the_policys_endpoint_comes_first_and_no_junk_is_delivered(
    login_server: str | None, entry: Change, address: str | None
) -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", **entry}], sites=[])
    observed = READY.observed(login_server=login_server, policy=policy)
    assert observed.views[0].address == address


def test_more_repositories_change_the_token_and_are_delivered() -> None:
    wider = replace(INTENT, repositories=("plant/app", "plant/tool"))
    found = kinds(
        READY,
        record=record(intent=wider, generation=2),
        scope_map=None,
        token=token(password(), scope_map_id=ScopeMapId("narrower")),
    )
    assert found == ["PutScopeMap", "UpdateToken", "Deliver"]


@pytest.mark.parametrize(
    ("early", "acknowledged_at", "expected"),
    [(0, MADE, ["GeneratePassword"]), (2, MADE, []), (0, None, [])],
    ids=["acknowledged", "too early", "not acknowledged"],
)
def test_a_password_is_renewed_at_half_its_life_if_the_device_has_it(
    early: int, acknowledged_at: datetime | None, expected: list[str]
) -> None:
    known = record(acknowledged_at=acknowledged_at)
    assert kinds(READY, now=RENEW - timedelta(seconds=early), record=known) == expected


def test_a_renewed_password_goes_into_the_other_slot() -> None:
    (action,) = plan_for(READY, now=RENEW).actions
    assert isinstance(action, GeneratePassword)
    assert (action.slot, action.expires_at) == (Slot.TWO, RENEW + VALIDITY)


def test_no_two_passwords_of_a_token_have_the_same_expiry() -> None:
    """A twin's entry names its password by its expiry; a host's clock may be set back."""
    rotation = Rotation(replaces="v1", immediately=False, requested_by="a test", at=MADE)
    asked = record(rotation=rotation, generation=2)
    (action,) = plan_for(READY, now=MADE, record=asked).actions
    assert isinstance(action, GeneratePassword)
    assert action.expires_at == MADE + VALIDITY - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "synced", "expected"),
    [
        (RENEW + HOUR, None, []),
        (RENEW + HOUR, RENEW, []),
        (RENEW + HOUR, RENEW + SYNC_MARGIN - timedelta(microseconds=1), []),
        (RENEW + HOUR, RENEW + SYNC_MARGIN, ["Deliver"]),
        (MADE + VALIDITY, None, ["Deliver"]),
    ],
    ids=["never synced", "too early", "just too early", "synced", "the old one has expired"],
)
def test_a_renewed_password_is_delivered_after_the_sync(
    now: datetime, synced: datetime | None, expected: list[str]
) -> None:
    assert kinds(READY, now=now, last_sync_at=synced, **BOTH) == expected


def test_a_device_that_was_away_too_long_gets_a_new_password() -> None:
    found = kinds(READY, now=MADE + VALIDITY, record=record(acknowledged_at=None))
    assert found == NEW_PASSWORD


@pytest.mark.parametrize(
    ("change", "slot"),
    [
        ({"token": token()}, Slot.ONE),
        (
            {
                "record": record(
                    slots_requested=frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.TWO)})
                )
            },
            Slot.TWO,
        ),
        (
            {
                "token": token(password(), SECOND),
                "record": record(
                    slots_requested=frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.TWO)})
                ),
            },
            Slot.TWO,
        ),
        (
            {
                "record": record(
                    delivery=None,
                    slots_requested=frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.ONE)}),
                ),
                "desired": {},
            },
            Slot.ONE,
        ),
        (
            {
                "record": record(
                    delivery=None,
                    slots_requested=frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.ONE)}),
                )
            },
            Slot.TWO,
        ),
    ],
    ids=[
        "both are empty",
        "the second was requested and not made",
        "the second was made and lost",
        "the first was made and lost",
        "the first was requested and is in the twin",
    ],
)
def test_a_slot_that_may_be_in_use_is_not_filled(change: Change, slot: Slot) -> None:
    plan = plan_for(READY, secrets=(), **change)
    assert [a.slot for a in plan.actions if isinstance(a, GeneratePassword)] == [slot]


def test_an_entry_that_a_crashed_worker_wrote_is_recognised() -> None:
    crashed = record(
        delivery=None,
        acknowledged_at=None,
        slots_requested=frozenset({TokenSlot(token=TOKEN_ID, slot=Slot.ONE)}),
    )
    (action,) = plan_for(READY, record=crashed).actions
    assert isinstance(action, Deliver)
    assert action.credential == credential()
    assert action.found_id == contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY)


def test_an_edited_entry_is_not_taken_for_a_crashed_workers() -> None:
    (action,) = plan_for(READY, desired=edited(added=1)).actions
    assert isinstance(action, Deliver)
    assert action.found_id is None
    assert "added" in action.replaces


ID = contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY)


@pytest.mark.parametrize(
    ("answer", "logged_in"),
    [
        ({}, None),
        (reported(deliveryId="another", state="LoggedIn"), None),
        (reported(deliveryId=ID, state="Failed"), False),
        (LOGGED_IN, True),
    ],
)
def test_only_an_answer_to_this_delivery_counts(answer: Change, *, logged_in: bool | None) -> None:
    found = provision(plan_for(READY, reported=answer)).answer
    assert (found.logged_in if found else None) is logged_in


@pytest.mark.parametrize("world", [NEW, READY], ids=["new", "ready"])
@pytest.mark.parametrize("change", [change for change, _ in REPAIRS.values()], ids=REPAIRS)
def test_a_plan_is_a_pure_function_and_holds_no_password(world: World, change: Change) -> None:
    observed = world.observed(**change)
    before = repr(observed)
    first, second = (make_plan(observed, now=NOW, validity=VALIDITY) for _ in range(2))
    assert first == second
    assert repr(observed) == before
    assert PASSWORD.reveal() not in repr(first)


def test_renewal_is_spread_around_half_of_the_life() -> None:
    parts = [
        (renewal_time(credential(), DeviceKey(hub=HUB, device_id=f"press-{n}")) - MADE) / VALIDITY
        for n in range(200)
    ]
    assert 0.4 <= min(parts) < 0.42
    assert 0.58 < max(parts) <= 0.6


def test_an_entry_that_somebody_edited_is_delivered_again_and_blocks_nothing() -> None:
    assert kinds(READY, desired=edited(username="fp-theirs")) == ["Deliver"]


DELIVERED = record(
    acknowledged_at=None,
    condition=replace(
        READY.record.status.condition, state=State.DELIVERED, reason=Reason.DELIVERED
    ),
)
REFUSED = {"deliveryId": LOGGED_IN["firstpull"]["registryCredentials"]["plantone"]["deliveryId"]}
FAILURE = reported(**REFUSED, state="LoginFailed", reason="Unauthorized")
UNACKNOWLEDGED: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "no answer": ({}, {"reported": {}}, True),
    "an answer to another delivery": (
        {},
        {"reported": reported(deliveryId="another", state="LoggedIn")},
        True,
    ),
    "it has logged in": ({}, {"reported": LOGGED_IN}, False),
    "a failure that the record does not know": ({}, {"reported": FAILURE}, False),
    "a failure that the record knows": (
        {"condition": replace(DELIVERED.status.condition, reason=Reason.DEVICE_REPORTS_FAILURE)},
        {"reported": FAILURE},
        True,
    ),
    "the device is disabled": ({}, {"reported": {}, "enabled": False}, False),
    "the identity has changed": ({"hub_device_etag": "d0"}, {"reported": {}}, False),
    "something new was asked for": (
        {"generation": 2, "intent_generation": 2},
        {"reported": {}},
        False,
    ),
    "nothing was delivered": ({"delivery": None}, {"reported": {}}, False),
    "the entry is gone": ({}, {"reported": {}, "desired": {}}, False),
    "the entry was edited": ({}, {"reported": {}, "desired": edited(address="other")}, False),
}


@pytest.mark.parametrize("case", UNACKNOWLEDGED)
def test_a_twin_alone_says_whether_a_delivery_still_waits_for_its_answer(case: str) -> None:
    of_record, of_world, waits = UNACKNOWLEDGED[case]
    world = replace(READY, record=changed(DELIVERED, **of_record), **of_world)
    twin = world.observed().twin
    assert twin is not None
    assert is_still_unacknowledged(world.record, twin) is waits
