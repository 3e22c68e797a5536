"""The ports in memory: one cloud, and any number of processes that are connected to it.

Every call of a port goes through a `Line`, where it is counted, takes a few milliseconds of
virtual time, and can be made to fail or to be the last of its process. After each write the
promises are checked; a broken one is noted in `FakeCloud.violations`, because an error raised
there would look like an error of the cloud.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from firstpull.intake.poison_queue import StoredMessage
from firstpull.model import ledger as ledgers
from firstpull.model import record_codec, sweep_report
from firstpull.model.azure_resources import (
    ArmId,
    ConnectedRegistry,
    ConnectedRegistryRef,
    ListedDevice,
    NewPassword,
    Password,
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
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Blocked, Conflict, Transient, record_not_readable
from firstpull.model.ledger import Ledger, Standing
from firstpull.model.ports import Lease, Page, Query, Stored
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.sweep_report import SweepReport
from tests.firstpull.virtual_clock import VirtualClock

PASSWORD_MARK = "=pw/"  # noqa: S105 - what every password of the fakes begins with
OUR_PREFIX = "fp-"
_CALL_TIME = timedelta(milliseconds=5)
_LEASE_TIME = timedelta(seconds=60)

READS = frozenset(
    {
        "registries.get_scope_map",
        "registries.get_token",
        "registries.get_connected_registry",
        "registries.synced_actions",
        "registries.list_tokens",
        "registries.list_scope_maps",
        "registries.list_connected_registries",
        "secrets.versions",
        "secrets.read",
        "secrets.list_secrets",
        "hubs.twin",
        "hubs.generation_id",
        "hubs.list_devices",
        "hubs.find_devices",
        "records.get",
        "records.due",
        "records.page",
        "ledgers.get",
        "sweeps.get",
    }
)


class Crashed(BaseException):
    """The process died at this call."""


class FaultKind(Enum):
    """How a call fails."""

    TRANSIENT = auto()
    CRASH = auto()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one call: before its effect, or after it (the answer is lost)."""

    kind: FaultKind
    after: bool


UNAVAILABLE = Fault(kind=FaultKind.TRANSIENT, after=False)
ANSWER_LOST = Fault(kind=FaultKind.TRANSIENT, after=True)
CRASH_BEFORE = Fault(kind=FaultKind.CRASH, after=False)
CRASH_AFTER = Fault(kind=FaultKind.CRASH, after=True)
FAULTS = (UNAVAILABLE, ANSWER_LOST, CRASH_BEFORE, CRASH_AFTER)


@dataclass
class FakeToken:
    """A token with its passwords' values, which the service itself never shows again."""

    scope_map_id: ScopeMapId
    enabled: bool = True
    passwords: dict[Slot, NewPassword] = field(default_factory=dict)


@dataclass
class FakeConnectedRegistry:
    """A connected registry, with the logins it took over at its last sync."""

    clients: list[TokenId] = field(default_factory=list)
    sync_token_id: TokenId | None = None
    login_server: str | None = None
    limit: int = 50
    last_sync_at: datetime | None = None
    connection_state: str | None = None
    logins: frozenset[tuple[str, str, datetime | None]] = frozenset()
    forgets_unknown: bool = False
    """Whether it drops unknown ids from a list that it should refuse."""


@dataclass
class FakeSecretVersion:
    """A version with its value."""

    version: SecretVersion
    value: str


@dataclass
class FakeDevice:
    """An identity, its twin, and what the device itself remembers."""

    generation_id: str
    identity_version: int
    enabled: bool = True
    desired: dict[str, Any] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    twin_version: int = 1  # a new twin begins at 1 again, so ETags repeat after a re-creation
    held: dict[str, str] = field(default_factory=dict)
    """By connected registry: the password of the last login that worked."""


@dataclass(frozen=True, kw_only=True)
class ReconcileRequest:
    """A message of the work queue."""

    device: DeviceKey
    visible_at: datetime
    dequeued: int = 0


@dataclass(frozen=True, kw_only=True)
class HeldCall:
    """A call that waits until it is released."""

    answer: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Hold:
    owner: int
    until: datetime
    released: bool = False


