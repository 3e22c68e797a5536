from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from firstpull.fleet.orphans import clients_of, orphans, unreferenced_scope_maps
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    StoredSecret,
)
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.ledger import Standing
from firstpull.model.naming import names_for, scope_map_name
from firstpull.model.sweep_report import Kind
from tests.firstpull.builders import (
    DEVICE,
    MADE,
    NAMES,
    NEW_RECORD,
    NOW,
    READY_SCOPE_MAP,
    SCOPE_MAP,
    SCOPE_MAP_ID,
    TOKEN_ID,
    edited,
)
from tests.firstpull.fleet.inventories import (
    AT_REST,
    LEAVES_PLANT_ONE,
    READY_TOKEN,
    TOMBSTONE,
    in_hub,
    in_ledger,
    in_registry,
    in_vault,
    inventory,
)
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY
from tests.firstpull.records import changed

TOKEN = (Kind.TOKEN, NAMES.token, "acrtest")
SECRET = (Kind.SECRET, NAMES.secret, "Key Vault")
ENTRY = (Kind.TWIN_ENTRY, "press-1", "plantone")
BARE: dict[str, Any] = {"secrets": {}, "ledgers": {}, "twins": {}}


def found(*records: DeviceRecord, **changes: Any) -> list[tuple[Kind, str, str]]:  # noqa: ANN401 - fields of Inventory
    there = orphans(inventory(*records, **changes), deployment="test")
    return [(orphan.kind, orphan.name, orphan.where) for orphan in there]


def unreferenced(
    *records: DeviceRecord,
    before: Mapping[ScopeMapId, datetime] | None = None,
    **changes: Any,  # noqa: ANN401 - fields of Inventory
) -> dict[ScopeMapId, datetime]:
    there = inventory(*records, **(in_registry() | changes))
    return unreferenced_scope_maps(there, deployment="test", before=before or {})


@pytest.mark.parametrize(
    ("records", "changes", "expected"),
    [
        ([AT_REST], {}, []),
        ([LEAVES_PLANT_ONE], {}, []),
        ([], {}, [SECRET, TOKEN, ENTRY]),
        ([TOMBSTONE], {"twins": {}}, [SECRET, TOKEN]),
        ([TOMBSTONE], in_registry() | {"secrets": {}}, [ENTRY]),
        ([changed(TOMBSTONE, observed_at=NOW)], {}, []),
        ([], BARE, []),
        ([], BARE | in_vault(), [SECRET, TOKEN]),
        ([], BARE | in_ledger(Standing.MEMBER), [TOKEN]),
        ([], BARE | in_hub(desired={}), [TOKEN]),
        ([], BARE | in_registry() | in_vault(enabled=False), []),
    ],
    ids=[
        "a record names all",
        "a record is to lose all",
        "no record",
        "things of a revoked device",
        "an entry of a revoked device",
        "a device revoked since the inventory",
        "no sign that anything is ours",
        "a secret's tags are a sign",
        "a ledger is a sign",
        "a device's own token is a sign",
        "a secret that nobody can read is a tombstone's",
    ],
)
def test_an_orphan_is_ours_and_no_record_names_it(
    records: list[DeviceRecord], changes: dict[str, Any], expected: list[tuple[Kind, str, str]]
) -> None:
    assert found(*records, **changes) == expected


def test_what_is_another_deployments_is_no_orphan() -> None:
    names = names_for(DEVICE, deployment="other", registry=REGISTRY)
    tags = {"deployment": "other", "token": names.token}
    theirs = [replace(READY_TOKEN, name=name) for name in (names.token, "foreign")]
    secret = StoredSecret(name=names.secret, enabled=True, tags=tags)
    entry = in_hub(desired=edited(username=names.token))
    assert found(ledgers={}, secrets={names.secret: secret}, **in_registry(*theirs), **entry) == []


def test_a_scope_map_that_a_token_or_a_record_refers_to_is_in_use() -> None:
    assert unreferenced(**in_registry(READY_TOKEN)) == {}
    assert unreferenced(AT_REST) == {}
    assert unreferenced(NEW_RECORD) == {}
    assert unreferenced(TOMBSTONE) == {SCOPE_MAP_ID: NOW}
    assert unreferenced() == {SCOPE_MAP_ID: NOW}


@pytest.mark.parametrize(
    "scope_map",
    [
        ScopeMap(
            name=scope_map_name(READY_SCOPE_MAP.actions, deployment="other"),
            actions=READY_SCOPE_MAP.actions,
        ),
        ScopeMap(name=SCOPE_MAP, actions=frozenset({"repositories/x/content/read"})),
        ScopeMap(name="made-by-hand", actions=READY_SCOPE_MAP.actions),
    ],
    ids=["another deployment's", "changed", "made by hand"],
)
def test_a_scope_map_that_is_not_ours_by_name_and_content_is_left_alone(
    scope_map: ScopeMap,
) -> None:
    assert unreferenced(**in_registry(scope_map=scope_map)) == {}


def test_a_scope_map_of_retained_actions_is_in_use() -> None:
    retained = frozenset({"repositories/plant/old/content/read"})
    union = retained | READY_SCOPE_MAP.actions
    there = in_registry(
        scope_map=ScopeMap(name=scope_map_name(union, deployment="test"), actions=union)
    )
    assert unreferenced(changed(AT_REST, retained_actions=retained), **there) == {}
    assert len(unreferenced(AT_REST, **there)) == 1


def test_a_scope_map_stays_unreferenced_since_it_was_first_found_so() -> None:
    before = {SCOPE_MAP_ID: MADE}
    assert unreferenced(before=before) == before
    assert unreferenced(registries={}, before=before) == before
    assert unreferenced(AT_REST, before=before) == {}
    assert unreferenced(**in_registry(scope_map=None), before=before) == {}
    assert unreferenced(knows_all_records=False, before=before) == {}


def test_the_clients_of_a_connected_registry_are_those_of_all_grants_there() -> None:
    moves = changed(
        LEAVES_PLANT_ONE, grant=Grant(ref=PLANT_TWO, names=NAMES), observed_generation=1
    )
    elsewhere = ConnectedRegistryRef(registry=RegistryId(f"{REGISTRY}2"), name="plantone")
    assert clients_of(inventory(AT_REST), PLANT_ONE) == {TOKEN_ID}
    assert clients_of(inventory(moves), PLANT_ONE) == {TOKEN_ID}
    assert clients_of(inventory(moves), PLANT_TWO) == {TOKEN_ID}
    for ref in (PLANT_TWO, elsewhere):
        assert clients_of(inventory(AT_REST), ref) == frozenset()
    assert clients_of(inventory(TOMBSTONE), PLANT_ONE) == frozenset()
