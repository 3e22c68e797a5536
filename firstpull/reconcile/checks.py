"""What differs between a device's record and what exists: one ordered chain of pure checks.

The plan, the dry run and the sweep ask the same chain. A snapshot comes from a whole
observation of one device or from an inventory of the fleet; a part that was not read has no
difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from firstpull.model.azure_resources import ConnectedRegistry, ScopeMap, Token, TokenId, Twin
from firstpull.model.delivery_kinds import kind_named, was_read
from firstpull.model.device_record import DeviceRecord, Grant, State
from firstpull.model.last_request import LastRequest
from firstpull.model.ledger import Ledger, Standing
from firstpull.model.naming import scope_map_name
from firstpull.model.twin_entry import DeliveredEntry


class Difference(StrEnum):
    """One difference between the record and what exists."""

    RECORD_OUT_OF_DATE = "the record misses a later request"
    LEDGER_ENTRY_MISSING = "the ledger has lost the device"
    SCOPE_MAP_MISSING = "the scope map is missing"
    SCOPE_MAP_CHANGED = "the scope map was changed"
    TOKEN_MISSING = "the token is missing"  # noqa: S105 - a sentence, not a password
    TOKEN_DISABLED = "the token is disabled"  # noqa: S105 - a sentence, not a password
    OTHER_SCOPE_MAP = "the token has another scope map"
    PASSWORD_CHANGED = "the password was changed"  # noqa: S105 - a sentence, not a password
    SECRET_MISSING = "the secret is missing"  # noqa: S105 - a sentence, not a password
    SECRET_DISABLED = "the secret is disabled"  # noqa: S105 - a sentence, not a password
    CONNECTED_REGISTRY_MISSING = "the connected registry is missing"
    NOT_LISTED = "the token is off the list"
    IDENTITY_CHANGED = "the device's identity was changed"
    ENTRY_MISSING = "the twin's entry is gone"
    ENTRY_CHANGED = "the twin's entry was changed"
    DEVICE_DISABLED = "the device is disabled"


class StoredSecretState(StrEnum):
    """Whether Key Vault still has the delivered password."""

    READABLE = "readable"
    DISABLED = "disabled"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class RegistrySnapshot:
    """What the container registry has for a device."""

    token: Token | None
    scope_map: ScopeMap | None
    """The scope map with the name that the wanted actions give."""
    connected_registry: ConnectedRegistry | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What exists of one device's grant. A part that was not read is None."""

    record: DeviceRecord
    grant: Grant
    deployment: str
    registry: RegistrySnapshot | None
    ledger: Ledger | None
    secret: StoredSecretState | None
    twin: Twin | None
    last_request: LastRequest | None = None
    """The last request in the secret's tags."""

    @property
    def token_id(self) -> TokenId:
        """The token's id, whether the token exists or not."""
        return self.grant.token_id

    @property
    def wanted_actions(self) -> frozenset[str]:
        """The scope actions that the token must allow."""
        return self.record.scope_actions_at(self.grant.ref.registry)

    @property
    def wanted_scope_map(self) -> str:
        """The name of the scope map that the token must have."""
        return scope_map_name(self.wanted_actions, deployment=self.deployment)

    @property
    def entry(self) -> DeliveredEntry | None:
        """The entry for the connected registry, where the grant's kind has it."""
        kind = kind_named(self.grant.delivery)
        return kind.entry(self.twin, self.grant.ref.name) if self.twin else None


Check = Callable[[Snapshot], Difference | None]


def record(found: Snapshot) -> Difference | None:
    """The record knows of the last request."""
    last = found.last_request
    if last is None or not last.is_later_than(found.record):
        return None
    return Difference.RECORD_OUT_OF_DATE


def ledger_entry(found: Snapshot) -> Difference | None:
    """The ledger has the token as a member."""
    if found.ledger is None:
        return None
    entry = found.ledger.get(found.token_id)
    if entry is None or entry.standing is not Standing.MEMBER:
        return Difference.LEDGER_ENTRY_MISSING
    return None


