"""What the work needs of the world. The adapters fit these; so do the tests' fakes.

Every method may raise Transient, Conflict or Blocked, and nothing else that is expected.
Writes to the container registry and to twins are sent once, never again by themselves, and
answer within `deadline_seconds` or raise Transient: the request may have taken effect then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    ListedDevice,
    NewPassword,
    RegistryId,
    ScopeMap,
    ScopeMapId,
    SecretVersion,
    Slot,
    StoredSecret,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.ledger import Ledger
from firstpull.model.secret import Secret
from firstpull.model.sweep_report import SweepReport


@dataclass(frozen=True, kw_only=True)
class Stored[T]:
    """A value and the ETag under which it was read or written."""

    value: T
    etag: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which records to list: None matches all. `after` continues a listing, `size` is 1 to 1000."""

    hub: str | None = None
    device_id: str | None = None
    state: State | None = None
    connected_registry: str | None = None
    secret: str | None = None
    token: str | None = None
    after: str | None = None
    size: int = 100


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some records, and where the next page begins, None after the last.

    `unreadable` are devices that have a record, too, which this version cannot read.
    """

    records: tuple[DeviceRecord, ...]
    next_page: str | None
    unreadable: tuple[DeviceKey, ...] = ()


class ContainerRegistries(Protocol):
    """Scope maps, tokens and connected registries."""

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        """The scope map, None where there is none."""
        ...

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], deadline_seconds: float
    ) -> None:
        """Make the scope map, or set its actions."""
        ...

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        """The token, None where there is none."""
        ...

    async def create_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> Token:
        """Make an enabled token without a password and wait until it is active.

        Only for a token that does not exist: over one that does, it may wipe the passwords.
        """
        ...

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> None:
        """Enable a token and point it at a scope map; its passwords stay."""
        ...

    async def generate_password(
        self,
        registry: RegistryId,
        token: str,
        *,
        slot: Slot,
        expires_at: datetime,
        deadline_seconds: float,
    ) -> NewPassword:
        """A new password in this one slot. The value is never to be had again."""
        ...

    async def keep_passwords(
        self,
        registry: RegistryId,
        token: str,
        *,
        slots: Collection[Slot],
        deadline_seconds: float,
    ) -> None:
        """Take all passwords from a token but those in these slots."""
        ...

    async def disable_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Have the token let nobody in; one that is gone does not."""
        ...

    async def delete_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a token. Raises Blocked while it stands in a list; one that is gone is gone."""
        ...

    async def delete_scope_map(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a scope map; one that is gone is gone."""
        ...

    async def list_tokens(self, registry: RegistryId) -> tuple[Token, ...]:
        """All tokens of the container registry, whosever they are."""
        ...

    async def list_scope_maps(self, registry: RegistryId) -> tuple[ScopeMap, ...]:
        """All scope maps of the container registry."""
        ...

    async def list_connected_registries(
        self, registry: RegistryId
    ) -> tuple[ConnectedRegistry, ...]:
        """All connected registries of the container registry."""
        ...

    async def get_connected_registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        """The connected registry, None where there is none."""
        ...

    async def replace_client_tokens(
        self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...], *, deadline_seconds: float
    ) -> ConnectedRegistry:
        """Set the whole list of clients. Raises Blocked where the service refuses the list."""
        ...

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        """The scope actions of a sync token: what its connected registry syncs."""
        ...


class Secrets(Protocol):
    """Where passwords are kept."""

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        """All versions, without values; none where there is no such secret."""
        ...

    async def put(
        self, name: str, value: Secret, *, expires_at: datetime | None, tags: Mapping[str, str]
    ) -> SecretVersion:
        """Store a new version; a deleted secret of the name is recovered first."""
        ...

    async def read(self, name: str, version: str) -> Secret:
        """The value of a version."""
        ...

    async def disable(self, name: str, version: str) -> None:
        """Make a version unreadable."""
        ...

    async def list_secrets(self) -> tuple[StoredSecret, ...]:
        """All secrets of the vault, without values; deleted ones are not among them."""
        ...


class Hubs(Protocol):
    """Device identities and twins."""

    async def twin(self, device: DeviceKey) -> Twin | None:
        """The twin, None where the hub has no such device."""
        ...

    async def generation_id(self, device: DeviceKey) -> str | None:
        """The identity's generationId, None where there is none. Throttled to 100 a minute."""
        ...

    async def patch_desired(
        self, device: DeviceKey, patch: Mapping[str, Any], *, etag: str, deadline_seconds: float
    ) -> None:
        """Merge into the desired properties of the twin of this ETag, else raise Conflict.

        `Secret` values are revealed on the way out.
        """
        ...

    async def find_devices(self, hub: str, device_ids: Sequence[str]) -> tuple[ListedDevice, ...]:
        """Those of these devices that the hub has, by few queries."""
        ...

    async def list_devices(self, hub: str) -> tuple[ListedDevice, ...]:
        """The devices of a hub that have a tag or desired properties of firstpull.

        As the hub's query shows them, which may be minutes old. Slow where there are many.
        """
        ...


class Records(Protocol):
    """The devices' records. Writes are guarded by ETag and raise Conflict."""

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        """The record of a device."""
        ...

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        """Store a record where there is none."""
        ...

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        """Store a record over the one of this ETag."""
        ...

    def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices whose time has come."""
        ...

    async def page(self, query: Query) -> Page:
        """Some of the records. Raises Invalid for an `after` that no page of this query gave."""
        ...


class Sweeps(Protocol):
    """The report of the last sweep."""

    async def get(self) -> Stored[SweepReport] | None:
        """The report, None before the first sweep."""
        ...

    async def put(self, report: SweepReport, *, etag: str | None) -> Stored[SweepReport]:
        """Store over the one of this ETag, None for the first; else raise Conflict."""
        ...


class WorkQueue(Protocol):
    """Hints that a device wants to be looked at."""

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Have the device looked at after a delay; at most seven days."""
        ...


class Ledgers(Protocol):
    """firstpull's own entries in the list of each connected registry."""

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        """The ledger of a place, None before the first write."""
        ...

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        """Store over the one of this ETag, None for the first; else raise Conflict."""
        ...


class Lease(Protocol):
    """A hold on the list of one connected registry."""

    @property
    def predecessor_vanished(self) -> bool:
        """Whether the holder before never gave it back: a write of its may be under way."""
        ...

    async def renew(self) -> None:
        """Hold it for the full time again. Raises Conflict when it is held no longer."""
        ...

    def remaining_seconds(self) -> float:
        """For how long it is held without being renewed."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...


class Locks(Protocol):
    """One lock per connected registry, across all hosts."""

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        """The lease, None while somebody else has it."""
        ...
