from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstpull.fleet.drift import drift_of, gone_devices, is_at_rest, opted_in_devices, warnings_of
from firstpull.model.azure_resources import ScopeMap, ScopeMapId, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Claim,
    Condition,
    DeviceRecord,
    DeviceWarning,
    RetiringGrant,
    Rotation,
    State,
)
from firstpull.model.ledger import Standing
from firstpull.model.reasons import Reason
from firstpull.reconcile.checks import Difference
from tests.firstpull.builders import (
    DEVICE,
    MADE,
    NAMES,
    NEW_RECORD,
    NOW,
    SCOPE_MAP,
    SCOPE_MAP_ID,
    TOKEN_ID,
    edited,
    password,
    token,
)
from tests.firstpull.fleet.inventories import (
    AT_REST,
    LATER,
    READY_TOKEN,
    TOMBSTONE,
    in_hub,
    in_ledger,
    in_registry,
    in_vault,
    inventory,
)
from tests.firstpull.harness import HUB, PLANT_TWO, REGISTRY, VALIDITY
from tests.firstpull.records import changed

TAG = "firstpull"
SEEN = changed(AT_REST, vault_seen_at=MADE)


def drift(record: DeviceRecord = AT_REST, **changes: Any) -> tuple[Difference, ...]:  # noqa: ANN401 - fields of Inventory
    return drift_of(record, inventory(record, **changes), deployment="test")


def in_state(state: State) -> DeviceRecord:
    condition = Condition(state=state, reason=Reason.ACCEPTED, message="", since=MADE)
    return changed(AT_REST, condition=condition)


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (in_registry(), Difference.TOKEN_MISSING),
        (in_registry(token(password(), enabled=False)), Difference.TOKEN_DISABLED),
        (
            in_registry(token(password(), scope_map_id=REGISTRY.scope_map("x"))),
            Difference.OTHER_SCOPE_MAP,
        ),
        (in_registry(READY_TOKEN, scope_map=None), Difference.SCOPE_MAP_MISSING),
        (
            in_registry(READY_TOKEN, scope_map=ScopeMap(name=SCOPE_MAP, actions=frozenset())),
            Difference.SCOPE_MAP_CHANGED,
        ),
        (in_registry(token()), Difference.PASSWORD_CHANGED),
        (in_registry(token(password(lives=None))), Difference.PASSWORD_CHANGED),
        (in_registry(token(password(made=NOW))), Difference.PASSWORD_CHANGED),
        (in_registry(READY_TOKEN, clients=()), Difference.NOT_LISTED),
        (in_registry(READY_TOKEN, clients=None), Difference.CONNECTED_REGISTRY_MISSING),
        (in_ledger(), Difference.LEDGER_ENTRY_MISSING),
        (in_ledger(Standing.RESERVED), Difference.LEDGER_ENTRY_MISSING),
        (in_ledger(Standing.JOINING), Difference.LEDGER_ENTRY_MISSING),
        (in_ledger(Standing.LEAVING), Difference.LEDGER_ENTRY_MISSING),
        ({"secrets": {}}, Difference.SECRET_MISSING),
        (in_vault(enabled=False), Difference.SECRET_DISABLED),
        (in_hub(device_etag="d2"), Difference.IDENTITY_CHANGED),
        (in_hub(desired={}), Difference.ENTRY_MISSING),
        (in_hub(desired=edited(password=None)), Difference.ENTRY_MISSING),
        (in_hub(desired=edited(address="elsewhere")), Difference.ENTRY_CHANGED),
        (in_hub(desired=edited(deliveryId="other")), Difference.ENTRY_CHANGED),
        (in_hub(enabled=False), Difference.DEVICE_DISABLED),
    ],
)
def test_what_is_not_as_the_record_has_it_is_drift(
    found: dict[str, Any], difference: Difference
) -> None:
    assert drift(**found) == (difference,)


UPPER = token(password(), scope_map_id=ScopeMapId(str(SCOPE_MAP_ID).upper()))


@pytest.mark.parametrize(
    "found",
    [
        {},
        in_registry(UPPER, clients=(TokenId(str(TOKEN_ID).upper()),)),
        in_hub(tags={"mine": 1}, etag="t9"),
    ],
    ids=["nothing", "the case of ids", "tags"],
)
def test_what_does_not_matter_is_no_drift(found: dict[str, Any]) -> None:
    assert drift(**found) == ()


def test_a_disabled_secret_version_that_a_pass_has_seen_is_no_drift() -> None:
    assert drift(SEEN, **in_vault(enabled=False, updated_at=MADE)) == ()
    assert drift(SEEN, **in_vault(enabled=False, updated_at=NOW)) == (Difference.SECRET_DISABLED,)


