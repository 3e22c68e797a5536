"""What a sweep compares; `reconcile/test_checks.py` has what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstpull.fleet.drift import drift_of, gone_devices, is_at_rest, opted_in_devices, warnings_of
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
from firstpull.model.reasons import Reason
from firstpull.reconcile.checks import Difference
from tests.firstpull.builders import DEVICE, MADE, NAMES, NEW_RECORD, NOW
from tests.firstpull.fleet.inventories import (
    AT_REST,
    LATER,
    READY_TOKEN,
    TOMBSTONE,
    in_hub,
    in_registry,
    in_vault,
    inventory,
)
from tests.firstpull.harness import HUB, PLANT_TWO, VALIDITY
from tests.firstpull.records import changed

TAG = "firstpull"


def drift(record: DeviceRecord = AT_REST, **changes: Any) -> tuple[Difference, ...]:  # noqa: ANN401 - fields of Inventory
    return drift_of(record, inventory(record, **changes), deployment="test")


def in_state(state: State) -> DeviceRecord:
    condition = Condition(state=state, reason=Reason.ACCEPTED, message="", since=MADE)
    return changed(AT_REST, condition=condition)


def test_a_disabled_secret_version_that_a_pass_has_seen_is_no_drift() -> None:
    seen = changed(AT_REST, vault_seen_at=MADE)
    assert drift(seen, **in_vault(enabled=False, updated_at=MADE)) == ()
    assert drift(seen, **in_vault(enabled=False, updated_at=NOW)) == (Difference.SECRET_DISABLED,)


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


@pytest.mark.parametrize(
    ("record", "is_gone"),
    [(AT_REST, True), (CLAIMED, True), (TOMBSTONE, False), (NEW_RECORD, False)],
    ids=["ready", "claimed", "revoked", "new"],
)
def test_a_device_that_its_hub_had_and_no_longer_lists_is_gone(
    record: DeviceRecord,
    is_gone: bool,  # noqa: FBT001 - a table
) -> None:
    assert gone_devices(inventory(record)) == ()
    assert gone_devices(inventory(record, twins={HUB: {}})) == ((DEVICE,) if is_gone else ())


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
    unanswered = changed(AT_REST, acknowledged_at=None)
    (warning,) = warnings_of(unanswered, inventory(at=MADE + 0.8 * VALIDITY))
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
