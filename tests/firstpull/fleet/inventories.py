"""An inventory in which the ready device has all that its record says, for tests that change it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from firstpull.fleet.inventory import Inventory, RegistryInventory
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ScopeMap,
    StoredSecret,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_record import (
    Condition,
    DeviceRecord,
    RetiringGrant,
    Revocation,
    State,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.reasons import Reason
from tests.firstpull.builders import (
    DEVICE,
    MADE,
    NAMES,
    NEW_RECORD,
    NOW,
    READY_SCOPE_MAP,
    TOKEN_ID,
    desired,
    password,
    record,
    token,
)
from tests.firstpull.harness import HUB, PLANT_ONE, REGISTRY
from tests.firstpull.records import changed

LATER = NOW + timedelta(hours=1)
AT_REST = record(due_at=LATER, observed_at=MADE)
TOMBSTONE = record(
    revocation=Revocation(requested_by="a test", at=MADE),
    condition=Condition(state=State.REVOKED, reason=Reason.REVOKED, message="", since=MADE),
    delivery=None,
    due_at=LATER,
)
LEAVES_PLANT_ONE = changed(
    NEW_RECORD, retiring=(RetiringGrant(ref=PLANT_ONE, names=NAMES, at_once=False),)
)
READY_TOKEN = token(password())
MEMBER = Entry(token_id=TOKEN_ID, standing=Standing.MEMBER, since=MADE)
SECRET = StoredSecret(
    name=NAMES.secret, enabled=True, tags={"deployment": "test", "token": NAMES.token}
)


def twin(**changes: Any) -> Twin:  # noqa: ANN401 - fields of Twin
    """The ready device's twin, with changes."""
    there = Twin(etag="t1", device_etag="d1", enabled=True, desired=desired(), reported={})
    return replace(there, **changes)


def in_hub(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Twin
    """An inventory's twins: the ready device's, with changes."""
    return {"twins": {HUB: {DEVICE.device_id: twin(**changes)}}}


def in_registry(
    *tokens: Token,
    scope_map: ScopeMap | None = READY_SCOPE_MAP,
    clients: tuple[TokenId, ...] | None = (TOKEN_ID,),
    connection_state: str | None = None,
) -> dict[str, Any]:
    """An inventory's container registries: one, with these tokens."""
    plant_one = ConnectedRegistry(
        name="plantone",
        client_token_ids=clients or (),
        sync_token_id=REGISTRY.token("plantone"),
        login_server=None,
        last_sync_at=NOW,
        connection_state=connection_state,
    )
    there = RegistryInventory(
        tokens={token.name: token for token in tokens},
        scope_maps={scope_map.name: scope_map} if scope_map is not None else {},
        connected_registries={"plantone": plant_one} if clients is not None else {},
    )
    return {"registries": {REGISTRY: there}}


def in_ledger(*standings: Standing) -> dict[str, Any]:
    """An inventory's ledgers: one, with the device's entry or without."""
    ledger = Ledger()
    for standing in standings:
        ledger = ledger.with_entry(replace(MEMBER, standing=standing))
    return {"ledgers": {PLANT_ONE: ledger}}


def in_vault(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of StoredSecret
    """An inventory's secrets: the ready device's, with changes."""
    return {"secrets": {NAMES.secret: replace(SECRET, **changes)}}


def inventory(*records: DeviceRecord, **changes: Any) -> Inventory:  # noqa: ANN401 - fields of Inventory
    """Everything in order for the ready device, with changes."""
    return Inventory(
        **{
            "at": NOW,
            "records": records,
            "unread": (),
            **in_registry(READY_TOKEN),
            **in_ledger(Standing.MEMBER),
            **in_vault(),
            **in_hub(),
            **changes,
        }
    )
