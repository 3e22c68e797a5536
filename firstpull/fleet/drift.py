"""Which devices differ from their records, which are new, and which are gone.

These are pure functions of an inventory. An inventory may be minutes old, so a pass observes a
device with drift again, and the sweep reads a device that seems gone again before it revokes it.
"""

from __future__ import annotations

from dataclasses import replace

from firstpull.fleet.inventory import Inventory, by_device
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, DeviceWarning, State
from firstpull.model.last_request import LastRequest, last_request
from firstpull.model.password_slots import is_made_for
from firstpull.reconcile.checks import (
    Difference,
    RegistrySnapshot,
    Snapshot,
    StoredSecretState,
    differences,
)
from firstpull.reconcile.warnings import warnings_for

_NOT_COMPARED = (State.PENDING, State.BLOCKED, State.REVOKING, State.REVOKED)
"""States in which a pass is due anyway, or could repair nothing until a person acts."""


def drift_of(
    record: DeviceRecord, inventory: Inventory, *, deployment: str
) -> tuple[Difference, ...]:
    """What differs; nothing for a device that a worker is writing to or has observed since."""
    status = record.status
    is_compared = status.observed_at is not None and status.condition.state not in _NOT_COMPARED
    if not is_compared or record.claim is not None or is_newer(record, inventory):
        return ()
    snapshot = _snapshot(record, inventory, deployment=deployment)
    return differences(snapshot) if snapshot is not None else ()


def warnings_of(record: DeviceRecord, inventory: Inventory) -> tuple[DeviceWarning, ...]:
    """The current warnings, or the record's if its container registry was not read."""
    grant = record.status.grant
    registry = inventory.registries.get(grant.ref.registry) if grant is not None else None
    if grant is None or registry is None:
        return record.status.warnings
    connected = registry.connected_registry(grant.ref)
    return warnings_for(
        record,
        connected_registry=connected,
        synced_actions=registry.synced_by(connected) if connected is not None else None,
        token=registry.tokens.get(grant.names.token),
        twin=inventory.twin(record.device),
        now=inventory.at,
    )


def gone_devices(inventory: Inventory) -> tuple[DeviceKey, ...]:
    """The devices that their hub had, and that its query no longer returns."""
    return tuple(
        record.device
        for record in inventory.records
        if record.was_in_hub
        and record.device.hub in inventory.twins
        and inventory.twin(record.device) is None
    )


def opted_in_devices(inventory: Inventory, *, tag: str) -> tuple[DeviceKey, ...]:
    """The devices that opt in by their tag and have no record, or only an old tombstone."""
    records = by_device(inventory.records)
    found = []
    for hub, twins in inventory.twins.items():
        for device_id, twin in twins.items():
            device = DeviceKey(hub=hub, device_id=device_id)
            record = records.get(device)
            is_unknown = record is None or (
                record.is_tombstone and record.status.hub_device_etag != twin.device_etag
            )
            if tag in twin.tags and is_unknown:
                found.append(device)
    return tuple(found)


def is_at_rest(record: DeviceRecord, inventory: Inventory) -> bool:
    """Whether the device has what it should have, and no pass is under way or due."""
    is_done = record.is_converged and record.spec.revocation is None
    is_idle = record.claim is None and record.schedule.due_at > inventory.at
    return is_done and is_idle and record.spec.rotation is None and not record.status.retiring


def is_newer(record: DeviceRecord, inventory: Inventory) -> bool:
    """Whether a pass has observed the device since the inventory began."""
    observed_at = record.status.observed_at
    return observed_at is not None and observed_at >= inventory.at


def _snapshot(record: DeviceRecord, inventory: Inventory, *, deployment: str) -> Snapshot | None:
    """The snapshot of a device in an inventory; None for a device without a grant."""
    grant = record.status.grant
    if grant is None:
        return None
    snapshot = Snapshot(
        record=record,
        grant=grant,
        deployment=deployment,
        registry=None,
        ledger=inventory.ledgers.get(grant.ref),
        secret=_stored_state(record, inventory, grant.names.secret),
        twin=inventory.twin(record.device),
        last_request=_last_request(record, inventory, grant.names.secret, deployment=deployment),
    )
    found = inventory.registries.get(grant.ref.registry)
    if found is None:
        return snapshot
    registry = RegistrySnapshot(
        token=found.tokens.get(grant.names.token),
        scope_map=found.scope_maps.get(snapshot.wanted_scope_map),
        connected_registry=found.connected_registry(grant.ref),
    )
    return replace(snapshot, registry=registry)


def _last_request(
    record: DeviceRecord, inventory: Inventory, name: str, *, deployment: str
) -> LastRequest | None:
    """The last request in the tags of the latest version."""
    secret = (inventory.secrets or {}).get(name)
    if secret is None or not is_made_for(secret, record.device, deployment=deployment):
        return None
    return last_request([secret])


def _stored_state(
    record: DeviceRecord, inventory: Inventory, name: str
) -> StoredSecretState | None:
    """The state of a secret by its latest version, the only one that a listing shows.

    A disabled latest version that a pass has already seen is not the delivered one.
    """
    if inventory.secrets is None:
        return None
    secret = inventory.secrets.get(name)
    if secret is None:
        return StoredSecretState.MISSING
    seen, changed_at = record.status.vault_seen_at, secret.updated_at
    was_seen = changed_at is not None and seen is not None and changed_at <= seen
    return StoredSecretState.READABLE if secret.enabled or was_seen else StoredSecretState.DISABLED
