from __future__ import annotations

from typing import Any

import pytest

from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, TokenId, Twin
from firstpull.model.device_record import Grant
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import Names
from firstpull.model.twin_entry import removal_patch, section_of
from firstpull.reconcile.actions import (
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    LeaveConnectedRegistry,
    RemoveFromTwin,
    SideBySide,
    TagSecret,
    TeardownAction,
    actions_of,
    lanes_of,
)
from firstpull.reconcile.observe import GrantView
from firstpull.reconcile.plan_teardown import plan_teardown
from tests.firstpull.builders import (
    GRANT,
    MADE,
    NAMES,
    TOKEN_ID,
    desired,
    edited,
    merged,
    password,
    secret_version,
    token,
)
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY

WHY = "it has to go"
MEMBER = Ledger().with_entry(Entry(token_id=TOKEN_ID, standing=Standing.MEMBER, since=MADE))
NOTHING: dict[str, Any] = {
    "connected_registry": None,
    "ledger": Ledger(),
    "token": None,
    "secrets": (),
}


def view(ref: ConnectedRegistryRef = PLANT_ONE, **changes: Any) -> GrantView:  # noqa: ANN401 - fields of GrantView
    """All that a device has at a connected registry."""
    registry = ConnectedRegistry(
        name=ref.name,
        client_token_ids=(TokenId(str(TOKEN_ID).upper()),),
        sync_token_id=None,
        login_server=None,
        last_sync_at=None,
    )
    fields: dict[str, Any] = {
        "grant": Grant(ref=ref, names=NAMES),
        "token_id": TOKEN_ID,
        "connected_registry": registry,
        "ledger": MEMBER,
        "capacity": 50,
        "shares_token": False,
        "token": token(password()),
        "secrets": (
            secret_version("v1"),
            secret_version("v2"),
            secret_version("v0", enabled=False),
        ),
    }
    return GrantView(**(fields | changes))


def twin(properties: dict[str, Any]) -> Twin:
    return Twin(etag="t1", device_etag="d1", enabled=True, desired=properties, reported={})


def actions_of_teardown(*views_and_twin: Any, **more: Any) -> tuple[TeardownAction, ...]:  # noqa: ANN401 - plan_teardown's
    return actions_of(plan_teardown(*views_and_twin, **more))


def test_all_goes_side_by_side_but_what_needs_the_list_or_the_tags() -> None:
    tag = TagSecret(secret=NAMES.secret, version="v1", tags=(), why=WHY)
    begun, deletion = plan_teardown((view(),), twin(desired()), in_use=(), tags=[tag], why=WHY)
    assert isinstance(begun, SideBySide)
    assert [[type(action) for action in lane] for lane in lanes_of(begun)] == [
        [DisableToken],
        [LeaveConnectedRegistry],
        [RemoveFromTwin],
        [TagSecret, DisableSecretVersion, DisableSecretVersion],
    ]
    assert isinstance(deletion, DeleteToken)


def test_the_token_is_disabled_first_and_deleted_last() -> None:
    assert actions_of_teardown((view(),), twin(desired()), in_use=(), why=WHY) == (
        DisableToken(registry=REGISTRY, name=NAMES.token, why=WHY),
        LeaveConnectedRegistry(ref=PLANT_ONE, token_id=TOKEN_ID, capacity=50, why=WHY),
        RemoveFromTwin(
            connected_registries=("plantone",),
            delivery="twin",
            keys=("plantone",),
            twin_etag="t1",
            why=WHY,
        ),
        DisableSecretVersion(secret=NAMES.secret, version="v1", why=WHY),
        DisableSecretVersion(secret=NAMES.secret, version="v2", why=WHY),
        DeleteToken(registry=REGISTRY, name=NAMES.token, why=WHY),
    )


ANOTHER = Grant(ref=PLANT_ONE, names=Names(token="another", secret="another"))  # noqa: S106 - names
CASES: dict[str, tuple[dict[str, Any], Twin | None, tuple[Grant, ...], list[str]]] = {
    "nothing left": ({}, twin({}), (), []),
    "no device": ({}, None, (), []),
    "token disabled already": ({"token": token(enabled=False)}, None, (), ["DeleteToken"]),
    "only the list has it": (
        {"connected_registry": view().connected_registry},
        None,
        (),
        ["LeaveConnectedRegistry"],
    ),
    "only the ledger has it": ({"ledger": MEMBER}, None, (), ["LeaveConnectedRegistry"]),
    "entry of a connected registry of the same name": ({}, twin(desired()), (GRANT,), []),
    "whole entry for another token": ({"grant": ANOTHER}, twin(desired()), (), []),
    "broken entry": ({}, twin(edited(address="changed")), (), ["RemoveFromTwin"]),
    "broken entry for another token": (
        {},
        twin(edited(username="another")),
        (),
        ["RemoveFromTwin"],
    ),
    "entry without a password": ({}, twin(edited(password=None)), (), ["RemoveFromTwin"]),
}


@pytest.mark.parametrize(("left", "in_twin", "in_use", "expected"), CASES.values(), ids=CASES)
def test_only_what_is_left_is_taken_away(
    left: dict[str, Any], in_twin: Twin | None, in_use: tuple[Grant, ...], expected: list[str]
) -> None:
    actions = actions_of_teardown((view(**(NOTHING | left)),), in_twin, in_use=in_use, why=WHY)
    assert [type(action).__name__ for action in actions] == expected


def test_a_token_that_the_device_keeps_stays_with_its_secret() -> None:
    shared = view(PLANT_TWO, shares_token=True)
    entry = section_of(desired(), "plantone")
    both = merged(desired(), {"firstpull": {"registryCredentials": {"planttwo": entry}}})
    assert actions_of_teardown((shared,), twin(both), in_use=(GRANT,), why=WHY) == (
        LeaveConnectedRegistry(ref=PLANT_TWO, token_id=TOKEN_ID, capacity=50, why=WHY),
        RemoveFromTwin(
            connected_registries=("planttwo",),
            delivery="twin",
            keys=("planttwo",),
            twin_etag="t1",
            why=WHY,
        ),
    )


def test_two_grants_with_one_token_need_no_action_twice() -> None:
    one = actions_of_teardown((view(),), twin(desired()), in_use=(), why=WHY)
    two = actions_of_teardown((view(), view(PLANT_TWO)), twin(desired()), in_use=(), why=WHY)
    assert [action for action in two if action not in one] == [
        LeaveConnectedRegistry(ref=PLANT_TWO, token_id=TOKEN_ID, capacity=50, why=WHY)
    ]
    assert len(two) == len(one) + 1


def test_all_entries_go_in_one_write_that_leaves_the_rest_of_the_twin_alone() -> None:
    entry = section_of(desired(), "plantone")
    patch = {"firstpull": {"registryCredentials": {"planttwo": entry, "kept": entry}}, "mine": 1}
    full = merged(desired(), patch)
    views = (view(**NOTHING), view(PLANT_TWO, **NOTHING))
    (action,) = actions_of_teardown(views, twin(full), in_use=(), why=WHY)
    assert isinstance(action, RemoveFromTwin)
    assert action.connected_registries == ("plantone", "planttwo")
    left = merged(full, removal_patch(action.connected_registries))
    assert left == {"firstpull": {"registryCredentials": {"kept": entry}}, "mine": 1}