class FakeCloud:
    """All state outside of firstpull's processes. Tests read and change it directly."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.scope_maps: dict[str, ScopeMap] = {}
        self.tokens: dict[str, FakeToken] = {}
        self.connected: dict[ConnectedRegistryRef, FakeConnectedRegistry] = {}
        self.synced: dict[TokenId, frozenset[str]] = {}
        self.secrets: dict[str, list[FakeSecretVersion]] = {}
        self.devices: dict[DeviceKey, FakeDevice] = {}
        self.records: dict[DeviceKey, tuple[str, int]] = {}
        self.ledgers: dict[ConnectedRegistryRef, tuple[bytes, int]] = {}
        self.locks: dict[ConnectedRegistryRef, _Hold] = {}
        self.queue: list[ReconcileRequest] = []
        self.sweep: tuple[bytes, int] | None = None
        self.calls: list[str] = []
        self.faults: dict[int, Fault] = {}
        """By number of the call, counted from 1 over all processes."""
        self.faults_met = 0
        self.before_call: Callable[[int, str], None] | None = None
        self.after_write: Callable[[], None] | None = None
        self.violations: list[str] = []
        self.tokens_made: set[str] = set()
        self.passwords_made: list[str] = []
        self.list_sizes: list[int] = []
        self.lists_refused = 0
        self._held: dict[str, HeldCall] = {}
        self._numbers = 0

    def next_number(self) -> int:
        """Numbers for ETags, generation ids and the like."""
        self._numbers += 1
        return self._numbers

    def writes(self) -> Counter[str]:
        """The calls so far that change the container registry, Key Vault or the hub."""
        ours = ("registries.", "secrets.", "hubs.")
        return Counter(c for c in self.calls if c.startswith(ours) and c not in READS)

    def record(self, device: DeviceKey) -> DeviceRecord:
        """The record of a device."""
        return _parsed(self.records[device][0])

    def all_records(self) -> list[DeviceRecord]:
        """All records."""
        return [_parsed(text) for text, _ in self.records.values()]

    def ledger(self, ref: ConnectedRegistryRef) -> Ledger:
        """The ledger of a connected registry."""
        text, _ = self.ledgers.get(ref, (ledgers.to_json(Ledger()), 0))
        return ledgers.from_json(text)

    def accepted(self, token: str) -> set[str]:
        """The passwords that the container registry accepts for a token now."""
        found = self.tokens.get(token)
        if found is None or not found.enabled:
            return set()
        now = self.clock.now()
        return {
            p.value.reveal()
            for p in found.passwords.values()
            if p.expires_at is None or now < p.expires_at
        }

    def sync(self, ref: ConnectedRegistryRef) -> None:
        """The connected registry takes over what the container registry has now."""
        found = self.connected[ref]
        found.last_sync_at = self.clock.now()
        found.logins = self._logins_of(found)

    @property
    def is_out_of_sync(self) -> bool:
        """Whether a sync would change anything."""
        return any(
            found.last_sync_at is None or found.logins != self._logins_of(found)
            for found in self.connected.values()
        )

    def _logins_of(
        self, found: FakeConnectedRegistry
    ) -> frozenset[tuple[str, str, datetime | None]]:
        return frozenset(
            (name, password.value.reveal(), password.expires_at)
            for token_id in found.clients
            if (name := name_in(token_id)) in self.tokens and self.tokens[name].enabled
            for password in self.tokens[name].passwords.values()
        )

    def site_accepts(self, ref: ConnectedRegistryRef, username: str, password: str) -> bool:
        """Whether a device can log in at the connected registry now."""
        now = self.clock.now()
        return any(
            (name, value) == (username, password) and (expires is None or now < expires)
            for name, value, expires in self.connected[ref].logins
        )

    def register(self, device: DeviceKey) -> FakeDevice:
        """Create the identity; an existing one is replaced by another device of the same id."""
        made = FakeDevice(
            generation_id=f"g{self.next_number()}", identity_version=self.next_number()
        )
        self.devices[device] = made
        return made

    def change_identity(self, device: DeviceKey, *, enabled: bool) -> None:
        """Enable or disable the identity."""
        self.devices[device].enabled = enabled
        self.devices[device].identity_version = self.next_number()

    def add_foreign_client(self, ref: ConnectedRegistryRef, name: str) -> None:
        """Make somebody else's token a client of a connected registry."""
        self.tokens[name] = FakeToken(ScopeMapId("someone's"))
        self.connected[ref].clients.append(ref.registry.token(name))

    def twin_entry(self, device: DeviceKey, ref: ConnectedRegistryRef) -> dict[str, Any]:
        """What is in the device's desired properties for a connected registry, {} for nothing."""
        section: Any = self.devices[device].desired
        for name in ("firstpull", "registryCredentials", ref.name):
            section = section.get(name, {})
        return dict(section)

    def passwords_in_use(self) -> set[str]:
        """Passwords in a twin, or that a device logs in with."""
        found: set[str] = set()
        for device in self.devices.values():
            found.update(device.held.values())
            entries = device.desired.get("firstpull", {}).get("registryCredentials", {})
            found.update(str(e["password"]) for e in entries.values() if "password" in e)
        return found

    @contextmanager
    def hold_call(self, operation: str, *, answer: bool = False) -> Iterator[HeldCall]:
        """Hold the next call of an operation: before its effect, or its answer."""
        self._held[operation] = held = HeldCall(answer=answer)
        try:
            yield held
        finally:
            held.release.set()

    def unavailable(self, *operations: str) -> AbstractContextManager[None]:
        """Let all calls fail whose names begin with one of these."""
        return self.failing(*operations, fault=UNAVAILABLE)

    @contextmanager
    def failing(self, *operations: str, fault: Fault, times: int = 10**6) -> Iterator[None]:
        """Let the next calls whose names begin with one of these meet a fault."""
        left = times

        def fail(number: int, operation: str) -> None:
            nonlocal left
            if operation.startswith(operations) and left:
                left -= 1
                self.faults[number] = fault

        before, self.before_call = self.before_call, fail
        try:
            yield
        finally:
            self.before_call = before

    async def hold(self, operation: str, *, answer: bool) -> None:
        """Wait if a test holds this call."""
        held = self._held.get(operation)
        if held is not None and held.answer is answer:
            del self._held[operation]
            held.reached.set()
            await held.release.wait()


