from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from firstpull.fleet.drift import drift_of, gone_devices, is_at_rest, opted_in_devices, warnings_of
from firstpull.fleet.inventory import Inventory, RegistryInventory
from firstpull.fleet.orphans import clients_of, orphans, unreferenced_scope_maps
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    StoredSecret,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Claim,
    Condition,
    DeviceRecord,
    DeviceWarning,
    Grant,
    RetiringGrant,
    Revocation,
    Rotation,
    State,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import names_for, scope_map_name
from firstpull.model.reasons import Reason
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
    desired,
    edited,
    password,
    record,
    token,
)
from tests.firstpull.harness import HUB, PLANT_ONE, PLANT_TWO, REGISTRY, VALIDITY
from tests.firstpull.records import changed

TAG = "firstpull"
SECRET_TAGS = {"deployment": "test", "token": NAMES.token}
LATER = NOW + timedelta(hours=1)
AT_REST = record(due_at=LATER, observed_at=MADE)
REVOKED = Condition(state=State.REVOKED, reason=Reason.REVOKED, message="", since=MADE)
TOMBSTONE = record(
    revocation=Revocation(requested_by="a test", at=MADE),
    condition=REVOKED,
    delivery=None,
    due_at=LATER,
)
MEMBER = Entry(token_id=TOKEN_ID, standing=Standing.MEMBER, since=MADE)


def twin(**changes: Any) -> Twin:  # noqa: ANN401 - fields of Twin
    fields: dict[str, Any] = {
        "etag": "t1",
        "device_etag": "d1",
        "enabled": True,
        "desired": desired(),
        "reported": {},
    }
    return Twin(**(fields | changes))


def registry(
    *,
    found: Token | None = None,
    scope_map: ScopeMap | None = READY_SCOPE_MAP,
    clients: tuple[TokenId, ...] | None = (TOKEN_ID,),
    state: str | None = None,
    more_tokens: Mapping[str, Token] | None = None,
) -> RegistryInventory:
    connected = {}
    if clients is not None:
        connected["plantone"] = ConnectedRegistry(
            name="plantone",
            client_token_ids=clients,
            sync_token_id=REGISTRY.token("plantone"),
            login_server=None,
            last_sync_at=NOW,
            connection_state=state,
        )
    tokens = {found.name: found} if found is not None else {}
    return RegistryInventory(
        tokens={**tokens, **(more_tokens or {})},
        scope_maps={scope_map.name: scope_map} if scope_map is not None else {},
        connected_registries=connected,
    )


ALL_THERE = registry(found=token(password()))


def inventory(*records: DeviceRecord, **changes: Any) -> Inventory:  # noqa: ANN401 - fields of Inventory
    """Everything in order for the ready device, with changes."""
    fields: dict[str, Any] = {
        "at": NOW,
        "records": records or (AT_REST,),
        "registries": {REGISTRY: ALL_THERE},
        "ledgers": {PLANT_ONE: Ledger().with_entry(MEMBER)},
        "secrets": {NAMES.secret: StoredSecret(name=NAMES.secret, enabled=True, tags=SECRET_TAGS)},
        "twins": {HUB: {DEVICE.device_id: twin()}},
        "unread": (),
    }
    return Inventory(**(fields | changes))


def drift(of: DeviceRecord = AT_REST, **changes: Any) -> tuple[str, ...]:  # noqa: ANN401 - fields of Inventory
    return drift_of(of, inventory(of, **changes), deployment="test")


def in_registry(**changes: Any) -> tuple[str, ...]:  # noqa: ANN401 - arguments of registry
    fields: dict[str, Any] = {"found": token(password())}
    return drift(registries={REGISTRY: registry(**(fields | changes))})


def test_a_device_that_has_all_that_its_record_says_has_not_drifted() -> None:
    assert drift() == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"found": None}, "the token is missing"),
        ({"found": token(password(), enabled=False)}, "the token is disabled"),
        (
            {"found": token(password(), scope_map_id=REGISTRY.scope_map("x"))},
            "the token has another scope map",
        ),
        ({"scope_map": None}, "the scope map is missing"),
        (
            {"scope_map": ScopeMap(name=SCOPE_MAP, actions=frozenset())},
            "the scope map was changed",
        ),
        ({"found": token()}, "the password was changed"),
        ({"found": token(password(lives=None))}, "the password was changed"),
        ({"found": token(password(made=NOW))}, "the password was changed"),
        ({"clients": ()}, "the token is off the list"),
        ({"clients": None}, "the connected registry is missing"),
    ],
)
def test_what_differs_in_the_container_registry(changes: dict[str, Any], told: str) -> None:
    assert in_registry(**changes) == (told,)


