"""All state outside of firstpull's processes: the local Azure's models, and firstpull's storage.

Azure's state is in `registry(...)`, `sites`, `vault` and `hub`, which keep Azure's rules. Tests
read and change it with the models' own methods; the methods here are for what many tests do.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from firstpull.model import ledger as ledgers
from firstpull.model import record_codec
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, Slot, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.ledger import Ledger
from local_azure.container_registry.backends import (
    ConnectedRegistryBackend,
    ConnectedRegistrySnapshot,
    SyncOverride,
)
from local_azure.container_registry.exceptions import ResourceNotFound
from local_azure.container_registry.models import (
    AT_ONCE,
    CloudSettings,
    ContainerRegistryCloud,
    OperationLengths,
    Registry,
)
from local_azure.container_registry.passwords import PasswordName
from local_azure.container_registry.resource_ids import RegistryId as ResourceId
from local_azure.container_registry.resources import (
    ConnectedRegistryChanges,
    GeneratedCredentials,
    LoginServer,
    ScopeMap,
    Token,
)
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus, Identity
from local_azure.iot_hub.models import EDGE_AGENT, IotHub
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.kernel.clock import Clock
from local_azure.key_vault.models import SecretVersion, Vault, VaultSettings
from tests.firstpull.virtual_clock import VirtualClock
from tests.world.calls import Calls, Crashed
from tests.world.device import Device, EdgeDevice, edge_entries_below, entries_below
from tests.world.watch import Watch

HUB = "hub-1.azure-devices.net"
PULL = "_repositories_pull"
"""A scope map that every container registry has."""
PASSWORD_NAMES: dict[Slot, PasswordName] = {Slot.ONE: "password1", Slot.TWO: "password2"}


@dataclass(frozen=True, kw_only=True)
class ReconcileRequest:
    """A message of the work queue."""

    device: DeviceKey
    visible_at: datetime
    dequeued: int = 0


@dataclass(frozen=True)
class LockHold:
    """A lease of a connected registry."""

    owner: int
    until: datetime
    released: bool = False


class Turns(Protocol):
    """Decides which process goes on, at each call."""

    async def before(self, line: Line, operation: str) -> None:
        """Return when this process may make its call."""
        ...

    async def after(self, line: Line, operation: str) -> None:
        """Return when this process may have its answer."""
        ...


class Cloud(Calls):
    """Container registries with their sites, a vault, a hub with its devices, and storage."""

    def __init__(
        self,
        clock: VirtualClock,
        *,
        settings: CloudSettings | None = None,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(clock, chance=chance)
        time, numbers = Clock(clock.now), random.Random(2026)  # noqa: S311 - chance, not secrets
        self._services_chance = numbers
        self._service = ContainerRegistryCloud(
            clock=time,
            random=numbers,
            settings=settings or CloudSettings(operation_lengths=AT_ONCE),
        )
        self._registries: dict[RegistryId, Registry] = {}
        self.sites: dict[ConnectedRegistryRef, ConnectedRegistryBackend] = {}
        self.sync_by_identity: set[ConnectedRegistryRef] = set()
        """Those that Azure shows without a sync token: they sync by a managed identity."""
        self.vault = Vault(
            clock=time, random=numbers, settings=VaultSettings(moving_seconds=(0.0, 0.0))
        )
        name, *_ = HUB.split(".")
        self.hub = IotHub(name=name, clock=time, random=numbers, throttle_limits={})
        self.devices: dict[DeviceKey, Device] = {}
        self.passwords: defaultdict[tuple[RegistryId, str], list[str]] = defaultdict(list)
        """Every password that each token ever had."""
        self.passwords_made: list[str] = []
        """Those that firstpull generated."""
        self.list_sizes: list[int] = []
        self.lists_refused = 0
        self.is_short_of_reads = False
        self.is_short_of_writes = False
        self.records: dict[DeviceKey, tuple[str, int]] = {}
        self.ledgers: dict[ConnectedRegistryRef, tuple[bytes, int]] = {}
        self.locks: dict[ConnectedRegistryRef, LockHold] = {}
        self.queue: list[ReconcileRequest] = []
        self.documents: dict[str, tuple[bytes, int]] = {}
        self.violations: list[str] = []
        self.watch = Watch(self)
        self.turns: Turns | None = None
        self._numbers = 0

    def slow_down(self, *, seed: int) -> None:
        """Let operations take 0 to 11 s from now on, as recorded, and secrets move for up to 14."""
        self._services_chance.seed(seed)
        self.operations_take(change=(0, 11), deletion=(0, 11))
        self.vault.settings.moving_seconds = (0, 14)

    def let_policy_disable_tokens(self, *, disable: bool) -> None:
        """Whether an Azure Policy with the effect modify disables every token that is written."""
        self._service.settings.policy_disables_tokens = disable

    def operations_take(
        self, *, change: tuple[float, float], deletion: tuple[float, float]
    ) -> None:
        """Let operations on tokens and scope maps take the least to the most seconds."""
        lengths = OperationLengths(change=change, deletion=deletion)
        self._service.settings.operation_lengths = lengths

    # firstpull's storage

    def next_number(self) -> int:
        """Numbers for ETags and owners of leases."""
        self._numbers += 1
        return self._numbers

    def record(self, device: DeviceKey) -> DeviceRecord:
        """The record of a device."""
        return parsed(self.records[device][0])

    def all_records(self) -> list[DeviceRecord]:
        """All records."""
        return [parsed(text) for text, _ in self.records.values()]

    def lose_record(self, device: DeviceKey) -> None:
        """Delete the record, as the runbook says for one that cannot be read."""
        if device in self.records:
            self.watch.record_was_lost(self.record(device))
            del self.records[device]

    def ledger(self, ref: ConnectedRegistryRef) -> Ledger:
        """The ledger of a connected registry."""
        text, _ = self.ledgers.get(ref, (b"", 0))
        return ledgers.from_json(text) if text else Ledger()

    # Container registries and their sites

    def registry(self, registry: RegistryId | None = None) -> Registry:
        """A container registry, without an id the first; it exists once somebody asks for it."""
        if registry is None:
            return next(iter(self._registries.values()))
        if registry not in self._registries:
            _, _, subscription, _, group, *_, name = str(registry).split("/")
            self._registries[registry] = self._service.create_registry(
                ResourceId(subscription, group, name), login_server=f"{name}.azurecr.io"
            )
        return self._registries[registry]

    def connect(self, ref: ConnectedRegistryRef, *, login_server: str) -> None:
        """Deploy a connected registry that reads everything below `plant/`, and has not synced."""
        registry = self.registry(ref.registry)
        registry.put_scope_map(
            ref.name,
            actions=["repositories/plant/*/content/read", f"gateway/{ref.name}/config/read"],
        )
        registry.put_token(ref.name, scope_map_id=str(ref.registry.scope_map(ref.name)))
        registry.put_connected_registry(ref.name, sync_token_id=str(ref.registry.token(ref.name)))
        self.set_address(ref, login_server)
        registry.note_connection(ref.name, "Online")
        self.sites[ref] = ConnectedRegistryBackend(
            registry, ref.name, override=SyncOverride(every_seconds=None)
        )

    def set_address(self, ref: ConnectedRegistryRef, host: str | None) -> None:
        """Change where devices reach a connected registry."""
        self.registry(ref.registry).activate_connected_registry(ref.name, LoginServer(host=host))

    def let_sync(self, ref: ConnectedRegistryRef, action: str) -> None:
        """Let a connected registry sync one thing more."""
        registry = self.registry(ref.registry)
        actions = registry.scope_map(ref.name).actions
        registry.update_scope_map(ref.name, actions=[*actions, action])

    @property
    def tokens(self) -> dict[str, Token]:
        """The tokens by name, but those with which connected registries sync."""
        return {
            token.name: token
            for registry_id, registry in self._registries.items()
            for token in registry.tokens()
            if not self._is_a_sites(registry_id, token.name)
        }

    @property
    def scope_maps(self) -> dict[str, ScopeMap]:
        """The scope maps by name, but the service's own and those of connected registries."""
        return {
            scope_map.name: scope_map
            for registry_id, registry in self._registries.items()
            for scope_map in registry.scope_maps()
            if scope_map.kind == "UserDefined" and not self._is_a_sites(registry_id, scope_map.name)
        }

    def _is_a_sites(self, registry: RegistryId, name: str) -> bool:
        return ConnectedRegistryRef(registry=registry, name=name) in self.sites

    def actions(self, token: str, *, registry: RegistryId | None = None) -> set[str]:
        """What a token of the first container registry allows, or of another."""
        home = self.registry(registry)
        return {*home.scope_map_of(home.token(token)).actions}

    def token(self, registry: RegistryId, name: str) -> Token | None:
        """A token, None where there is none."""
        try:
            return self.registry(registry).token(name)
        except ResourceNotFound:
            return None

    def stays(self, registry: RegistryId, name: str) -> bool:
        """Whether there is a token that is not being deleted."""
        token = self.token(registry, name)
        return token is not None and token.provisioning.state(self.clock.now()) != "Deleting"

    def add_token(
        self, name: str, *, registry: RegistryId | None = None, scope_map: str = PULL
    ) -> None:
        """Make a token as somebody does, in the first container registry or another."""
        home = registry or next(iter(self._registries))
        self.registry(home).put_token(name, scope_map_id=str(home.scope_map(scope_map)))
        self.watch.token_was_made_by_hand(home, name)

    def delete_token(self, name: str, *, registry: RegistryId | None = None) -> None:
        """Take a token off every list, and delete it."""
        home = registry or next(iter(self._registries))
        for ref in self.sites:
            clients = self.clients(ref)
            if ref.registry == home and name in clients:
                self.put_clients(ref, *(other for other in clients if other != name))
        self.registry(home).delete_token(name)

    def generate(
        self,
        registry: RegistryId,
        token: str,
        slot: Slot | None = Slot.ONE,
        *,
        expires_at: datetime | None = None,
    ) -> GeneratedCredentials:
        """Generate a password; without a slot both."""
        name = PASSWORD_NAMES[slot] if slot is not None else None
        made = self.registry(registry).generate_credentials(
            str(registry.token(token)), name=name, expiry=expires_at
        )
        values = [each.value for each in made.passwords if each.value is not None]
        self.passwords[registry, token] += values
        return made

    def accepts(self, registry: RegistryId, token: str, password: str) -> bool:
        """Whether the container registry itself lets a password in now."""
        found = self.token(registry, token)
        return found is not None and found.accepts(password, now=self.clock.now())

    def accepted(self, token: str) -> set[str]:
        """The passwords that the container registry accepts for a token now."""
        return {
            value
            for (registry, name), values in self.passwords.items()
            if name == token
            for value in values
            if self.accepts(registry, token, value)
        }

    def opens(self, password: str) -> bool:
        """Whether a container registry or a site lets a password in now."""
        return any(
            self.accepts(registry, token, password)
            or any(
                self.site_accepts(ref, token, password)
                for ref in self.sites
                if ref.registry == registry
            )
            for (registry, token), values in self.passwords.items()
            if password in values
        )

    def shows_password(self, text: str) -> bool:
        """Whether a text holds a password that was ever made."""
        return any(value in text for values in self.passwords.values() for value in values)

    def clients(self, ref: ConnectedRegistryRef) -> list[str]:
        """The names of the tokens in a connected registry's list."""
        try:
            found = self.registry(ref.registry).connected_registry(ref.name)
        except ResourceNotFound:
            return []
        return [TokenId(i).name for i in found.settings.client_token_ids]

    def put_clients(self, ref: ConnectedRegistryRef, *names: str) -> None:
        """Replace the list of a connected registry's clients."""
        ids = tuple(str(ref.registry.token(name)) for name in names)
        changes = ConnectedRegistryChanges(client_token_ids=ids)
        self.registry(ref.registry).update_connected_registry(ref.name, changes)

    def add_foreign_client(self, ref: ConnectedRegistryRef, name: str) -> None:
        """Make somebody else's token a client of a connected registry."""
        self.add_token(name, registry=ref.registry)
        self.put_clients(ref, *self.clients(ref), name)

    def sync(self, ref: ConnectedRegistryRef) -> None:
        """The connected registry takes over what the container registry has now."""
        self.sites[ref].sync()

    @property
    def is_out_of_sync(self) -> bool:
        """Whether a sync would change anything."""
        return any(map(self.would_sync, self.sites))

    def would_sync(self, ref: ConnectedRegistryRef) -> bool:
        """Whether a sync would change anything at a connected registry."""
        site = self.sites[ref]
        try:
            found = site.registry.connected_registry(site.name)
        except ResourceNotFound:
            return False
        now = ConnectedRegistrySnapshot.take(site.registry, found)
        return found.last_sync_time is None or now.tokens != site.snapshot.tokens

    def site_accepts(self, ref: ConnectedRegistryRef, username: str, password: str) -> bool:
        """Whether a device can log in at the connected registry now."""
        return self.sites[ref].authenticate(username, password) is not None

    # The vault

    @property
    def secrets(self) -> dict[str, tuple[SecretVersion, ...]]:
        """The versions of each secret, the oldest first."""
        return {name: found.versions for name, found in self.vault._secrets.items()}

    def purge_secrets(self) -> None:
        """Delete all secrets for good."""
        for name in self.secrets:
            self.vault.delete(name)
            self.vault.purge(name)

    # The hub

    def register(self, device: DeviceKey, *, edge: bool = False) -> Device:
        """Create the identity; an existing one is replaced by another device of the same id."""
        if device in self.devices:
            self.unregister(device)
        identity = self.hub.create_device(DeviceSettings(device.device_id, iot_edge=edge))
        kind = EdgeDevice if edge else Device
        self.devices[device] = made = kind(device, identity.generation_id)
        return made

    def unregister(self, *devices: DeviceKey) -> None:
        """Delete identities."""
        for device in devices:
            self.hub.delete_device(device.device_id, etag=None)
            del self.devices[device]

    def identity(self, device: DeviceKey) -> Identity | None:
        """A device's identity, None where the hub has none."""
        return self.hub.device(device.device_id) if device in self.devices else None

    def change_identity(self, device: DeviceKey, *, enabled: bool) -> None:
        """Enable or disable the identity."""
        status = DeviceStatus.ENABLED if enabled else DeviceStatus.DISABLED
        self.hub.update_device(DeviceSettings(device.device_id, status=status), etag=None)

    def patch_twin(
        self,
        device: DeviceKey,
        *,
        desired: JsonObject | None = None,
        tags: JsonObject | None = None,
    ) -> None:
        """Merge into the desired properties and tags of a device."""
        self.hub.patch_twin(device.device_id, TwinPatch(desired=desired, tags=tags), etag=None)

    def clear_twin(self, device: DeviceKey) -> None:
        """Remove all that firstpull has delivered."""
        self.patch_twin(device, desired={"firstpull": None})

    def edit_entry(
        self, device: DeviceKey, ref: ConnectedRegistryRef, entry: JsonObject | None
    ) -> None:
        """Merge fields into an entry of a twin; None removes it."""
        self.patch_twin(device, desired={"firstpull": {"registryCredentials": {ref.name: entry}}})

    def twin_entries(self, device: DeviceKey) -> dict[ConnectedRegistryRef, dict[str, Any]]:
        """The entries of a device's twin, by connected registry; none without a twin."""
        if device not in self.devices:
            return {}
        found = entries_below(self.hub.twin(device.device_id).desired.values)
        return {ref: found[ref.name] for ref in self.sites if ref.name in found}

    def edge_entries(self, device: DeviceKey) -> dict[ConnectedRegistryRef, dict[str, Any]]:
        """Likewise those of firstpull's in the twin of its edgeAgent."""
        if not isinstance(self.devices.get(device), EdgeDevice):
            return {}
        twin = self.hub.module_twin(device.device_id, EDGE_AGENT)
        found = edge_entries_below(twin.desired.values)
        return {ref: found[ref.name] for ref in self.sites if ref.name in found}

    def entries(self, device: DeviceKey) -> list[tuple[ConnectedRegistryRef, dict[str, Any]]]:
        """All that was delivered to a device, whatever its kind."""
        return [*self.twin_entries(device).items(), *self.edge_entries(device).items()]

    def twin_entry(self, device: DeviceKey, ref: ConnectedRegistryRef) -> dict[str, Any]:
        """What is in the device's desired properties for a connected registry, {} for nothing."""
        return self.twin_entries(device).get(ref, {})

    def entry(self, device: DeviceKey, ref: ConnectedRegistryRef) -> dict[str, Any]:
        """What was delivered to a device for a connected registry, {} for nothing."""
        return next((entry for at, entry in self.entries(device) if at == ref), {})

    def passwords_in_use(self) -> set[str]:
        """Passwords in a twin, or that a device logs in with."""
        found = {login.password for d in self.devices.values() for login in d.logins.values()}
        delivered = (
            device.password_in(entry)
            for key, device in self.devices.items()
            for _, entry in self.entries(key)
        )
        return found | {password for password in delivered if isinstance(password, str)}

    def state(self) -> object:
        """Everything in Azure that firstpull could write, for a comparison."""
        return (
            [(r.tokens(), r.scope_maps()) for r in self._registries.values()],
            [self.clients(ref) for ref in self.sites],
            self.secrets,
            [(i, self.hub.twin(i.device_id).desired) for i in self.hub.devices()],
        )


@lru_cache(maxsize=4000)
def parsed(text: str) -> DeviceRecord:
    """The record of a stored text."""
    return record_codec.from_json(text)


class Line:
    """One process's connection to the cloud. A process that crashed calls nothing any more."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.dead = False
        self.lists_read: dict[ConnectedRegistryRef, tuple[TokenId, ...]] = {}
        """The clients of each connected registry as this process last saw them."""

    async def call[T](self, operation: str, effect: Callable[[], T]) -> T:
        """Make one call, after some of others."""
        chance = self.cloud.chance
        for _ in range(chance.randrange(1, 4) if chance is not None else 1):
            await asyncio.sleep(0)
        if self.dead:
            raise Crashed(operation)
        if self.cloud.turns is not None:
            await self.cloud.turns.before(self, operation)
        try:
            answer = await self.cloud.make(operation, effect)
        except Crashed:
            self.dead = True
            raise
        if self.cloud.turns is not None:
            await self.cloud.turns.after(self, operation)
        return answer
