"""The ports to external services. The adapters and the tests' fakes implement them.

Every method may raise Transient, Conflict or Blocked, and no other expected error. A write to
the container registry or to a twin is sent once and never retried by the port. It returns within
`deadline_seconds` or raises Transient; the request may then have taken effect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
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
from firstpull.model.governance import (
    AzureResource,
    EventSubscription,
    ManagementLock,
    Permission,
    PolicyAssignment,
    ResourceId,
)
from firstpull.model.ledger import Ledger
from firstpull.model.page_seal import PageSeal
from firstpull.model.reasons import Reason
from firstpull.model.revoke_count import RevokeCount
from firstpull.model.secret import Secret
from firstpull.model.sweep_report import SweepReport


@dataclass(frozen=True, kw_only=True)
class Stored[T]:
    """A value and the ETag that it had when it was read or written."""

    value: T
    etag: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """Filters of a listing: None and no states match all.

    `after` continues a listing, `size` is 1 to 1000. `reason`, `tombstones`, `token` and `secret`
    may leave a page with fewer records than its size. `token` and `secret` match every grant of a
    record, also the retiring ones of a live device.
    """

    hub: str | None = None
    device_id: str | None = None
    states: frozenset[State] = frozenset()
    reason: Reason | None = None
    tombstones: bool = True
    connected_registry: str | None = None
    secret: str | None = None
    token: str | None = None
    after: str | None = None
    size: int = 100

    def shows(self, record: DeviceRecord) -> bool:
        """Whether a record passes the filters that columns of the table cannot decide.

        It has the reason, is a tombstone only if those are wanted, and one grant of it has the
        token, one the secret.
        """
        names = [grant.names for grant in record.grants]
        return (
            self.reason in (None, record.status.condition.reason)
            and (self.tombstones or not record.is_tombstone)
            and (self.token is None or any(n.token == self.token for n in names))
            and (self.secret is None or any(n.secret == self.secret for n in names))
        )


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some records, and where the next page begins: None after the last.

    `unreadable` are the devices on the page whose record this version cannot read.
    """

    records: tuple[DeviceRecord, ...]
    next_page: str | None
    unreadable: tuple[DeviceKey, ...] = ()


