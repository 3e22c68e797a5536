from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import ScopeMap, Slot, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.ledger import Standing
from firstpull.model.password_slots import SYNC_MARGIN, renewal_time
from firstpull.model.reasons import Reason
from firstpull.reconcile.actions import Deliver, GeneratePassword, ReserveRoom
from firstpull.reconcile.plan import make_plan
from tests.firstpull.builders import (
    DEVICE,
    MADE,
    NAMES,
    NEW,
    NEW_RECORD,
    NOW,
    PASSWORD,
    READY,
    SCOPE_MAP,
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
from tests.firstpull.records import blocker_of, grant_of

Change = dict[str, Any]
FOREIGN = tuple(REGISTRY.token(f"foreign{n}") for n in range(50))
NO_ENTRY = make_policy(connectedRegistries=[{"name": "planttwo"}], sites=[])
ENDPOINT = make_policy(connectedRegistries=[{"name": "plantone", "endpoint": "edge:1"}], sites=[])
WITH_CA = make_policy(
    connectedRegistries=[{"name": "plantone", "ca": "-----BEGIN CERTIFICATE-----"}], sites=[]
)
EXPIRED = timedelta(hours=1)
RENEW = renewal_time(credential(), DEVICE).replace(microsecond=0) + timedelta(seconds=1)
SECOND = password(Slot.TWO, made=RENEW)
BOTH: Change = {
    "token": token(password(), SECOND),
    "secrets": (secret_version(), secret_version("v2", of=SECOND)),
}


def actions(
    world: World,
    *,
    now: datetime = NOW,
    **changes: Any,  # noqa: ANN401 - fields of World
) -> list[tuple[str, str]]:
    """The actions of the plan for a changed world, each by its name and its reason."""
    plan = make_plan(world.observed(**changes), now=now, validity=VALIDITY)
    assert blocker_of(plan) is None
    return [(type(action).__name__, action.why) for action in plan.actions]


GATE: list[tuple[str, World, Change, State, Reason]] = [
    ("unknown", NEW, {"registered": False}, State.WAITING, Reason.DEVICE_NOT_REGISTERED),
    ("gone", READY, {"registered": False}, State.WAITING, Reason.DEVICE_NOT_REGISTERED),
    ("disabled", NEW, {"enabled": False}, State.WAITING, Reason.DEVICE_DISABLED),
    ("disabled later", READY, {"enabled": False}, State.WAITING, Reason.DEVICE_DISABLED),
    ("no place", NEW, {"there": False}, State.BLOCKED, Reason.CONNECTED_REGISTRY_NOT_FOUND),
    ("place gone", READY, {"there": False}, State.BLOCKED, Reason.CONNECTED_REGISTRY_NOT_FOUND),
    ("not listed", NEW, {"policy": NO_ENTRY}, State.BLOCKED, Reason.NOT_ALLOWED),
    ("no longer listed", READY, {"policy": NO_ENTRY}, State.BLOCKED, Reason.NOT_ALLOWED),
    ("no address", NEW, {"login_server": None}, State.BLOCKED, Reason.NO_ENDPOINT),
    ("address gone", READY, {"login_server": None}, State.BLOCKED, Reason.NO_ENDPOINT),
    ("full", NEW, {"listed": FOREIGN}, State.BLOCKED, Reason.CONNECTED_REGISTRY_FULL),
    (
        "thrown out of a full one",
        READY,
        {"listed": FOREIGN, "standing": None},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_FULL,
    ),
    ("not ours", NEW, {"token": token()}, State.BLOCKED, Reason.TOKEN_NOT_OURS),
    (
        "not synced",
        NEW,
        {"synced_actions": frozenset({"repositories/other/*/content/read"})},
        State.BLOCKED,
        Reason.REPOSITORIES_NOT_SYNCED,
    ),
    (
        "nothing is synced",
        NEW,
        {"synced_actions": frozenset()},
        State.BLOCKED,
        Reason.REPOSITORIES_NOT_SYNCED,
    ),
    (
        "both passwords are live and neither is kept",
        READY,
        {"token": token(password(), SECOND), "secrets": ()},
        State.WAITING,
        Reason.NO_FREE_SLOT,
    ),
    (
        "the device comes first",
        NEW,
        {"registered": False, "there": False, "token": token()},
        State.WAITING,
        Reason.DEVICE_NOT_REGISTERED,
    ),
    (
        "the place comes before the token",
        NEW,
        {"listed": FOREIGN, "token": token()},
        State.BLOCKED,
        Reason.CONNECTED_REGISTRY_FULL,
    ),
]


@pytest.mark.parametrize(
    ("world", "change", "state", "reason"), [r[1:] for r in GATE], ids=[r[0] for r in GATE]
)
def test_what_stands_in_the_way_is_found(
    world: World, change: Change, state: State, reason: Reason
) -> None:
    plan = make_plan(world.observed(**change), now=NOW, validity=VALIDITY)
    assert plan.actions == ()
    assert blocker_of(plan) is not None
    assert (blocker_of(plan).state, blocker_of(plan).reason) == (state, reason)
    assert blocker_of(plan).remedy


def test_a_full_connected_registry_is_named_with_its_limit_and_the_way_out() -> None:
    blocker = make_plan(NEW.observed(listed=FOREIGN), now=NOW, validity=VALIDITY).blocker
    assert blocker is not None
    assert blocker.message == "acrtest/plantone has its 50 clients."
    assert "capacity" in (blocker.remedy or "")


def test_what_is_not_synced_is_named() -> None:
    blocker = make_plan(
        NEW.observed(synced_actions=frozenset()), now=NOW, validity=VALIDITY
    ).blocker
    assert blocker is not None
    assert "repositories/plant/app/content/read" in blocker.message


PASSES: list[tuple[str, World, Change]] = [
    ("the settings know the address", NEW, {"login_server": None, "policy": ENDPOINT}),
    ("room is held already", NEW, {"listed": FOREIGN, "standing": Standing.RESERVED}),
    ("it is listed already", READY, {"listed": (*FOREIGN[1:], READY.listed[0])}),
    ("one place is free", NEW, {"listed": FOREIGN[1:]}),
    ("the token is the record's", NEW, {"token": token(), "record": record(delivery=None)}),
    (
        "a wildcard is synced",
        NEW,
        {"synced_actions": frozenset({"repositories/plant/*/content/read"})},
    ),
]


@pytest.mark.parametrize(("world", "change"), [r[1:] for r in PASSES], ids=[r[0] for r in PASSES])
def test_what_is_allowed_passes_the_gate(world: World, change: Change) -> None:
    assert make_plan(world.observed(**change), now=NOW, validity=VALIDITY).blocker is None


def test_a_ready_device_needs_nothing() -> None:
    plan = make_plan(READY.observed(), now=NOW, validity=VALIDITY)
    assert plan.actions == ()
    assert plan.answer is not None
    assert plan.answer.logged_in
    assert plan.renew_at == renewal_time(credential(), DEVICE)


def test_a_new_device_needs_everything_in_this_order() -> None:
    assert actions(NEW) == [
        ("TakePlace", "acrtest/plantone is the first connected registry asked for that has room"),
        ("PutScopeMap", "no scope map has these actions"),
        ("CreateToken", "the device has no token"),
        ("GeneratePassword", "no stored password of the token is valid"),
        ("JoinConnectedRegistry", "the token is not in the list"),
        ("Deliver", "there is a new password"),
    ]


ACTIONS: list[tuple[str, Change, list[tuple[str, str]]]] = [
    (
        "the scope map is gone",
        {"scope_map": None},
        [("PutScopeMap", "no scope map has these actions")],
    ),
    (
        "the scope map was changed",
        {"scope_map": ScopeMap(name=SCOPE_MAP, actions=frozenset())},
        [("PutScopeMap", "its actions were changed")],
    ),
    (
        "the token is gone",
        {"token": None},
        [
            ("CreateToken", "the device has no token"),
            ("GeneratePassword", "no stored password of the token is valid"),
            ("Deliver", "there is a new password"),
            ("DisableSecretVersion", "its password is no longer the token's"),
        ],
    ),
    (
        "the token is disabled",
        {"token": token(password(), enabled=False)},
        [("UpdateToken", "the token is disabled")],
    ),
    (
        "the token has another scope map",
        {"token": token(password(), scope_map_id="other")},
        [("UpdateToken", "the token has another scope map")],
    ),
    (
        "the id of the scope map is in another case",
        {"token": token(password(), scope_map_id=f"{REGISTRY}/SCOPEMAPS/{SCOPE_MAP}".upper())},
        [],
    ),
    (
        "the passwords were removed",
        {"token": token()},
        [
            ("GeneratePassword", "no stored password of the token is valid"),
            ("Deliver", "there is a new password"),
            ("DisableSecretVersion", "its password is no longer the token's"),
        ],
    ),
    (
        "the password was made anew by somebody",
        {"token": token(password(made=NOW))},
        [
            ("GeneratePassword", "no stored password of the token is valid"),
            ("Deliver", "there is a new password"),
            ("DisableSecretVersion", "its password is no longer the token's"),
        ],
    ),
    (
        "the vault lost it",
        {"secrets": ()},
        [
            ("GeneratePassword", "no stored password of the token is valid"),
            ("Deliver", "there is a new password"),
        ],
    ),
    (
        "it was left out of the list",
        {"listed": FOREIGN[:3]},
        [("JoinConnectedRegistry", "the list was overwritten")],
    ),
    (
        "it is joining",
        {"listed": (), "standing": Standing.JOINING},
        [("JoinConnectedRegistry", "the token is not in the list")],
    ),
    (
        "it is listed and not noted",
        {"standing": Standing.JOINING},
        [("JoinConnectedRegistry", "the token is not in the list")],
    ),
    (
        "its place was given away and is free again",
        {"listed": (), "standing": None},
        [
            ("TakePlace", "the ledger of acrtest/plantone has lost the device"),
            ("JoinConnectedRegistry", "the token is not in the list"),
        ],
    ),
    (
        "the ledger was lost and the list was not",
        {"standing": None},
        [
            ("TakePlace", "the ledger of acrtest/plantone has lost the device"),
            ("JoinConnectedRegistry", "the token is not in the list"),
        ],
    ),
    ("the twin is empty", {"desired": {}}, [("Deliver", "the twin holds no credentials")]),
    (
        "the twin was edited",
        {"desired": edited(address="stranger:8000")},
        [("Deliver", "the twin holds something else")],
    ),
    (
        "the twin holds another delivery",
        {"desired": desired(contents(address="old:8000"))},
        [("Deliver", "the twin holds something else")],
    ),
    (
        "the address changed",
        {"login_server": "new:8000"},
        [("Deliver", "what is in the twin is out of date")],
    ),
    (
        "the settings got a certificate",
        {"policy": WITH_CA},
        [("Deliver", "what is in the twin is out of date")],
    ),
    (
        "a password nobody knows any more is left in the vault",
        {"secrets": (secret_version(), secret_version("v0", of=password(made=MADE - EXPIRED)))},
        [("DisableSecretVersion", "its password is no longer the token's")],
    ),
    (
        "the device is another one",
        {"generation_id": "g2", "desired": {}, "reported": {}},
        [
            ("KeepPasswords", "the device was registered anew: it is another device"),
            ("DisableSecretVersion", "the device was registered anew: it is another device"),
        ],
    ),
]


@pytest.mark.parametrize(
    ("change", "expected"), [row[1:] for row in ACTIONS], ids=[row[0] for row in ACTIONS]
)
def test_every_action_has_its_cause(change: Change, expected: list[tuple[str, str]]) -> None:
    assert actions(READY, **change) == expected


def test_a_wider_intent_moves_the_token_and_delivers_again() -> None:
    wider = replace(record().spec.intent, repositories=("plant/app", "plant/tool"))
    found = actions(
        READY,
        record=record(intent=wider, generation=2),
        scope_map=None,
        token=token(password(), scope_map_id="the narrower one"),
    )
    assert found == [
        ("PutScopeMap", "no scope map has these actions"),
        ("UpdateToken", "the token has another scope map"),
        ("Deliver", "what is in the twin is out of date"),
    ]


@pytest.mark.parametrize(
    ("early", "acknowledged", "due"),
    [(0, True, True), (2, True, False), (0, False, False)],
    ids=["acknowledged", "too early", "not acknowledged"],
)
def test_a_password_is_renewed_at_half_its_life_if_the_device_has_it(
    early: int,
    acknowledged: bool,  # noqa: FBT001 - a table
    due: bool,  # noqa: FBT001 - a table
) -> None:
    known = record(acknowledged_at=MADE if acknowledged else None)
    found = actions(READY, now=RENEW - timedelta(seconds=early), record=known)
    assert found == ([("GeneratePassword", "the password is past half its life")] if due else [])


def test_a_renewed_password_goes_into_the_other_slot() -> None:
    plan = make_plan(READY.observed(), now=RENEW, validity=VALIDITY)
    (action,) = plan.actions
    assert action == GeneratePassword(
        slot=Slot.TWO, expires_at=RENEW + VALIDITY, why="the password is past half its life"
    )


@pytest.mark.parametrize(
    ("synced", "delivered"),
    [
        (None, False),
        (RENEW, False),
        (RENEW + SYNC_MARGIN - timedelta(microseconds=1), False),
        (RENEW + SYNC_MARGIN, True),
    ],
)
def test_a_renewed_password_waits_for_the_sync(
    synced: datetime | None,
    delivered: bool,  # noqa: FBT001 - a table
) -> None:
    found = actions(READY, now=RENEW + timedelta(hours=1), last_sync_at=synced, **BOTH)
    assert found == ([("Deliver", "there is a newer password")] if delivered else [])


def test_a_renewed_password_waits_no_longer_when_the_old_one_has_expired() -> None:
    late = MADE + VALIDITY
    assert actions(READY, now=late, last_sync_at=None, **BOTH) == [
        ("Deliver", "there is a newer password")
    ]


def test_a_device_that_was_away_too_long_gets_a_new_password() -> None:
    found = actions(READY, now=MADE + VALIDITY, record=record(acknowledged_at=None))
    assert found == [
        ("GeneratePassword", "no stored password of the token is valid"),
        ("Deliver", "there is a new password"),
    ]


@pytest.mark.parametrize(
    ("change", "slot"),
    [
        ({"token": token(), "secrets": ()}, Slot.ONE),
        ({"secrets": (), "record": record(slots_requested=frozenset({Slot.TWO}))}, Slot.TWO),
        (
            {
                "token": token(password(), SECOND),
                "secrets": (),
                "record": record(slots_requested=frozenset({Slot.TWO})),
            },
            Slot.TWO,
        ),
        (
            {
                "secrets": (),
                "record": record(delivery=None, slots_requested=frozenset({Slot.ONE})),
                "desired": {},
            },
            Slot.ONE,
        ),
        (
            {
                "secrets": (),
                "record": record(delivery=None, slots_requested=frozenset({Slot.ONE})),
            },
            Slot.TWO,
        ),
    ],
    ids=[
        "both are empty",
        "the other one was asked for and not made",
        "the other one was made and lost",
        "the first one was made and lost",
        "the first one was asked for and is in the twin",
    ],
)
def test_a_slot_that_may_be_in_use_is_not_filled(change: Change, slot: Slot) -> None:
    plan = make_plan(READY.observed(**change), now=NOW, validity=VALIDITY)
    assert [a.slot for a in plan.actions if isinstance(a, GeneratePassword)] == [slot]


def test_an_entry_that_a_crashed_worker_wrote_is_recognised() -> None:
    crashed = record(delivery=None, acknowledged_at=None, slots_requested=frozenset({Slot.ONE}))
    (action,) = make_plan(READY.observed(record=crashed), now=NOW, validity=VALIDITY).actions
    assert isinstance(action, Deliver)
    assert action.credential == credential()
    assert action.found_id == contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY)


