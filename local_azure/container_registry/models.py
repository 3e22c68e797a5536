"""Registries with their scope maps, tokens and connected registries: state and rules, no HTTP.

Assumptions, which no public document settles:
a PUT on an existing token drops its passwords unless the body names them, and creates it anew;
a scope map that a token names, and a token that a connected registry names, cannot be deleted;
ids in `clientTokenIds` must exist, are kept as they were spelled, and count once;
the expiry of a new password must lie in the future;
a password that is named in order to be kept must exist.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from local_azure.container_registry.exceptions import (
    BeingDeleted,
    InvalidProperty,
    ResourceNotFound,
    ScopeMapInUse,
    ScopeMapNotFound,
    SystemScopeMapReadOnly,
    TokenInUse,
    TokenNotActive,
    TokenNotFound,
    TooManyClientTokens,
)
from local_azure.container_registry.passwords import (
    PASSWORD_NAMES,
    Password,
    PasswordName,
    make_password,
)
from local_azure.container_registry.resource_ids import PROVIDER, RegistryId
from local_azure.container_registry.resources import (
    ConnectedRegistry,
    ConnectedRegistryChanges,
    ConnectedRegistrySettings,
    ConnectionState,
    GeneratedCredentials,
    GeneratedPassword,
    LoginServer,
    ProblemCode,
    Progress,
    Provisioning,
    ScopeMap,
    StatusDetail,
    SystemData,
    Tier,
    Token,
    TokenStatus,
)
from local_azure.container_registry.rules import (
    CONTINUOUS,
    REPOSITORY_ACTIONS,
    check_actions,
    check_description,
    check_name,
    check_sync_times,
)
from local_azure.kernel.clock import Clock
from local_azure.registry.images import Image
from local_azure.resource_manager.directory import Resource

_SYSTEM_SCOPE_MAPS = {
    "_repositories_admin": (
        "Can perform all read, write and delete operations on the registry",
        REPOSITORY_ACTIONS,
    ),
    "_repositories_pull": ("Can pull any repository of the registry", ("content/read",)),
    "_repositories_pull_metadata_read": (
        "Can perform all read operations on the registry",
        ("content/read", "metadata/read"),
    ),
    "_repositories_push": (
        "Can push to any repository of the registry",
        ("content/read", "content/write"),
    ),
    "_repositories_push_metadata_write": (
        "Can perform all read and write operations on the registry",
        ("content/read", "content/write", "metadata/read", "metadata/write"),
    ),
}


@dataclass(frozen=True)
class OperationLengths:
    """The least and the most seconds of an operation that creates or changes, or that deletes.

    The defaults are short ones of azure-cli's and azure-sdk-for-net's recordings: 0.6 to 11 s.
    """

    change: tuple[float, float] = (0.6, 0.8)
    deletion: tuple[float, float] = (2.0, 8.0)


AT_ONCE = OperationLengths(change=(0.0, 0.0), deletion=(0.0, 0.0))
"""Operations end as soon as they have begun, and are answered as asynchronous ones all the same."""

SLOW = OperationLengths(change=(0.0, 11.0), deletion=(0.0, 11.0))
"""Any operation may take as long as the longest of those recordings, or end at once."""


@dataclass
class CloudSettings:
    """Settings of this cloud, which may be changed while it runs.

    A page of a list holds `page_size` resources. `max_clients` applies to connected registries
    created after a change. `policy_disables_tokens`: an Azure Policy with the effect modify
    (Azure/azure-policy, ACR_TokenDisabled_Modify.json) disables each token that is written.
    """

    operation_lengths: OperationLengths = OperationLengths()
    generate_credentials_asynchronously: bool = False
    page_size: int = 20
    max_clients: int = 50
    policy_disables_tokens: bool = False


@dataclass(frozen=True)
class Surroundings:
    """The clock, random numbers and settings that all registries share."""

    clock: Clock
    random: random.Random
    settings: CloudSettings

    def begin(self, progress: Progress) -> Provisioning:
        """An operation that begins now."""
        lengths, now = self.settings.operation_lengths, self.clock.now()
        seconds = lengths.deletion if progress == "Deleting" else lengths.change
        until = now + timedelta(seconds=self.random.uniform(*seconds))
        return Provisioning(progress=progress, since=now, until=until)


class _Children[T: (ScopeMap, Token)]:
    """Scope maps or tokens. A deletion takes effect when its operation ends."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._resources: dict[str, T] = {}
        self._being_deleted: set[str] = set()

    def all(self) -> list[T]:
        """Sorted by name."""
        return _sorted(self._present())

    def find(self, name: str) -> T | None:
        """The resource of this name, in any case."""
        return self._present().get(name.lower())

    def get(self, name: str) -> T:
        """Raises ResourceNotFound."""
        return _find(self._present(), name)

    def to_change(self, name: str) -> T:
        """A resource that is not being deleted. Raises ResourceNotFound and BeingDeleted."""
        self.check_stays(name)
        return self.get(name)

    def check_stays(self, name: str) -> None:
        """Raises BeingDeleted while the resource is being deleted."""
        if not self.stays(name):
            raise BeingDeleted(f"The resource {name} is being deleted.")

    def stays(self, name: str) -> bool:
        """Whether no deletion of this name is in progress."""
        self._present()
        return name.lower() not in self._being_deleted

    def save(self, resource: T) -> T:
        """Add or replace."""
        self._resources[resource.name.lower()] = resource
        return resource

    def delete(self, name: str) -> Provisioning:
        """Begin a deletion, unless one is in progress: then that one."""
        resource, key = self.get(name), name.lower()
        if key not in self._being_deleted:
            resource = replace(resource, provisioning=self._surroundings.begin("Deleting"))
            self._being_deleted.add(key)
        return self.save(resource).provisioning

    def _present(self) -> dict[str, T]:
        now = self._surroundings.clock.now()
        for key in sorted(self._being_deleted):
            if self._resources[key].provisioning.has_succeeded(now):
                del self._resources[key]
                self._being_deleted.remove(key)
        return self._resources


