"""Orphans: what this deployment made and no record names. Pure functions of an inventory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from firstpull.fleet.drift import is_newer
from firstpull.fleet.inventory import Inventory, by_device
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, ScopeMapId, TokenId
from firstpull.model.delivery_kinds import entries_everywhere, kind_named
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.naming import scope_map_name, token_name
from firstpull.model.password_slots import token_of
from firstpull.model.sweep_report import Kind, Orphan

SCOPE_MAP_REST = timedelta(hours=24)
"""How long a scope map must be unreferenced before the sweep removes it."""


def orphans(inventory: Inventory, *, deployment: str) -> tuple[Orphan, ...]:
    """Everything of this deployment that no record names.

    A prefix of a name proves nothing. The tags of a secret name its deployment and token, a
    ledger has this deployment's clients, and a device's own token has its derived name.
    """
    return tuple(
        sorted(
            {
                *_orphaned_tokens(inventory, deployment),
                *_orphaned_secrets(inventory, deployment),
                *_orphaned_entries(inventory, deployment),
            }
        )
    )


def unreferenced_scope_maps(
    inventory: Inventory, *, deployment: str, before: Mapping[ScopeMapId, datetime]
) -> dict[ScopeMapId, datetime]:
    """This deployment's scope maps that no token and no record refers to, and since when.

    The entries of `before` stay for a container registry that was not read. If a record cannot
    be read, no scope map counts as unreferenced.
    """
    if not inventory.knows_all_records:
        return {}
    wanted = {
        registry.scope_map(scope_map_name(record.scope_actions_at(registry), deployment=deployment))
        for record in inventory.records
        if not record.is_tombstone
        for registry in _registries_of(record)
    }
    found = {
        scope_map_id: since
        for scope_map_id, since in before.items()
        if scope_map_id.registry not in inventory.registries
    }
    for registry, contents in inventory.registries.items():
        used = {token.scope_map_id for token in contents.tokens.values()}
        for name, scope_map in contents.scope_maps.items():
            scope_map_id = registry.scope_map(name)
            ours = scope_map_name(scope_map.actions, deployment=deployment) == name
            if ours and scope_map_id not in used and scope_map_id not in wanted:
                found[scope_map_id] = before.get(scope_map_id, inventory.at)
    return found


def clients_of(inventory: Inventory, ref: ConnectedRegistryRef) -> frozenset[TokenId]:
    """The tokens that records name as clients of a connected registry."""
    return frozenset(
        grant.token_id
        for record in inventory.records
        if not record.is_tombstone
        for grant in record.grants
        if grant.ref == ref
    )


def _explains(record: DeviceRecord, inventory: Inventory) -> bool:
    """Whether the resources that a record names may exist: a tombstone's should be gone."""
    return not record.is_tombstone or is_newer(record, inventory)


def _orphaned_tokens(inventory: Inventory, deployment: str) -> Iterator[Orphan]:
    tagged = {
        token_of(secret)
        for secret in (inventory.secrets or {}).values()
        if secret.enabled and secret.tags.get("deployment") == deployment
    }
    listed = {
        (ref.registry, entry.token_id.name)
        for ref, ledger in inventory.ledgers.items()
        for entry in ledger.entries.values()
    }
    explained = {
        (grant.ref.registry, grant.names.token)
        for record in inventory.records
        if _explains(record, inventory)
        for grant in record.grants
    }
    own = {
        token_name(DeviceKey(hub=hub, device_id=device_id), deployment=deployment)
        for hub, twins in inventory.twins.items()
        for device_id in twins
    }
    for registry, contents in inventory.registries.items():
        for name in contents.tokens:
            ours = name in tagged or name in own or (registry, name) in listed
            if ours and (registry, name) not in explained:
                yield Orphan(kind=Kind.TOKEN, name=name, where=registry.name)


def _orphaned_secrets(inventory: Inventory, deployment: str) -> Iterator[Orphan]:
    explained = {
        grant.names.secret
        for record in inventory.records
        if _explains(record, inventory)
        for grant in record.grants
    }
    for name, secret in (inventory.secrets or {}).items():
        ours = secret.tags.get("deployment") == deployment
        if ours and secret.enabled and name not in explained:
            yield Orphan(kind=Kind.SECRET, name=name, where="Key Vault")


def _orphaned_entries(inventory: Inventory, deployment: str) -> Iterator[Orphan]:
    records = by_device(inventory.records)
    for hub, twins in inventory.twins.items():
        for device_id, twin in twins.items():
            device = DeviceKey(hub=hub, device_id=device_id)
            record = records.get(device)
            token = token_name(device, deployment=deployment)
            grants = record.grants if record is not None else ()
            ours = {token, *(grant.names.token for grant in grants)}
            explained = {
                (kind_named(grant.delivery).place, grant.ref.name)
                for grant in grants
                if record is not None and _explains(record, inventory)
            }
            for kind, key, entry in entries_everywhere(twin):
                if (kind.place, key) not in explained and any(entry.is_for(name) for name in ours):
                    yield Orphan(kind=Kind.TWIN_ENTRY, name=device_id, where=key)


def _registries_of(record: DeviceRecord) -> set[RegistryId]:
    refs = (*record.spec.intent.candidates, *(grant.ref for grant in record.grants))
    return {ref.registry for ref in refs}