def test_ids_in_another_case_are_the_same() -> None:
    found = token(password(), scope_map_id=ScopeMapId(str(SCOPE_MAP_ID).upper()))
    assert in_registry(found=found, clients=(TokenId(str(TOKEN_ID).upper()),)) == ()


@pytest.mark.parametrize("standing", [None, *Standing])
def test_what_differs_in_the_ledger(standing: Standing | None) -> None:
    ledger = Ledger()
    if standing is not None:
        ledger = ledger.with_entry(replace(MEMBER, standing=standing))
    told = () if standing is Standing.MEMBER else ("the ledger has lost the device",)
    assert drift(ledgers={PLANT_ONE: ledger}) == told


def test_what_differs_in_the_vault() -> None:
    disabled = StoredSecret(name=NAMES.secret, enabled=False)
    assert drift(secrets={}) == ("the secret is missing",)
    assert drift(secrets={NAMES.secret: disabled}) == ("the secret is disabled",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device_etag": "d2"}, ("the device's identity was changed",)),
        ({"desired": {}}, ("the twin's entry is gone",)),
        ({"desired": edited(address="elsewhere")}, ("the twin's entry was changed",)),
        ({"desired": edited(deliveryId="other")}, ("the twin's entry was changed",)),
        ({"desired": edited(password=None)}, ("the twin's entry is gone",)),
        ({"enabled": False}, ("the device is disabled",)),
        ({"tags": {"mine": 1}, "etag": "t9"}, ()),
    ],
)
def test_what_differs_in_the_hub(changes: dict[str, Any], told: tuple[str, ...]) -> None:
    assert drift(twins={HUB: {DEVICE.device_id: twin(**changes)}}) == told


def test_an_adopted_device_has_neither_password_nor_delivery_of_ours() -> None:
    adopted = changed(AT_REST, adopted=True, delivery=None)
    bare = {HUB: {DEVICE.device_id: twin(desired={})}}
    there = {REGISTRY: registry(found=token(password(lives=None)))}
    assert drift(adopted, secrets={}, twins=bare, registries=there) == ()
    assert drift(adopted, registries={REGISTRY: registry()}) == ("the token is missing",)


@pytest.mark.parametrize(
    "missing", [{"registries": {}}, {"secrets": None}, {"twins": {}}], ids=lambda m: next(iter(m))
)
def test_nothing_is_concluded_from_what_could_not_be_read(missing: dict[str, Any]) -> None:
    assert drift(**missing, unread=("it: it did not answer",)) == ()
    found = inventory(**missing, unread=("it: it did not answer",))
    assert gone_devices(found) == ()
    assert warnings_of(AT_REST, found) == ()


def in_state(state: State) -> DeviceRecord:
    condition = Condition(state=state, reason=Reason.ACCEPTED, message="", since=MADE)
    return changed(AT_REST, condition=condition)