class ContainerRegistries(Protocol):
    """Scope maps, tokens and connected registries.

    A write whose effect takes longer than some seconds raises InProgress.
    """

    async def admit(self, registry: RegistryId) -> None:
        """Return when one more device may be begun with: what has begun goes first."""
        ...

    def has_room(self, registry: RegistryId) -> bool:
        """Whether a device may be looked at that nobody waits for."""
        ...

    def is_short_of_writes(self, registry: RegistryId) -> bool:
        """Whether the next devices wait at the door."""
        ...

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        """The scope map, None where there is none."""
        ...

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], deadline_seconds: float
    ) -> None:
        """Create the scope map, or set its actions."""
        ...

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        """The token, None where there is none."""
        ...

    async def create_token(
        self,
        registry: RegistryId,
        name: str,
        *,
        scope_map: ScopeMapId,
        deadline_seconds: float,
        on_look: Callable[[int], None] = ...,
    ) -> Token:
        """Create an enabled token without a password, and wait until it is active.

        `on_look` is called before each look whether it is, with the number of looks before. Only
        for a token that does not exist: on an existing token it may remove the passwords.
        """
        ...

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> None:
        """Enable a token and set its scope map; its passwords stay."""
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
        """A new password in this slot only. The service never shows the value again."""
        ...

    async def keep_passwords(
        self,
        registry: RegistryId,
        token: str,
        *,
        slots: Collection[Slot],
        deadline_seconds: float,
    ) -> None:
        """Remove a token's passwords except those in these slots."""
        ...

    async def disable_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Disable a token: no login succeeds with it. A missing token is no error."""
        ...

    async def delete_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a token. Raises Blocked while a list has it. A missing token is no error."""
        ...

    async def delete_scope_map(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        """Delete a scope map, which may take some seconds. A missing scope map is no error."""
        ...

    async def list_tokens(self, registry: RegistryId) -> tuple[Token, ...]:
        """All tokens of the container registry, foreign ones included."""
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
        """Set the whole list of clients. Raises Blocked if the service refuses the list."""
        ...

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        """The scope actions of a sync token, which its connected registry syncs."""
        ...


class ResourceManager(Protocol):
    """What Azure Resource Manager tells about resources of any kind. It only reads."""

    async def principal_id(self) -> str | None:
        """The object id of the app's own identity, None where its token does not tell."""
        ...

    async def resource(self, resource: ResourceId) -> AzureResource | None:
        """The resource, None where there is none."""
        ...

    async def permissions(self, resource: ResourceId) -> tuple[Permission, ...]:
        """What the app's identity may do there."""
        ...

    async def locks(self, resource: ResourceId) -> tuple[ManagementLock, ...]:
        """The locks on the resource or above it."""
        ...

    async def policy_assignments(self, resource: ResourceId) -> tuple[PolicyAssignment, ...]:
        """The policies that are assigned to the resource or above it, less the exempted ones."""
        ...

    async def event_subscriptions(self, resource: ResourceId) -> tuple[EventSubscription, ...]:
        """The event subscriptions whose source is the resource."""
        ...


class Secrets(Protocol):
    """The store of passwords."""

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        """All versions, without values; none for a secret that does not exist."""
        ...

    async def put(
        self,
        name: str,
        value: Secret,
        *,
        expires_at: datetime | None,
        tags: Mapping[str, str],
        enabled: bool = True,
    ) -> SecretVersion:
        """Store a new version; first recover a deleted secret of this name."""
        ...

    async def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of a version. A missing version is no error."""
        ...

    async def read(self, name: str, version: str) -> Secret:
        """The value of a version."""
        ...

    async def disable(self, name: str, version: str) -> None:
        """Make a version unreadable."""
        ...

    async def list_secrets(self) -> tuple[StoredSecret, ...]:
        """All secrets of the vault, without values and without deleted secrets."""
        ...


class Hubs(Protocol):
    """Device identities and twins."""

    async def twin(self, device: DeviceKey) -> Twin | None:
        """The twin, None if the hub has no such device."""
        ...

    async def module_twin(self, device: DeviceKey, module: str) -> Twin | None:
        """The twin of a device's module, None if there is no such module."""
        ...

    async def generation_id(self, device: DeviceKey) -> str | None:
        """The identity's generationId, None without an identity. The hub allows 100 a minute."""
        ...

    async def patch_desired(
        self,
        device: DeviceKey,
        patch: Mapping[str, Any],
        *,
        etag: str,
        deadline_seconds: float,
        module: str | None = None,
    ) -> None:
        """Merge a patch into the desired properties. Raises Conflict if the ETag has changed.

        With `module`, into those of the device's module.
        The adapter reveals the `Secret` values in the patch.
        """
        ...

    async def find_devices(self, hub: str, device_ids: Sequence[str]) -> tuple[ListedDevice, ...]:
        """The devices among these that the hub has, by few queries."""
        ...

    async def list_modules(self, hub: str, module: str) -> tuple[ListedDevice, ...]:
        """The twins of all modules of this name, each with the id of its device; likewise late."""
        ...

    async def list_devices(self, hub: str) -> tuple[ListedDevice, ...]:
        """The devices of a hub that have a tag or desired properties of firstpull.

        The hub's query may be minutes behind, and is slow for many devices.
        """
        ...


class Records(Protocol):
    """The devices' records. Writes are conditional and raise Conflict."""

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        """The record of a device, None if there is none."""
        ...

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        """Store the first record of a device. Raises Conflict if there is one."""
        ...

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        """Replace the record that has this ETag. Raises Conflict if the record has changed."""
        ...

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        """Delete the record that has this ETag; a missing one is no error. Raises Conflict."""
        ...

    def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        """The devices that are due."""
        ...

    async def page(self, query: Query) -> Page:
        """A page of records. Raises Invalid for an `after` that no page of this query gave."""
        ...


class Document[Written, Read](Protocol):
    """One value, and how it is read back: as None where it can be damaged."""

    async def get(self) -> Stored[Read] | None:
        """The value, None before the first one."""
        ...

    async def put(self, value: Written, *, etag: str | None) -> Stored[Written]:
        """Replace the value that has this ETag; None stores the first. Raises Conflict."""
        ...


type Sweeps = Document[SweepReport, SweepReport | None]
"""The report of the last sweep."""
type PageSeals = Document[PageSeal, PageSeal | None]
"""What sessions of the fleet page are sealed with."""
type RevokeCounts = Document[RevokeCount, RevokeCount]
"""How many devices the API revoked lately."""


class WorkQueue(Protocol):
    """The queue of reconcile requests."""

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Send a reconcile request that becomes visible after a delay of at most seven days."""
        ...


class Ledgers(Protocol):
    """The ledger of each connected registry."""

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        """The ledger of a connected registry, None before the first write."""
        ...

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        """Replace the ledger that has this ETag; None stores the first. Raises Conflict."""
        ...


async def read_ledger(ledgers: Ledgers, ref: ConnectedRegistryRef) -> Ledger:
    """The ledger of a connected registry, empty before the first write."""
    stored = await ledgers.get(ref)
    return stored.value if stored is not None else Ledger()


class Lease(Protocol):
    """The exclusive right to write the list of one connected registry, for a time."""

    @property
    def predecessor_vanished(self) -> bool:
        """Whether the previous lease expired unreleased: its holder may still be writing."""
        ...

    async def renew(self) -> None:
        """Extend the lease to its full time. Raises Conflict if it was lost."""
        ...

    def remaining_seconds(self) -> float:
        """The time until the lease expires unless renewed."""
        ...

    async def release(self) -> None:
        """Give the lease back."""
        ...


class Locks(Protocol):
    """One lock for each connected registry, across all hosts."""

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        """The lease, None while another worker has it."""
        ...