class Line:
    """One process's connection to the cloud. A process that crashed calls nothing any more."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud
        self.dead = False
        self.lists_read: dict[ConnectedRegistryRef, tuple[TokenId, ...]] = {}
        """The clients of each connected registry as this process last saw them."""

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """Make one call, with its fault if it has one."""
        cloud = self.cloud
        await asyncio.sleep(0)
        if self.dead:
            raise Crashed(operation)
        cloud.clock.advance(_CALL_TIME)
        cloud.calls.append(operation)
        number = len(cloud.calls)
        await cloud.hold(operation, answer=False)
        if cloud.before_call is not None:
            cloud.before_call(number, operation)
        fault = cloud.faults.get(number)
        if fault is not None and not fault.after:
            raise self._fail(fault, operation)
        result = effect()
        if cloud.after_write is not None and operation not in READS:
            cloud.after_write()
        await cloud.hold(operation, answer=True)
        if fault is not None:
            raise self._fail(fault, operation)
        return result

    def _fail(self, fault: Fault, operation: str) -> BaseException:
        self.cloud.faults_met += 1
        if fault.kind is FaultKind.CRASH:
            self.dead = True
            return Crashed(operation)
        return Transient(Reason.SERVICE_UNAVAILABLE, f"{operation} did not answer.")


def name_in(resource_id: ArmId) -> str:
    """The last part of an ARM id."""
    return resource_id.name


@dataclass(frozen=True)
class FakeContainerRegistries:
    """Tokens, scope maps and connected registries, as unforgiving as the real ones."""

    line: Line

    async def get_scope_map(self, registry: RegistryId, name: str) -> ScopeMap | None:
        return await self._read("get_scope_map", registry, lambda: self._cloud.scope_maps.get(name))

    async def put_scope_map(
        self, registry: RegistryId, name: str, *, actions: frozenset[str], deadline_seconds: float
    ) -> None:
        def effect() -> None:
            self._cloud.scope_maps[name] = ScopeMap(name=name, actions=actions)

        await self._write("put_scope_map", registry, deadline_seconds, effect)

    async def get_token(self, registry: RegistryId, name: str) -> Token | None:
        return await self._read("get_token", registry, lambda: self._view(registry, name))

    async def create_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> Token:
        def effect() -> Token:
            self._require_scope_map(scope_map.name)
            before = self._cloud.tokens.get(name)
            if before is not None:
                self._note_loss(name, before.passwords.values())
            self._cloud.tokens_made.add(name)
            self._cloud.tokens[name] = FakeToken(scope_map)
            return self._existing(registry, name)

        return await self._write("create_token", registry, deadline_seconds, effect)

    async def update_token(
        self, registry: RegistryId, name: str, *, scope_map: ScopeMapId, deadline_seconds: float
    ) -> None:
        def effect() -> None:
            self._require_scope_map(scope_map.name)
            token = self._token(name)
            token.enabled = True
            token.scope_map_id = scope_map

        await self._write("update_token", registry, deadline_seconds, effect)

    async def generate_password(
        self,
        registry: RegistryId,
        token: str,
        *,
        slot: Slot,
        expires_at: datetime,
        deadline_seconds: float,
    ) -> NewPassword:
        def effect() -> NewPassword:
            found = self._token(token)
            if slot in found.passwords:
                self._note_loss(token, (found.passwords[slot],))
            value = f"{PASSWORD_MARK}{secrets.token_hex(14)}"
            self._cloud.passwords_made.append(value)
            found.passwords[slot] = made = NewPassword(
                slot=slot,
                created_at=self._cloud.clock.now(),
                expires_at=expires_at.replace(microsecond=0),
                value=Secret(value),
            )
            return made

        return await self._write("generate_password", registry, deadline_seconds, effect)

    async def keep_passwords(
        self, registry: RegistryId, token: str, *, slots: Collection[Slot], deadline_seconds: float
    ) -> None:
        def effect() -> None:
            found = self._token(token)
            lost = [p for p in found.passwords.values() if p.slot not in slots]
            if self._belongs_to_the_recorded_device(token):
                self._note_loss(token, lost)
            found.passwords = {s: p for s, p in found.passwords.items() if s in slots}

        await self._write("keep_passwords", registry, deadline_seconds, effect)

    async def disable_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        def effect() -> None:
            if name in self._cloud.tokens:
                self._cloud.tokens[name].enabled = False

        await self._write("disable_token", registry, deadline_seconds, effect)

    async def delete_token(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        def effect() -> None:
            listed = {name_in(t) for c in self._cloud.connected.values() for t in c.clients}
            if name in listed:
                raise Blocked(Reason.TOKEN_IN_USE, f"{name} is a client.", remedy="Remove it.")
            self._cloud.tokens.pop(name, None)

        await self._write("delete_token", registry, deadline_seconds, effect)

    async def delete_scope_map(
        self, registry: RegistryId, name: str, *, deadline_seconds: float
    ) -> None:
        def effect() -> None:
            in_use = {name_in(t.scope_map_id) for t in self._cloud.tokens.values()}
            if name in in_use:
                raise Conflict(f"{name} is in use.")
            self._cloud.scope_maps.pop(name, None)

        await self._write("delete_scope_map", registry, deadline_seconds, effect)

    async def list_tokens(self, registry: RegistryId) -> tuple[Token, ...]:
        return await self._read(
            "list_tokens",
            registry,
            lambda: tuple(self._existing(registry, name) for name in self._cloud.tokens),
        )

    async def list_scope_maps(self, registry: RegistryId) -> tuple[ScopeMap, ...]:
        return await self._read(
            "list_scope_maps", registry, lambda: tuple(self._cloud.scope_maps.values())
        )

    async def list_connected_registries(
        self, registry: RegistryId
    ) -> tuple[ConnectedRegistry, ...]:
        def effect() -> tuple[ConnectedRegistry, ...]:
            refs = [ref for ref in self._cloud.connected if ref.registry == registry]
            views = (self._connected_view(ref) for ref in refs)
            return tuple(view for view in views if view is not None)

        return await self._read("list_connected_registries", registry, effect)

    async def get_connected_registry(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        return await self._read(
            "get_connected_registry", ref.registry, lambda: self._connected_view(ref)
        )

    async def replace_client_tokens(
        self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...], *, deadline_seconds: float
    ) -> ConnectedRegistry:
        def effect() -> ConnectedRegistry:
            self._replace(ref, token_ids)
            view = self._connected_view(ref)
            if view is None:
                raise AssertionError(f"{ref} is missing")
            return view

        return await self._write("replace_client_tokens", ref.registry, deadline_seconds, effect)

    async def synced_actions(self, registry: RegistryId, sync_token_id: TokenId) -> frozenset[str]:
        return await self._read(
            "synced_actions", registry, lambda: self._cloud.synced[sync_token_id]
        )

    @property
    def _cloud(self) -> FakeCloud:
        return self.line.cloud

    async def _read[T](self, name: str, registry: RegistryId, effect: Callable[[], T]) -> T:
        return await self._write(name, registry, 1, effect)

    async def _write[T](
        self, name: str, registry: RegistryId, deadline_seconds: float, effect: Callable[[], T]
    ) -> T:
        if not registry or deadline_seconds <= 0:
            raise AssertionError(f"{name} needs a registry, and time to answer")
        return await self.line.call(f"registries.{name}", effect)

    def _require_scope_map(self, name: str) -> None:
        if name not in self._cloud.scope_maps:
            raise Blocked(Reason.REFUSED, f"There is no scope map {name}.", remedy="None.")

    def _token(self, name: str) -> FakeToken:
        if name not in self._cloud.tokens:
            raise Conflict(f"There is no token {name}.")
        return self._cloud.tokens[name]

    def _view(self, registry: RegistryId, name: str) -> Token | None:
        return self._existing(registry, name) if name in self._cloud.tokens else None

    def _existing(self, registry: RegistryId, name: str) -> Token:
        token = self._token(name)
        return Token(
            id=registry.token(name),
            name=name,
            # ARM may answer in another case
            scope_map_id=ScopeMapId(str(token.scope_map_id).lower()),
            enabled=token.enabled,
            active=True,
            passwords=tuple(
                Password(slot=p.slot, created_at=p.created_at, expires_at=p.expires_at)
                for p in token.passwords.values()
            ),
        )

    def _connected_view(self, ref: ConnectedRegistryRef) -> ConnectedRegistry | None:
        found = self._cloud.connected.get(ref)
        if found is None:
            return None
        self.line.lists_read[ref] = tuple(found.clients)
        return ConnectedRegistry(
            name=ref.name,
            client_token_ids=tuple(found.clients),
            sync_token_id=found.sync_token_id,
            login_server=found.login_server,
            last_sync_at=found.last_sync_at,
            connection_state=found.connection_state,
        )

    def _replace(self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...]) -> None:
        found = self._cloud.connected[ref]
        unknown = {t for t in token_ids if name_in(t) not in self._cloud.tokens}
        if found.forgets_unknown:
            token_ids = tuple(t for t in token_ids if t not in unknown)
        elif unknown or len(token_ids) > found.limit:
            self._cloud.lists_refused += 1
            raise Blocked(Reason.REFUSED, "The list of clients was refused.", remedy="None.")
        self._note_losses_of(ref, token_ids)
        self._cloud.list_sizes.append(len(token_ids))
        found.clients = [TokenId(str(t).replace("/tokens/", "/Tokens/")) for t in token_ids]

    def _note_losses_of(self, ref: ConnectedRegistryRef, token_ids: tuple[TokenId, ...]) -> None:
        """Note members of ours, and others that this process saw, that the new list drops."""
        members = (
            entry.token_id
            for entry in self._cloud.ledger(ref).of(Standing.MEMBER)
            if name_in(entry.token_id) in self._cloud.tokens
        )
        seen = self.line.lists_read.get(ref, ())
        named = {h.names.token for record in self._cloud.all_records() for h in record.grants}
        others = (
            token_id
            for token_id in seen
            if not name_in(token_id).startswith(OUR_PREFIX) and name_in(token_id) not in named
        )
        self._cloud.violations += [
            f"P4: {wanted} was dropped from {ref}"
            for wanted in (*members, *others)
            if wanted not in token_ids
        ]

    def _belongs_to_the_recorded_device(self, token: str) -> bool:
        """Whether the token's device is the recorded one and may keep its passwords."""
        records = self._cloud.all_records()
        if any(r.spec.revocation and token in (g.names.token for g in r.grants) for r in records):
            return False  # the passwords may be those of the revoked device
        return any(
            record.status.grant is not None
            and record.status.grant.names.token == token
            and record.device in self._cloud.devices
            and record.status.hub_generation_id == self._cloud.devices[record.device].generation_id
            and not (record.spec.rotation is not None and record.spec.rotation.immediately)
            for record in records
        )

    def _note_loss(self, token: str, passwords: Iterable[NewPassword]) -> None:
        in_use = self._cloud.passwords_in_use()
        self._cloud.violations += [
            f"P2: {token} lost its live {p.slot}"
            for p in passwords
            if p.value.reveal() in self._cloud.accepted(token) & in_use
        ]