def test_an_adopted_device_has_neither_password_nor_delivery_of_ours() -> None:
    adopted = changed(AT_REST, adopted=True, delivery=None)
    by_hand = in_registry(token(password(lives=None)))
    assert drift(adopted, secrets={}, **in_hub(desired={}), **by_hand) == ()
    assert drift(adopted, **in_registry()) == (Difference.TOKEN_MISSING,)


@pytest.mark.parametrize(
    "missing", [{"registries": {}}, {"secrets": None}, {"twins": {}}], ids=lambda m: next(iter(m))
)
def test_nothing_is_concluded_from_what_could_not_be_read(missing: dict[str, Any]) -> None:
    found = inventory(AT_REST, **missing)
    assert drift_of(AT_REST, found, deployment="test") == ()
    assert gone_devices(found) == ()
    assert warnings_of(AT_REST, found) == ()


CLAIMED = replace(AT_REST, claim=Claim(owner="me", until=LATER))
ROTATION = Rotation(replaces="v1", immediately=False, requested_by="me", at=MADE)
MOVES = (RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False),)
UNDER_WAY = {
    "due": changed(AT_REST, due_at=NOW),
    "another generation": changed(AT_REST, generation=2),
    "rotation": changed(AT_REST, rotation=ROTATION),
    "move": changed(AT_REST, retiring=MOVES),
    "waiting": in_state(State.WAITING),
}
NOT_COMPARED = {
    "pending": in_state(State.PENDING),
    "blocked": in_state(State.BLOCKED),
    "claimed": CLAIMED,
    "never observed": changed(AT_REST, observed_at=None),
    "observed since": changed(AT_REST, observed_at=NOW),
    "new": changed(NEW_RECORD, due_at=LATER),
    "revoked": TOMBSTONE,
}


@pytest.mark.parametrize("record", UNDER_WAY.values(), ids=UNDER_WAY)
def test_a_device_that_is_under_way_is_compared_too(record: DeviceRecord) -> None:
    assert not is_at_rest(record, inventory())
    assert drift(record, **in_registry()) == (Difference.TOKEN_MISSING,)


@pytest.mark.parametrize("record", NOT_COMPARED.values(), ids=NOT_COMPARED)
def test_a_device_is_not_compared_while_a_worker_writes_or_nothing_can_be_repaired(
    record: DeviceRecord,
) -> None:
    assert drift(record, **in_registry()) == ()


def test_a_device_that_its_hub_had_and_shows_no_more_is_gone() -> None:
    def gone(record: DeviceRecord, **found: Any) -> bool:  # noqa: ANN401 - fields of Inventory
        return gone_devices(inventory(record, **found)) == (DEVICE,)

    empty: dict[str, Any] = {"twins": {HUB: {}}}
    assert not gone(AT_REST)
    assert gone(AT_REST, **empty)
    assert gone(CLAIMED, **empty)
    assert not gone(TOMBSTONE, **empty)
    assert not gone(NEW_RECORD, **empty)


def test_a_device_opts_in_by_its_tag_where_it_has_no_record_or_another_devices_tombstone() -> None:
    def opts_in(record: DeviceRecord, **changes: Any) -> bool:  # noqa: ANN401 - fields of Twin
        found = in_hub(**({"tags": {TAG: {}}} | changes))
        return opted_in_devices(inventory(record, **found), tag=TAG) == (DEVICE,)

    stranger = replace(AT_REST, device=DeviceKey(hub=HUB, device_id="Press-1"))
    assert opts_in(stranger)
    assert not opts_in(stranger, tags={"other": {}})
    assert not opts_in(AT_REST)
    assert not opts_in(TOMBSTONE)
    assert opts_in(TOMBSTONE, device_etag="d2")
    assert not opts_in(changed(TOMBSTONE, generation=9), device_etag="d2")


def test_warnings_are_those_that_a_pass_would_find() -> None:
    offline = inventory(**in_registry(READY_TOKEN, connection_state="Offline"))
    (warning,) = warnings_of(AT_REST, offline)
    assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    warned = changed(
        AT_REST, warnings=(DeviceWarning(reason=warning.reason, message="", since=MADE),)
    )
    assert [again.since for again in warnings_of(warned, offline)] == [MADE]
    assert warnings_of(warned, inventory()) == ()
    assert warnings_of(warned, inventory(registries={})) == warned.status.warnings


def test_a_password_that_ends_soon_unanswered_is_warned_of() -> None:
    near_its_end = inventory(at=MADE + 0.8 * VALIDITY)
    (warning,) = warnings_of(changed(AT_REST, acknowledged_at=None), near_its_end)
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