def scope_map(found: Snapshot) -> Difference | None:
    """The scope map has exactly the wanted actions."""
    if found.registry is None:
        return None
    there = found.registry.scope_map
    if there is None:
        return Difference.SCOPE_MAP_MISSING
    return Difference.SCOPE_MAP_CHANGED if there.actions != found.wanted_actions else None


def token(found: Snapshot) -> Difference | None:
    """The token exists."""
    is_missing = found.registry is not None and found.registry.token is None
    return Difference.TOKEN_MISSING if is_missing else None


def token_enabled(found: Snapshot) -> Difference | None:
    """The token is enabled."""
    there = found.registry.token if found.registry else None
    return Difference.TOKEN_DISABLED if there is not None and not there.enabled else None


def token_scope_map(found: Snapshot) -> Difference | None:
    """The token has the wanted scope map."""
    there = found.registry.token if found.registry else None
    wanted = found.grant.ref.registry.scope_map(found.wanted_scope_map)
    if there is None or there.scope_map_id == wanted:
        return None
    return Difference.OTHER_SCOPE_MAP


def password(found: Snapshot) -> Difference | None:
    """The token still has the delivered password."""
    there = found.registry.token if found.registry else None
    delivery = found.record.status.delivery
    if there is None or delivery is None:
        return None
    current = there.password(delivery.slot)
    if current is None or current.expires_at != delivery.expires_at:
        return Difference.PASSWORD_CHANGED
    return None


def secret(found: Snapshot) -> Difference | None:
    """Key Vault still has the delivered password."""
    if found.record.status.delivery is None:
        return None
    match found.secret:
        case StoredSecretState.MISSING:
            return Difference.SECRET_MISSING
        case StoredSecretState.DISABLED:
            return Difference.SECRET_DISABLED
        case _:
            return None


def connected_registry(found: Snapshot) -> Difference | None:
    """The connected registry exists."""
    is_missing = found.registry is not None and found.registry.connected_registry is None
    return Difference.CONNECTED_REGISTRY_MISSING if is_missing else None


def listed(found: Snapshot) -> Difference | None:
    """The connected registry lists the token."""
    there = found.registry.connected_registry if found.registry else None
    if there is None or there.lists(found.token_id):
        return None
    return Difference.NOT_LISTED


def identity(found: Snapshot) -> Difference | None:
    """The hub's identity of the device is unchanged."""
    if found.twin is None or found.twin.device_etag == found.record.status.hub_device_etag:
        return None
    return Difference.IDENTITY_CHANGED


def twin_entry(found: Snapshot) -> Difference | None:
    """The twin has the delivery unchanged."""
    delivery = found.record.status.delivery
    if found.twin is None or delivery is None:
        return None
    if not was_read(kind_named(found.grant.delivery), found.twin):
        return None
    entry = found.entry  # a digest is computed at each read
    if entry is None:
        return Difference.ENTRY_MISSING
    if entry.id != delivery.id or not entry.intact:
        return Difference.ENTRY_CHANGED
    return None


def device_enabled(found: Snapshot) -> Difference | None:
    """A device that has logged in is still enabled."""
    if found.twin is None or found.twin.enabled or found.record.status.delivery is None:
        return None
    is_ready = found.record.status.condition.state is State.READY
    return Difference.DEVICE_DISABLED if is_ready else None


CHECKS: tuple[Check, ...] = (
    record,
    ledger_entry,
    scope_map,
    token,
    token_enabled,
    token_scope_map,
    password,
    secret,
    connected_registry,
    listed,
    identity,
    twin_entry,
    device_enabled,
)


def differences(found: Snapshot) -> tuple[Difference, ...]:
    """Everything that differs, in the order of the checks."""
    return tuple(difference for check in CHECKS if (difference := check(found)) is not None)