@dataclass(kw_only=True, eq=False)
class Registry:
    """One registry. Methods raise the errors that Azure Resource Manager would answer.

    Names are found in any case. `caller` is the principal that systemData names.
    `tier` and `has_data_endpoint` are shown, and limit nothing. `images` is repository to tag to
    image. A change is effective at once, and a deletion at the end of its operation.
    """

    registry_id: RegistryId
    login_server: str
    surroundings: Surroundings
    images: dict[str, dict[str, Image]] = field(default_factory=dict)
    tier: Tier = "Premium"
    has_data_endpoint: bool = True
    system_data: SystemData = field(init=False)
    _scope_maps: _Children[ScopeMap] = field(init=False)
    _tokens: _Children[Token] = field(init=False)
    _connected_registries: dict[str, ConnectedRegistry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now = self.now()
        self.system_data = SystemData("local-azure", now)
        self._scope_maps = _Children(self.surroundings)
        self._tokens = _Children(self.surroundings)
        for name, (description, actions) in _SYSTEM_SCOPE_MAPS.items():
            self._scope_maps.save(
                ScopeMap(
                    name=name,
                    actions=tuple(f"repositories/*/{action}" for action in actions),
                    description=description,
                    creation_date=now,
                    provisioning=Provisioning(progress="Creating", since=now, until=now),
                    system_data=self.system_data,
                    kind="SystemDefined",
                )
            )

    def now(self) -> datetime:
        """The cloud's time."""
        return self.surroundings.clock.now()

    # Scope maps

    def scope_maps(self) -> list[ScopeMap]:
        """All scope maps by name."""
        return self._scope_maps.all()

    def scope_map(self, name: str) -> ScopeMap:
        """Raises ResourceNotFound."""
        return self._scope_maps.get(name)

    def put_scope_map(
        self,
        name: str,
        *,
        actions: Sequence[str],
        description: str | None = None,
        caller: str = "local-azure",
    ) -> ScopeMap:
        """Create at once, or replace by an operation."""
        check_name("scope map", name)
        self._refuse_system_scope_map(name)
        self._scope_maps.check_stays(name)
        existing, now = self._scope_maps.find(name), self.now()
        created = Provisioning(progress="Creating", since=now, until=now)
        return self._save_scope_map(
            ScopeMap(
                name=existing.name if existing else name,
                actions=tuple(actions),
                description=description,
                creation_date=existing.creation_date if existing else now,
                provisioning=self.surroundings.begin("Updating") if existing else created,
                system_data=SystemData(caller, now),
            )
        )

    def update_scope_map(
        self,
        name: str,
        *,
        actions: Sequence[str] | None = None,
        description: str | None = None,
        caller: str = "local-azure",
    ) -> ScopeMap:
        """Replace what is given; the actions as a whole."""
        current = self._scope_maps.to_change(name)
        self._refuse_system_scope_map(name)
        return self._save_scope_map(
            replace(
                current,
                actions=current.actions if actions is None else tuple(actions),
                description=current.description if description is None else description,
                provisioning=self.surroundings.begin("Updating"),
                system_data=SystemData(caller, self.now()),
            )
        )

    def delete_scope_map(self, name: str) -> Provisioning | None:
        """The deletion, None where there is nothing to delete."""
        if self._scope_maps.find(name) is None:
            return None
        self._refuse_system_scope_map(name)
        user = next((t for t in self.tokens() if self._names_scope_map(t, name)), None)
        if user is not None:
            raise ScopeMapInUse(f"The scope map '{name}' is used by the token '{user.name}'.")
        return self._scope_maps.delete(name)

    def scope_map_of(self, token: Token) -> ScopeMap:
        """The scope map that a token of this registry names."""
        name = self.registry_id.child_name("scopeMaps", token.scope_map_id)
        return self.scope_map(name or token.scope_map_id)

    def _save_scope_map(self, scope_map: ScopeMap) -> ScopeMap:
        check_actions(scope_map.actions)
        check_description(scope_map.description or "")
        return self._scope_maps.save(scope_map)

    def _refuse_system_scope_map(self, name: str) -> None:
        if name.lower() in _SYSTEM_SCOPE_MAPS:
            raise SystemScopeMapReadOnly(f"The scope map '{name}' is system defined.")

    def _names_scope_map(self, token: Token, name: str) -> bool:
        return self.scope_map_of(token).name.lower() == name.lower()

    # Tokens

    def tokens(self) -> list[Token]:
        """All tokens by name."""
        return self._tokens.all()

    def token(self, name: str) -> Token:
        """Raises ResourceNotFound."""
        return self._tokens.get(name)

    def put_token(
        self,
        name: str,
        *,
        scope_map_id: str,
        status: TokenStatus = "enabled",
        keep_passwords: Collection[PasswordName] = (),
        caller: str = "local-azure",
    ) -> Token:
        """Create or replace. The token becomes active a little later."""
        check_name("token", name)
        self._check_scope_map_id(scope_map_id)
        self._tokens.check_stays(name)
        existing, now = self._tokens.find(name), self.now()
        return self._tokens.save(
            Token(
                name=existing.name if existing else name,
                scope_map_id=scope_map_id,
                status=self._allowed(status),
                passwords=_keep(existing.passwords if existing else (), keep_passwords),
                creation_date=now,
                provisioning=self.surroundings.begin("Creating"),
                system_data=SystemData(caller, now),
            )
        )

    def update_token(
        self,
        name: str,
        *,
        scope_map_id: str | None = None,
        status: TokenStatus | None = None,
        keep_passwords: Collection[PasswordName] | None = None,
        caller: str = "local-azure",
    ) -> Token:
        """Replace what is given. Passwords that `keep_passwords` does not name are deleted."""
        token = self._tokens.to_change(name)
        if scope_map_id is not None:
            self._check_scope_map_id(scope_map_id)
        kept = token.passwords if keep_passwords is None else _keep(token.passwords, keep_passwords)
        return self._tokens.save(
            replace(
                token,
                scope_map_id=scope_map_id or token.scope_map_id,
                status=self._allowed(status or token.status),
                passwords=kept,
                provisioning=self.surroundings.begin("Updating"),
                system_data=SystemData(caller, self.now()),
            )
        )

    def delete_token(self, name: str) -> Provisioning | None:
        """The deletion, None where there is nothing to delete."""
        if self._tokens.find(name) is None:
            return None
        user = next((c for c in self.connected_registries() if self._uses(c, name)), None)
        if user is not None:
            raise TokenInUse(f"The token '{name}' is used by connected registry '{user.name}'.")
        return self._tokens.delete(name)

    def token_of(self, token_id: str) -> Token:
        """The token of a resource id. Raises TokenNotFound, also for another registry's."""
        name = self.registry_id.child_name("tokens", token_id)
        token = self._tokens.find(name) if name is not None else None
        if token is None:
            raise TokenNotFound(f"The token '{token_id}' could not be found in this registry.")
        return token

    def generate_credentials(
        self, token_id: str, *, name: PasswordName | None = None, expiry: datetime | None = None
    ) -> GeneratedCredentials:
        """New values for the named password, or for both. Old values are void at once.

        Raises TokenNotActive while the token is being created or deleted.
        """
        token = self.token_of(token_id)
        now = self.now()
        if token.provisioning.state(now) in ("Creating", "Deleting"):
            raise TokenNotActive(f"The token '{token.name}' is not active.")
        if expiry is not None and expiry <= now:
            raise InvalidProperty("The expiry must be in the future.")
        by_name = {password.name: GeneratedPassword(password, None) for password in token.passwords}
        for each in [name] if name else PASSWORD_NAMES:
            by_name[each] = GeneratedPassword(*make_password(each, now=now, expiry=expiry))
        entries = tuple(entry for _, entry in sorted(by_name.items()))
        passwords = tuple(entry.password for entry in entries)
        self._tokens.save(replace(token, passwords=passwords))
        return GeneratedCredentials(token.name, entries)

    def _allowed(self, status: TokenStatus) -> TokenStatus:
        """The status that a token gets which is written."""
        return "disabled" if self.surroundings.settings.policy_disables_tokens else status

    def _check_scope_map_id(self, scope_map_id: str) -> None:
        name = self.registry_id.child_name("scopeMaps", scope_map_id)
        found = self._scope_maps.find(name) if name is not None else None
        if found is None or not self._scope_maps.stays(found.name):
            raise ScopeMapNotFound(
                f"The scope map '{scope_map_id}' could not be found in this registry."
            )

    def _uses(self, connected: ConnectedRegistry, token_name: str) -> bool:
        ids = {connected.sync_token_id, *connected.settings.client_token_ids}
        return self.registry_id.child("tokens", token_name).lower() in {i.lower() for i in ids}

    # Connected registries

    def connected_registries(self) -> list[ConnectedRegistry]:
        """All connected registries by name."""
        return _sorted(self._connected_registries)

    def connected_registry(self, name: str) -> ConnectedRegistry:
        """Raises ResourceNotFound."""
        return _find(self._connected_registries, name)

    def put_connected_registry(
        self,
        name: str,
        *,
        sync_token_id: str,
        settings: ConnectedRegistrySettings | None = None,
        caller: str = "local-azure",
    ) -> ConnectedRegistry:
        """Create, or replace what can be updated."""
        check_name("connected registry", name)
        self.token_of(sync_token_id)
        existing = self._connected_registries.get(name.lower())
        new = ConnectedRegistry(
            name=name,
            sync_token_id=sync_token_id,
            settings=ConnectedRegistrySettings(),
            max_clients=self.surroundings.settings.max_clients,
            system_data=SystemData(caller, self.now()),
        )
        return self._save_settings(
            replace(existing or new, sync_token_id=sync_token_id),
            settings or ConnectedRegistrySettings(),
            caller=caller,
        )

    def update_connected_registry(
        self, name: str, changes: ConnectedRegistryChanges, *, caller: str = "local-azure"
    ) -> ConnectedRegistry:
        """Replace what is given. There is no ETag: the last writer of a list wins."""
        connected = self.connected_registry(name)
        return self._save_settings(connected, changes.applied_to(connected.settings), caller=caller)

    def delete_connected_registry(self, name: str) -> bool:
        """Whether there was one. Its tokens and scope maps stay."""
        return self._connected_registries.pop(name.lower(), None) is not None

    def activate_connected_registry(self, name: str, login_server: LoginServer) -> None:
        """Record that a deployment reported to the cloud, and where devices reach it."""
        self._save(
            replace(
                self.connected_registry(name),
                active=True,
                login_server=login_server,
                last_activity_time=self.now(),
            )
        )

    def note_connection(self, name: str, state: ConnectionState) -> None:
        """Record whether the deployment is connected to the cloud."""
        connected = self.connected_registry(name)
        self._save(replace(connected, connection_state=state, status_details=()))

    def note_sync(self, name: str) -> None:
        """Record a sync, which shows that the deployment is online."""
        now = self.now()
        self._save(
            replace(
                self.connected_registry(name),
                connection_state="Online",
                status_details=(),
                last_sync_time=now,
                last_activity_time=now,
            )
        )

    def note_problem(self, name: str, code: ProblemCode) -> None:
        """Record a problem that the deployment reported instead of a sync."""
        now = self.now()
        detail = StatusDetail(
            code=code,
            timestamp=now,
            correlation_id=str(uuid.UUID(int=self.surroundings.random.getrandbits(128), version=4)),
        )
        self._save(
            replace(
                self.connected_registry(name),
                connection_state="Unhealthy",
                status_details=(detail,),
                last_activity_time=now,
            )
        )

    def set_max_clients(self, name: str, max_clients: int) -> None:
        """Limit the client tokens from the next update on."""
        self._save(replace(self.connected_registry(name), max_clients=max_clients))

    def _save_settings(
        self, connected: ConnectedRegistry, settings: ConnectedRegistrySettings, *, caller: str
    ) -> ConnectedRegistry:
        check_sync_times(
            schedule=settings.schedule,
            sync_window=settings.sync_window,
            message_ttl=settings.message_ttl,
        )
        client_token_ids = self._checked_client_tokens(connected, settings.client_token_ids)
        # Always on needs no window: the provider drops it.
        sync_window = None if settings.schedule == CONTINUOUS else settings.sync_window
        return self._save(
            replace(
                connected,
                settings=replace(
                    settings, client_token_ids=client_token_ids, sync_window=sync_window
                ),
                system_data=SystemData(caller, self.now()),
            )
        )

    def _checked_client_tokens(
        self, connected: ConnectedRegistry, token_ids: Iterable[str]
    ) -> tuple[str, ...]:
        by_token: dict[str, str] = {}
        for token_id in token_ids:
            name = self.token_of(token_id).name
            if not self._tokens.stays(name):
                raise TokenNotFound(f"The token '{name}' is being deleted.")
            by_token.setdefault(name, token_id)
        if len(by_token) > connected.max_clients:
            raise TooManyClientTokens(
                f"The connected registry '{connected.name}' takes at most "
                f"{connected.max_clients} client tokens, not {len(by_token)}."
            )
        return tuple(by_token.values())

    def _save(self, connected: ConnectedRegistry) -> ConnectedRegistry:
        self._connected_registries[connected.name.lower()] = connected
        return connected


class ContainerRegistryCloud:
    """All registries, by subscription, resource group and name."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: random.Random,
        settings: CloudSettings | None = None,
    ) -> None:
        self.settings = settings or CloudSettings()
        self._surroundings = Surroundings(clock, random, self.settings)
        self._registries: dict[RegistryId, Registry] = {}

    def create_registry(self, registry_id: RegistryId, *, login_server: str) -> Registry:
        """A registry of the Premium tier, which has the provider's own scope maps."""
        check_name("registry", registry_id.name)
        registry = Registry(
            registry_id=registry_id, login_server=login_server, surroundings=self._surroundings
        )
        self._registries[registry_id.key] = registry
        return registry

    def registry(self, registry_id: RegistryId) -> Registry | None:
        """The registry of this id, in any case."""
        return self._registries.get(registry_id.key)

    def delete_registry(self, registry_id: RegistryId) -> None:
        """Remove a registry with everything in it."""
        self._registries.pop(registry_id.key, None)

    def registries(self) -> list[Registry]:
        """All registries, the oldest first."""
        return list(self._registries.values())

    def resources(self) -> list[Resource]:
        """The registries, for lists over all providers."""
        return [
            Resource(
                subscription_id=registry.registry_id.subscription_id,
                resource_group=registry.registry_id.resource_group,
                type=f"{PROVIDER}/registries",
                name=registry.registry_id.name,
                sku="Premium",
            )
            for registry in self.registries()
        ]


def _find[T](resources: dict[str, T], name: str) -> T:
    resource = resources.get(name.lower())
    if resource is None:
        raise ResourceNotFound(f"The resource {name} could not be found.")
    return resource


def _sorted[T](resources: dict[str, T]) -> list[T]:
    return [resource for _, resource in sorted(resources.items())]


def _keep(passwords: Iterable[Password], names: Collection[PasswordName]) -> tuple[Password, ...]:
    by_name = {password.name: password for password in passwords}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InvalidProperty(f"The token has no {missing[0]} to keep.")
    return tuple(password for name, password in by_name.items() if name in names)
