from __future__ import annotations

from typing import Any

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
)
from firstpull.reconcile.observe import GrantView
from firstpull.reconcile.plan_teardown import plan_teardown
from tests.firstpull.builders import (
    MADE,
    NAMES,
    TOKEN_ID,
    desired,
    edited,
    password,
    secret_version,
    token,
)
from tests.firstpull.fakes import merged
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY

WHY = "it has to go"
MEMBER = Ledger().with_entry(Entry(token_id=TOKEN_ID, standing=Standing.MEMBER, since=MADE))


def view(ref: ConnectedRegistryRef = PLANT_ONE, **changes: Any) -> GrantView:  # noqa: ANN401 - fields of HoldingView
    """All that a device has at a place."""
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


NOTHING: dict[str, Any] = {
    "connected_registry": None,
    "ledger": Ledger(),
    "token": None,
    "secrets": (),
}


def twin(properties: dict[str, Any]) -> Twin:
    return Twin(etag="t1", device_etag="d1", enabled=True, desired=properties, reported={})


def kinds(
    *views: GrantView, desired: Twin | None = None, in_use: tuple[str, ...] = ()
) -> list[str]:
    return [
        type(action).__name__ for action in plan_teardown(views, desired, in_use=in_use, why=WHY)
    ]


def test_the_token_lets_nobody_in_before_anything_else_and_goes_after_everything_else() -> None:
    assert plan_teardown((view(),), twin(desired()), in_use=(), why=WHY) == (
        DisableToken(registry=REGISTRY, name=NAMES.token, why=WHY),
        LeaveConnectedRegistry(ref=PLANT_ONE, token_id=TOKEN_ID, capacity=50, why=WHY),
        RemoveFromTwin(connected_registries=("plantone",), twin_etag="t1", why=WHY),
        DisableSecretVersion(secret=NAMES.secret, version="v1", why=WHY),
        DisableSecretVersion(secret=NAMES.secret, version="v2", why=WHY),
        DeleteToken(registry=REGISTRY, name=NAMES.token, why=WHY),
    )


def test_where_nothing_is_left_nothing_is_to_be_done() -> None:
    assert kinds(view(**NOTHING), desired=twin({})) == []
    assert kinds(view(**NOTHING), desired=None) == []
    assert kinds() == []


def test_a_token_that_is_disabled_already_is_only_deleted() -> None:
    gone = NOTHING | {"token": token(enabled=False)}
    assert kinds(view(**gone)) == ["DeleteToken"]


def test_a_token_leaves_where_only_the_list_or_only_the_ledger_has_it() -> None:
    listed = view(**(NOTHING | {"connected_registry": view().connected_registry}))
    noted = view(**(NOTHING | {"ledger": MEMBER}))
    assert kinds(listed) == kinds(noted) == ["LeaveConnectedRegistry"]


def test_what_the_device_keeps_loses_neither_token_nor_secret() -> None:
    shared = view(PLANT_TWO, shares_token=True)
    entry = section_of(desired(), "plantone")
    both = merged(desired(), {"firstpull": {"registryCredentials": {"planttwo": entry}}})
    actions = plan_teardown((shared,), twin(both), in_use=("plantone",), why=WHY)
    assert actions == (
        LeaveConnectedRegistry(ref=PLANT_TWO, token_id=TOKEN_ID, capacity=50, why=WHY),
        RemoveFromTwin(connected_registries=("planttwo",), twin_etag="t1", why=WHY),
    )


def test_an_entry_that_is_in_use_stays_for_connected_registries_of_one_name_share_it() -> None:
    assert kinds(view(**NOTHING), desired=twin(desired()), in_use=("plantone",)) == []


def test_a_whole_entry_for_another_token_is_somebody_elses_and_stays() -> None:
    other = Grant(ref=PLANT_ONE, names=Names(token="another", secret="another"))  # noqa: S106 - names
    assert kinds(view(**(NOTHING | {"grant": other})), desired=twin(desired())) == []


def test_a_broken_entry_is_withdrawn_whoever_broke_it() -> None:
    for change in ({"password": "changed"}, {"username": "another"}, {"password": None}):
        assert kinds(view(**NOTHING), desired=twin(edited(**change))) == ["RemoveFromTwin"]


def test_two_connected_registries_with_one_token_disable_and_delete_it_once() -> None:
    there = view(PLANT_TWO)
    assert kinds(view(), there, desired=twin(desired())) == [
        "DisableToken",
        "LeaveConnectedRegistry",
        "LeaveConnectedRegistry",
        "RemoveFromTwin",
        "DisableSecretVersion",
        "DisableSecretVersion",
        "DeleteToken",
    ]


def test_all_entries_go_in_one_write_that_leaves_others_alone() -> None:
    entry = section_of(desired(), "plantone")
    patch = {"firstpull": {"registryCredentials": {"planttwo": entry, "kept": entry}}, "mine": 1}
    full = merged(desired(), patch)
    views = (view(**NOTHING), view(PLANT_TWO, **NOTHING))
    (action,) = plan_teardown(views, twin(full), in_use=(), why=WHY)
    assert isinstance(action, RemoveFromTwin)
    assert action.connected_registries == ("plantone", "planttwo")
    left = merged(full, removal_patch(action.connected_registries))
    assert left == {"firstpull": {"registryCredentials": {"kept": entry}}, "mine": 1}