@dataclass(frozen=True)
class FakeSecrets:
    """Key Vault."""

    line: Line

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        return await self.line.call(
            "secrets.versions", lambda: tuple(s.version for s in self._versions(name))
        )

    async def put(
        self, name: str, value: Secret, *, expires_at: datetime | None, tags: Mapping[str, str]
    ) -> SecretVersion:
        def effect() -> SecretVersion:
            version = SecretVersion(
                version=f"version{self.line.cloud.next_number()}",
                enabled=True,
                expires_at=expires_at,
                tags=dict(tags),
            )
            stored = FakeSecretVersion(version, value.reveal())
            self.line.cloud.secrets.setdefault(name, []).append(stored)
            return version

        return await self.line.call("secrets.put", effect)

    async def read(self, name: str, version: str) -> Secret:
        def effect() -> Secret:
            stored = self._one(name, version)
            if not stored.version.enabled:
                raise Blocked(Reason.ACCESS_DENIED, "The version is disabled.", remedy="None.")
            return Secret(stored.value)

        return await self.line.call("secrets.read", effect)

    async def disable(self, name: str, version: str) -> None:
        def effect() -> None:
            stored = self._one(name, version)
            stored.version = replace(stored.version, enabled=False)

        await self.line.call("secrets.disable", effect)

    async def list_secrets(self) -> tuple[StoredSecret, ...]:
        def effect() -> tuple[StoredSecret, ...]:
            latest = {n: found[-1].version for n, found in self.line.cloud.secrets.items()}
            return tuple(
                StoredSecret(name=name, enabled=version.enabled, tags=version.tags)
                for name, version in latest.items()
            )

        return await self.line.call("secrets.list_secrets", effect)

    def _versions(self, name: str) -> list[FakeSecretVersion]:
        return self.line.cloud.secrets.get(name, [])

    def _one(self, name: str, version: str) -> FakeSecretVersion:
        return next(s for s in self._versions(name) if s.version.version == version)


