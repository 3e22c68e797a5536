"""What differs between the records and the world: pure functions of an inventory.

An inventory is minutes old when it is used, so nothing here is acted on as it is: a device that
seems to have drifted is looked at, and one that seems to be gone is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from firstpull.cloud import Place, RegistryId, Token, TokenId, name_of
from firstpull.delivery import entries_in, read_entry
from firstpull.devices import DeviceKey
from firstpull.inventory import Inventory, RegistryInventory, by_device
from firstpull.ledger import Standing
from firstpull.naming import scope_map_name, token_name
from firstpull.records import DeviceRecord, State, Warned
from firstpull.revoking import was_in_hub
from firstpull.sweep_report import Kind, Unexplained
from firstpull.warned import warnings_for

SCOPE_MAP_REST = timedelta(hours=24)
"""So long nothing must refer to a scope map before it is removed."""


def drift_of(record: DeviceRecord, inventory: Inventory, *, deployment: str) -> tuple[str, ...]:
    """What is not as the record has it, in words. Nothing of a device that is under way."""
    if not is_at_rest(record, now=inventory.at) or is_newer(record, inventory):
        return ()
    return (
        *_in_registry(record, inventory, deployment),
        *_in_vault(record, inventory),
        *_in_hub(record, inventory),
    )


def warnings_of(record: DeviceRecord, inventory: Inventory) -> tuple[Warned, ...]:
    """The warnings that the record should have; those it has, where its registry was not read."""
    place, names = record.place, record.names
    registry = inventory.registries.get(place.registry) if place is not None else None
    if place is None or names is None or registry is None:
        return record.warnings
    connected = registry.connected_registry(place)
    return warnings_for(
        record,
        connected_registry=connected,
        synced_actions=registry.synced_by(connected) if connected is not None else None,
        token=registry.tokens.get(names.token),
        now=inventory.at,
    )


def gone_devices(inventory: Inventory) -> tuple[DeviceKey, ...]:
    """The devices that their hub had, and that its query does not show any more."""
    return tuple(
        record.device
        for record in inventory.records
        if was_in_hub(record)
        and record.device.hub in inventory.twins
        and inventory.twin(record.device) is None
    )


def newcomers(inventory: Inventory, *, tag: str) -> tuple[DeviceKey, ...]:
    """The devices that opt in by their tag and have no record, or only another one's tombstone."""
    records = by_device(inventory.records)
    found = []
    for hub, twins in inventory.twins.items():
        for device_id, twin in twins.items():
            device = DeviceKey(hub=hub, device_id=device_id)
            record = records.get(device)
            other = (
                record is not None
                and record.is_tombstone
                and record.hub_device_etag != twin.device_etag
            )
            if tag in twin.tags and (record is None or other):
                found.append(device)
    return tuple(found)


def unexplained(inventory: Inventory, *, deployment: str) -> tuple[Unexplained, ...]:
    """What is this deployment's and no record names.

    A name alone makes nothing ours: a secret says in its tags whose it is and which token it is
    for, the ledgers hold our clients, and a device's own token has the name that we would give it.
    """
    return tuple(
        sorted(
            {
                *_unexplained_tokens(inventory, deployment),
                *_unexplained_secrets(inventory, deployment),
                *_unexplained_entries(inventory, deployment),
            }
        )
    )


def unreferenced_scope_maps(
    inventory: Inventory, *, deployment: str, before: Mapping[str, datetime]
) -> dict[str, datetime]:
    """Our scope maps to which no token and no record refers, by ARM id: since when.

    Of a container registry that was not read, what was known `before` stays so. Where a record
    cannot be read, none is unreferenced.
    """
    if not inventory.knows_all_records:
        return {}
    wanted = {
        (registry, scope_map_name(record.scope_actions_at(registry), deployment=deployment))
        for record in inventory.records
        if not record.is_tombstone
        for registry in _registries_of(record)
    }
    found = {
        scope_map_id: since
        for scope_map_id, since in before.items()
        if _registry_of(scope_map_id) not in inventory.registries
    }
    for registry, there in inventory.registries.items():
        used = {name_of(token.scope_map_id).casefold() for token in there.tokens.values()}
        for name, scope_map in there.scope_maps.items():
            ours = scope_map_name(scope_map.actions, deployment=deployment) == name
            if ours and name.casefold() not in used and (registry, name) not in wanted:
                scope_map_id = f"{registry}/scopeMaps/{name}"
                found[scope_map_id] = before.get(scope_map_id, inventory.at)
    return found


def clients_of(inventory: Inventory, place: Place) -> frozenset[str]:
    """The ids, in lower case, of the tokens that the records have at a connected registry."""
    return frozenset(
        f"{place.registry}/tokens/{holding.names.token}".casefold()
        for record in inventory.records
        if not record.is_tombstone
        for holding in record.holdings
        if holding.place == place
    )


def is_at_rest(record: DeviceRecord, *, now: datetime) -> bool:
    """Whether the device has what it should have, and nobody is at it or about to be."""
    done = record.is_converged and record.revocation is None
    waits = record.claim is None and record.due_at > now
    return done and waits and record.rotation is None and not record.leaving


def is_newer(record: DeviceRecord, inventory: Inventory) -> bool:
    """Whether a worker has seen more than the inventory did."""
    return record.observed_at is not None and record.observed_at >= inventory.at


def _accounts_for_its_own(record: DeviceRecord, inventory: Inventory) -> bool:
    """Whether what a record names is explained by it: a tombstone's is to be gone."""
    return not record.is_tombstone or is_newer(record, inventory)