CLAIMED = replace(AT_REST, claim=Claim(owner="me", until=LATER))
UNDER_WAY = {
    "due": changed(AT_REST, due_at=NOW),
    "another generation": changed(AT_REST, generation=2),
    "a rotation": changed(
        AT_REST, rotation=Rotation(replaces="v1", immediately=False, requested_by="me", at=MADE)
    ),
    "a move": changed(
        AT_REST, retiring=(RetiringGrant(ref=PLANT_TWO, names=NAMES, at_once=False),)
    ),
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
ALL_GONE: dict[str, Any] = {"registries": {REGISTRY: registry()}, "secrets": {}}


@pytest.mark.parametrize("busy", UNDER_WAY.values(), ids=UNDER_WAY)
def test_a_device_that_is_under_way_is_compared_all_the_same(busy: DeviceRecord) -> None:
    assert not is_at_rest(busy, inventory())
    assert drift(busy, **ALL_GONE) == drift(**ALL_GONE)


@pytest.mark.parametrize("record", NOT_COMPARED.values(), ids=NOT_COMPARED)
def test_a_device_that_no_pass_could_mend_or_that_a_worker_is_at_is_not_compared(
    record: DeviceRecord,
) -> None:
    assert drift(record, **ALL_GONE) == ()


def test_a_device_that_its_hub_had_and_shows_no_more_is_gone() -> None:
    empty: dict[str, Any] = {"twins": {HUB: {}}}
    assert gone_devices(inventory()) == ()
    assert gone_devices(inventory(**empty)) == (DEVICE,)
    assert gone_devices(inventory(TOMBSTONE, **empty)) == ()
    assert gone_devices(inventory(NEW_RECORD, **empty)) == ()
    assert gone_devices(inventory(CLAIMED, **empty)) == (DEVICE,)


def test_who_opts_in_and_has_no_record_is_new() -> None:
    tagged = {HUB: {DEVICE.device_id: twin(tags={TAG: {}})}}
    untagged = {HUB: {DEVICE.device_id: twin(tags={"other": {}})}}
    stranger = replace(AT_REST, device=DeviceKey(hub=HUB, device_id="Press-1"))
    assert opted_in_devices(inventory(stranger, twins=tagged), tag=TAG) == (DEVICE,)
    assert opted_in_devices(inventory(stranger, twins=untagged), tag=TAG) == ()
    assert opted_in_devices(inventory(AT_REST, twins=tagged), tag=TAG) == ()


def test_a_tombstone_is_another_devices_where_the_identity_differs() -> None:
    def new(device_etag: str, of: DeviceRecord) -> tuple[DeviceKey, ...]:
        twins = {HUB: {DEVICE.device_id: twin(device_etag=device_etag, tags={TAG: {}})}}
        return opted_in_devices(inventory(of, twins=twins), tag=TAG)

    assert new("d1", TOMBSTONE) == ()
    assert new("d2", TOMBSTONE) == (DEVICE,)
    unfinished = changed(TOMBSTONE, generation=9)
    assert new("d2", unfinished) == ()


STRANGER = token(password())
OTHERS = replace(STRANGER, name="foreign", id=REGISTRY.token("foreign"))


def unexplained_in(*records: DeviceRecord, **changes: Any) -> list[tuple[Kind, str, str]]:  # noqa: ANN401 - fields of Inventory
    found = inventory(**({"records": records} | changes))
    return [(u.kind, u.name, u.where) for u in orphans(found, deployment="test")]


def test_what_is_named_by_a_record_is_explained() -> None:
    assert unexplained_in(AT_REST) == []


def test_what_is_ours_and_named_by_no_record_is_told_of() -> None:
    assert unexplained_in() == [
        (Kind.SECRET, NAMES.secret, "Key Vault"),
        (Kind.TOKEN, NAMES.token, "acrtest"),
        (Kind.TWIN_ENTRY, "press-1", "plantone"),
    ]


def test_each_sign_alone_makes_a_token_ours() -> None:
    bare: dict[str, Any] = {"secrets": {}, "ledgers": {}, "twins": {}}
    assert unexplained_in(**bare) == []
    tagged = {NAMES.secret: StoredSecret(name=NAMES.secret, enabled=True, tags=SECRET_TAGS)}
    listed = {PLANT_ONE: Ledger().with_entry(MEMBER)}
    twins = {HUB: {DEVICE.device_id: twin(desired={})}}
    for sign in ({"secrets": tagged}, {"ledgers": listed}, {"twins": twins}):
        assert (Kind.TOKEN, NAMES.token, "acrtest") in unexplained_in(**(bare | sign))


def test_what_is_another_deployments_is_not_told_of() -> None:
    names = names_for(DEVICE, deployment="other", registry=REGISTRY)
    tags = {"deployment": "other", "token": names.token}
    theirs = replace(STRANGER, name=names.token)
    entry = edited(username=names.token)
    assert (
        unexplained_in(
            registries={REGISTRY: registry(more_tokens={names.token: theirs, "foreign": OTHERS})},
            secrets={names.secret: StoredSecret(name=names.secret, enabled=True, tags=tags)},
            ledgers={},
            twins={HUB: {DEVICE.device_id: twin(desired=entry)}},
        )
        == []
    )


def test_a_secret_that_nobody_can_read_is_a_tombstones_and_no_news() -> None:
    spent = {NAMES.secret: StoredSecret(name=NAMES.secret, enabled=False, tags=SECRET_TAGS)}
    bare: dict[str, Any] = {"registries": {REGISTRY: registry()}, "twins": {}, "ledgers": {}}
    assert unexplained_in(secrets=spent, **bare) == []


def test_a_twin_entry_of_a_revoked_device_is_told_of() -> None:
    assert unexplained_in(TOMBSTONE, registries={REGISTRY: registry()}, secrets={}) == [
        (Kind.TWIN_ENTRY, "press-1", "plantone")
    ]


def test_what_is_there_of_a_revoked_device_after_all_is_told_of() -> None:
    assert unexplained_in(TOMBSTONE, twins={}) == [
        (Kind.SECRET, NAMES.secret, "Key Vault"),
        (Kind.TOKEN, NAMES.token, "acrtest"),
    ]


def test_what_a_device_is_to_lose_is_explained() -> None:
    moving = changed(
        NEW_RECORD, retiring=(RetiringGrant(ref=PLANT_ONE, names=NAMES, at_once=False),)
    )
    assert unexplained_in(moving) == []


def unreferenced(
    *records: DeviceRecord,
    before: Mapping[ScopeMapId, datetime] | None = None,
    **changes: Any,  # noqa: ANN401 - fields of Inventory
) -> dict[ScopeMapId, datetime]:
    found = inventory(**({"records": records} | changes))
    return unreferenced_scope_maps(found, deployment="test", before=before or {})


LONELY = {REGISTRY: registry()}


def test_a_scope_map_that_a_token_or_a_record_refers_to_is_in_use() -> None:
    assert unreferenced() == {}
    assert unreferenced(AT_REST, registries=LONELY) == {}
    assert unreferenced(NEW_RECORD, registries=LONELY) == {}
    assert unreferenced(TOMBSTONE, registries=LONELY) == {SCOPE_MAP_ID: NOW}
    assert unreferenced(registries=LONELY) == {SCOPE_MAP_ID: NOW}


def test_a_scope_map_is_ours_where_its_name_says_its_content_in_this_deployment() -> None:
    actions = READY_SCOPE_MAP.actions
    for name, content in (
        (scope_map_name(actions, deployment="other"), actions),
        (SCOPE_MAP, frozenset({"repositories/x/content/read"})),
        ("made-by-hand", actions),
    ):
        lonely = {REGISTRY: registry(scope_map=ScopeMap(name=name, actions=content))}
        assert unreferenced(registries=lonely) == {}


def test_what_a_device_keeps_is_in_use_too() -> None:
    retained_actions = frozenset({"repositories/plant/old/content/read"})
    union = retained_actions | READY_SCOPE_MAP.actions
    kept = ScopeMap(name=scope_map_name(union, deployment="test"), actions=union)
    lonely = {REGISTRY: registry(scope_map=kept)}
    assert (
        unreferenced(changed(AT_REST, retained_actions=retained_actions), registries=lonely) == {}
    )
    assert len(unreferenced(AT_REST, registries=lonely)) == 1


def test_it_is_known_since_when_nothing_refers_to_a_scope_map() -> None:
    before = {SCOPE_MAP_ID: MADE}
    assert unreferenced(registries=LONELY, before=before) == before
    assert unreferenced(AT_REST, registries=LONELY, before=before) == {}
    assert unreferenced(registries={REGISTRY: registry(scope_map=None)}, before=before) == {}
    assert unreferenced(registries={}, before=before) == before


def test_the_clients_of_a_connected_registry_are_all_that_records_have_or_are_to_lose_there() -> (
    None
):
    moving = changed(
        record(grant=Grant(ref=PLANT_TWO, names=NAMES)),
        retiring=(RetiringGrant(ref=PLANT_ONE, names=NAMES, at_once=False),),
    )
    key = TOKEN_ID
    assert clients_of(inventory(), PLANT_ONE) == {key}
    assert clients_of(inventory(), PLANT_TWO) == frozenset()
    assert clients_of(inventory(moving), PLANT_ONE) == {key}
    assert clients_of(inventory(moving), PLANT_TWO) == {key}
    assert clients_of(inventory(TOMBSTONE), PLANT_ONE) == frozenset()
    elsewhere = ConnectedRegistryRef(registry=RegistryId(f"{REGISTRY}2"), name="plantone")
    assert clients_of(inventory(), elsewhere) == frozenset()


def test_warnings_are_those_that_a_pass_would_find() -> None:
    offline = inventory(registries={REGISTRY: registry(found=token(password()), state="Offline")})
    (warning,) = warnings_of(AT_REST, offline)
    assert warning.reason is Reason.CONNECTED_REGISTRY_OFFLINE
    before = changed(
        AT_REST, warnings=(DeviceWarning(reason=warning.reason, message="", since=MADE),)
    )
    (again,) = warnings_of(before, offline)
    assert again.since == MADE
    assert warnings_of(before, inventory()) == ()
    assert warnings_of(before, inventory(registries={})) == before.status.warnings


def test_an_unanswered_password_near_its_end_is_found_by_a_sweep() -> None:
    waits = changed(AT_REST, acknowledged_at=None)
    (warning,) = warnings_of(waits, inventory(waits, at=MADE + 0.8 * VALIDITY))
    assert warning.reason is Reason.PASSWORD_EXPIRES_SOON