@dataclass(frozen=True)
class FakeHubs:
    """Identities and twins."""

    line: Line

    async def twin(self, device: DeviceKey) -> Twin | None:
        def effect() -> Twin | None:
            found = self.line.cloud.devices.get(device)
            return None if found is None else _twin(found)

        return await self.line.call("hubs.twin", effect)

    async def generation_id(self, device: DeviceKey) -> str | None:
        def effect() -> str | None:
            found = self.line.cloud.devices.get(device)
            return None if found is None else found.generation_id

        return await self.line.call("hubs.generation_id", effect)

    async def patch_desired(
        self, device: DeviceKey, patch: Mapping[str, Any], *, etag: str, deadline_seconds: float
    ) -> None:
        def effect() -> None:
            found = self.line.cloud.devices.get(device)
            if found is None or _twin(found).etag != etag or deadline_seconds <= 0:
                raise Conflict("The twin has changed.")
            found.desired = merged(found.desired, patch)
            found.twin_version += 1

        await self.line.call("hubs.patch_desired", effect)

    async def find_devices(self, hub: str, device_ids: Sequence[str]) -> tuple[ListedDevice, ...]:
        if not device_ids:
            return ()
        return await self.line.call(
            "hubs.find_devices",
            lambda: tuple(
                ListedDevice(device_id=key.device_id, twin=_twin(found))
                for key, found in self.line.cloud.devices.items()
                if key.hub == hub and key.device_id in device_ids
            ),
        )

    async def list_devices(self, hub: str) -> tuple[ListedDevice, ...]:
        return await self.line.call(
            "hubs.list_devices",
            lambda: tuple(
                ListedDevice(device_id=key.device_id, twin=_twin(found))
                for key, found in self.line.cloud.devices.items()
                if key.hub == hub and ("firstpull" in found.tags or "firstpull" in found.desired)
            ),
        )