def test_an_edited_entry_is_not_taken_for_a_crashed_workers() -> None:
    observed = READY.observed(desired=edited(added=1))
    (action,) = make_plan(observed, now=NOW, validity=VALIDITY).actions
    assert isinstance(action, Deliver)
    assert action.found_id is None
    assert "added" in action.replaces


@pytest.mark.parametrize(
    ("reported_properties", "logged_in"),
    [
        ({}, None),
        (reported(deliveryId="another", state="LoggedIn"), None),
        (
            reported(
                deliveryId=contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY),
                state="Failed",
            ),
            False,
        ),
        (
            reported(
                deliveryId=contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY),
                state="LoggedIn",
            ),
            True,
        ),
    ],
)
def test_only_an_answer_to_this_delivery_counts(
    reported_properties: Change,
    logged_in: bool | None,  # noqa: FBT001 - a table
) -> None:
    observed = READY.observed(reported=reported_properties)
    answer = make_plan(observed, now=NOW, validity=VALIDITY).answer
    assert (answer.logged_in if answer else None) is logged_in


@pytest.mark.parametrize("world", [NEW, READY])
@pytest.mark.parametrize("change", [row[1] for row in ACTIONS], ids=[row[0] for row in ACTIONS])
def test_the_same_observation_gives_the_same_plan(world: World, change: Change) -> None:
    observed = world.observed(**change)
    before = repr(observed)
    plans = [make_plan(observed, now=NOW, validity=VALIDITY) for _ in range(2)]
    assert plans[0] == plans[1]
    assert repr(observed) == before


def test_no_plan_holds_a_password() -> None:
    plans = [
        make_plan(world.observed(**row[1]), now=NOW, validity=VALIDITY)
        for world in (NEW, READY)
        for row in ACTIONS
    ]
    assert PASSWORD.reveal() not in repr(plans)


def test_renewal_is_spread_around_half_of_the_life() -> None:
    parts = [
        (renewal_time(credential(), DeviceKey(hub=HUB, device_id=f"press-{n}")) - MADE) / VALIDITY
        for n in range(200)
    ]
    assert 0.4 <= min(parts) < 0.42
    assert 0.58 < max(parts) <= 0.6


def test_a_connected_registry_is_taken_with_the_names_of_what_will_be_made() -> None:
    first = make_plan(NEW.observed(), now=NOW, validity=VALIDITY).actions[0]
    assert isinstance(first, ReserveRoom)
    assert (first.ref, first.names) == (PLANT_ONE, NAMES)
    assert grant_of(NEW_RECORD).names is None