def _in_registry(record: DeviceRecord, inventory: Inventory, deployment: str) -> Iterator[str]:
    place, names = record.place, record.names
    registry = inventory.registries.get(place.registry) if place is not None else None
    if place is None or names is None or registry is None:
        return
    token = registry.tokens.get(names.token)
    if token is None:
        yield "the token is missing"
    else:
        yield from _of_token(record, token, registry, place.registry, deployment)
    connected = registry.connected_registry(place)
    token_id = TokenId(f"{place.registry}/tokens/{names.token}")
    if connected is None:
        yield "the connected registry is missing"
    elif not connected.lists(token_id):
        yield "the token is off the list"
    ledger = inventory.ledgers.get(place)
    entry = ledger.get(token_id) if ledger is not None else None
    if ledger is not None and (entry is None or entry.standing is not Standing.MEMBER):
        yield "the ledger has lost the device"


def _of_token(
    record: DeviceRecord,
    token: Token,
    registry: RegistryInventory,
    registry_id: RegistryId,
    deployment: str,
) -> Iterator[str]:
    wanted = record.scope_actions_at(registry_id)
    name = scope_map_name(wanted, deployment=deployment)
    scope_map = registry.scope_maps.get(name)
    if not token.enabled:
        yield "the token is disabled"
    if name_of(token.scope_map_id).casefold() != name.casefold():
        yield "the token has another scope map"
    if scope_map is None or scope_map.actions != wanted:
        yield "the scope map was changed"
    delivery = record.delivery
    password = token.password(delivery.slot) if delivery is not None else None
    if delivery is not None and (password is None or password.expires_at != delivery.expires_at):
        yield "the password was changed"


def _in_vault(record: DeviceRecord, inventory: Inventory) -> Iterator[str]:
    if inventory.secrets is None or record.names is None or record.delivery is None:
        return
    secret = inventory.secrets.get(record.names.secret)
    if secret is None:
        yield "the secret is missing"
    elif not secret.enabled and not _was_seen(record, secret.updated_at):
        yield "the secret is disabled"


def _was_seen(record: DeviceRecord, changed_at: datetime | None) -> bool:
    """Whether a worker has seen the vault so; a listing shows the latest version only."""
    seen = record.vault_seen_at
    return changed_at is not None and seen is not None and changed_at <= seen


def _in_hub(record: DeviceRecord, inventory: Inventory) -> Iterator[str]:
    twin = inventory.twin(record.device)
    if twin is None or record.place is None:
        return
    if twin.device_etag != record.hub_device_etag:
        yield "the device's identity was changed"
    if record.delivery is None:
        return
    entry = read_entry(twin.desired, record.place.connected_registry)
    if entry is None:
        yield "the twin's entry is gone"
    elif entry.id != record.delivery.id or not entry.intact:
        yield "the twin's entry was changed"
    elif record.condition.state is State.READY and not twin.enabled:
        yield "the device is disabled"


def _unexplained_tokens(inventory: Inventory, deployment: str) -> Iterator[Unexplained]:
    tagged = {
        secret.tags.get("token", "")
        for secret in (inventory.secrets or {}).values()
        if secret.enabled and secret.tags.get("deployment") == deployment
    }
    listed = {
        (place.registry, name_of(entry.token_id))
        for place, ledger in inventory.ledgers.items()
        for entry in ledger.entries.values()
    }
    explained = {
        (holding.place.registry, holding.names.token)
        for record in inventory.records
        if _accounts_for_its_own(record, inventory)
        for holding in record.holdings
    }
    own = {
        token_name(DeviceKey(hub=hub, device_id=device_id), deployment=deployment)
        for hub, twins in inventory.twins.items()
        for device_id in twins
    }
    for registry, there in inventory.registries.items():
        for name in there.tokens:
            ours = name in tagged or name in own or (registry, name) in listed
            if ours and (registry, name) not in explained:
                yield Unexplained(kind=Kind.TOKEN, name=name, where=name_of(registry))


def _unexplained_secrets(inventory: Inventory, deployment: str) -> Iterator[Unexplained]:
    explained = {
        holding.names.secret
        for record in inventory.records
        if _accounts_for_its_own(record, inventory)
        for holding in record.holdings
    }
    for name, secret in (inventory.secrets or {}).items():
        ours = secret.tags.get("deployment") == deployment
        if ours and secret.enabled and name not in explained:
            yield Unexplained(kind=Kind.SECRET, name=name, where="Key Vault")


def _unexplained_entries(inventory: Inventory, deployment: str) -> Iterator[Unexplained]:
    records = by_device(inventory.records)
    for hub, twins in inventory.twins.items():
        for device_id, twin in twins.items():
            device = DeviceKey(hub=hub, device_id=device_id)
            record = records.get(device)
            token = token_name(device, deployment=deployment)
            holdings = record.holdings if record is not None else ()
            ours = {token, *(holding.names.token for holding in holdings)}
            explained = {
                holding.place.connected_registry
                for holding in holdings
                if record is not None and _accounts_for_its_own(record, inventory)
            }
            for key, entry in entries_in(twin.desired).items():
                if key not in explained and any(entry.is_for(name) for name in ours):
                    yield Unexplained(kind=Kind.TWIN_ENTRY, name=device_id, where=key)


def _registries_of(record: DeviceRecord) -> set[RegistryId]:
    places = (*record.intent.candidates, *(holding.place for holding in record.holdings))
    return {place.registry for place in places}


def _registry_of(resource_id: str) -> RegistryId:
    return RegistryId(resource_id.rsplit("/", 2)[0])