def _twin(device: FakeDevice) -> Twin:
    return Twin(
        etag=f"t{device.twin_version}",
        device_etag=f"d{device.identity_version}",
        enabled=device.enabled,
        desired=merged({}, device.desired),
        reported=merged({}, device.reported),
        tags=merged({}, device.tags),
    )


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386), with secrets revealed."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value.reveal() if isinstance(value, Secret) else value
    return result


@dataclass(frozen=True)
class FakeRecords:
    """Records, stored as text, so that every field has to survive the codec."""

    line: Line

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        def effect() -> Stored[DeviceRecord] | None:
            found = self._texts.get(device)
            try:
                return None if found is None else _stored_record(*found)
            except ValueError:
                raise record_not_readable(device) from None

        return await self.line.call("records.get", effect)

    async def insert(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        def effect() -> Stored[DeviceRecord]:
            if record.device in self._texts:
                raise Conflict("The record is there already.")
            return self._put(record)

        return await self.line.call("records.insert", effect)

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        def effect() -> Stored[DeviceRecord]:
            found = self._texts.get(record.device)
            if found is None or _stored_record(*found).etag != etag:
                raise Conflict("The record has changed.")
            return self._put(record)

        return await self.line.call("records.replace", effect)

    async def delete(self, device: DeviceKey, *, etag: str) -> None:
        def effect() -> None:
            if device not in self._texts or _stored_record(*self._texts[device]).etag != etag:
                raise Conflict("The record has changed.")
            del self._texts[device]

        await self.line.call("records.delete", effect)

    async def due(self, now: datetime) -> AsyncIterator[DeviceKey]:
        def effect() -> list[DeviceKey]:
            return [r.device for r in self.line.cloud.all_records() if r.schedule.due_at <= now]

        for device in await self.line.call("records.due", effect):
            yield device

    async def page(self, query: Query) -> Page:
        def effect() -> Page:
            first = int(query.after or 0)
            readable, unreadable = self._parsed_texts()
            found = [
                record
                for record in sorted(readable, key=lambda r: r.device)
                if query.hub in (None, record.device.hub)
                and query.device_id in (None, record.device.device_id)
                and (not query.states or record.status.condition.state in query.states)
                and query.shows(record)
                and query.connected_registry
                in (None, record.status.grant.ref.name if record.status.grant else "")
                and query.matches_grants(record)
            ]
            last = first + query.size
            return Page(
                records=tuple(found[first:last]),
                next_page=str(last) if found[last:] else None,
                unreadable=unreadable if first == 0 else (),
            )

        return await self.line.call("records.page", effect)

    def _parsed_texts(self) -> tuple[list[DeviceRecord], tuple[DeviceKey, ...]]:
        readable, unreadable = [], []
        for device, (text, _) in self._texts.items():
            try:
                readable.append(_parsed(text))
            except ValueError:
                unreadable.append(device)
        return readable, tuple(unreadable)

    @property
    def _texts(self) -> dict[DeviceKey, tuple[str, int]]:
        return self.line.cloud.records

    def _put(self, record: DeviceRecord) -> Stored[DeviceRecord]:
        if record.status.condition.reason is Reason.INTERNAL_ERROR:
            self.line.cloud.violations.append("a fault of firstpull itself was noted")
        self._texts[record.device] = record_codec.to_json(record), self.line.cloud.next_number()
        return _stored_record(*self._texts[record.device])


def _stored_record(text: str, version: int) -> Stored[DeviceRecord]:
    return Stored(value=_parsed(text), etag=f"r{version}")


@lru_cache(maxsize=2000)
def _parsed(text: str) -> DeviceRecord:
    return record_codec.from_json(text)


@dataclass(frozen=True)
class FakeWorkQueue:
    """Reconcile requests with delays. `Harness` delivers them."""

    line: Line

    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        def effect() -> None:
            visible_at = self.line.cloud.clock.now() + timedelta(seconds=delay_seconds)
            self.line.cloud.queue.append(ReconcileRequest(device=device, visible_at=visible_at))

        await self.line.call("queue.put", effect)


@dataclass(frozen=True)
class FakeLedgers:
    """Ledgers, stored as text."""

    line: Line

    async def get(self, ref: ConnectedRegistryRef) -> Stored[Ledger] | None:
        def effect() -> Stored[Ledger] | None:
            found = self.line.cloud.ledgers.get(ref)
            return None if found is None else _stored_ledger(*found)

        return await self.line.call("ledgers.get", effect)

    async def put(
        self, ref: ConnectedRegistryRef, ledger: Ledger, *, etag: str | None
    ) -> Stored[Ledger]:
        def effect() -> Stored[Ledger]:
            found = self.line.cloud.ledgers.get(ref)
            current = None if found is None else _stored_ledger(*found).etag
            if current != etag:
                raise Conflict("The ledger has changed.")
            written = ledgers.to_json(ledger), self.line.cloud.next_number()
            self.line.cloud.ledgers[ref] = written
            return _stored_ledger(*written)

        return await self.line.call("ledgers.put", effect)


def _stored_ledger(text: bytes, version: int) -> Stored[Ledger]:
    return Stored(value=ledgers.from_json(text), etag=f"l{version}")


class FakeLease:
    """A lease of 60 seconds. Its holder knows only when it took or renewed it."""

    def __init__(
        self, line: Line, ref: ConnectedRegistryRef, *, owner: int, vanished: bool
    ) -> None:
        self._line = line
        self._ref = ref
        self._owner = owner
        self._vanished = vanished
        self._until = self._hold()

    @property
    def predecessor_vanished(self) -> bool:
        return self._vanished

    async def renew(self) -> None:
        def effect() -> None:
            held = self._line.cloud.locks[self._ref]
            if held.owner != self._owner or held.released:
                raise Conflict("The lease is somebody else's now.")
            self._until = self._hold()

        await self._line.call("lease.renew", effect)

    def remaining_seconds(self) -> float:
        return (self._until - self._line.cloud.clock.now()).total_seconds()

    async def release(self) -> None:
        def effect() -> None:
            held = self._line.cloud.locks[self._ref]
            if held.owner == self._owner:
                self._line.cloud.locks[self._ref] = replace(held, released=True)

        await self._line.call("lease.release", effect)

    def _hold(self) -> datetime:
        until = self._line.cloud.clock.now() + _LEASE_TIME
        self._line.cloud.locks[self._ref] = _Hold(self._owner, until)
        return until


@dataclass(frozen=True)
class FakeLocks:
    """One lease per connected registry."""

    line: Line

    async def acquire(self, ref: ConnectedRegistryRef) -> Lease | None:
        def effect() -> Lease | None:
            cloud = self.line.cloud
            held, now = cloud.locks.get(ref), cloud.clock.now()
            if held is not None and not held.released and now < held.until:
                return None
            vanished = held is not None and not held.released
            return FakeLease(self.line, ref, owner=cloud.next_number(), vanished=vanished)

        return await self.line.call("locks.acquire", effect)


@dataclass(frozen=True)
class FakeSweeps:
    """The last report, stored as text."""

    line: Line

    async def get(self) -> Stored[SweepReport] | None:
        def effect() -> Stored[SweepReport] | None:
            found = self.line.cloud.sweep
            return None if found is None else _stored_report(*found)

        return await self.line.call("sweeps.get", effect)

    async def put(self, report: SweepReport, *, etag: str | None) -> Stored[SweepReport]:
        def effect() -> Stored[SweepReport]:
            found = self.line.cloud.sweep
            current = None if found is None else _stored_report(*found).etag
            if current != etag:
                raise Conflict("The report has changed.")
            self.line.cloud.sweep = sweep_report.to_json(report), self.line.cloud.next_number()
            return _stored_report(*self.line.cloud.sweep)

        return await self.line.call("sweeps.put", effect)


def _stored_report(text: bytes, version: int) -> Stored[SweepReport]:
    return Stored(value=sweep_report.from_json(text), etag=f"s{version}")


class NoPoison:
    """Poison queues without messages."""

    async def keep(self, queue: str, text: str) -> None:
        raise AssertionError(f"{queue} took no message {text}")

    async def peek(self, queue: str) -> tuple[StoredMessage, ...]:  # noqa: ARG002 - the port's
        return ()

    async def resend(self, queue: str, message_id: str, text: str) -> bool:  # noqa: ARG002 - the port's
        return False

    async def discard(self, queue: str, message_ids: Collection[str]) -> int:  # noqa: ARG002 - the port's
        return 0
