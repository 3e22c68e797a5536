"""The immutable values of a registry: scope maps, tokens and connected registries."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Literal

from local_azure.container_registry.passwords import Password, PasswordName
from local_azure.container_registry.rules import CONTINUOUS

TokenStatus = Literal["enabled", "disabled"]
ConnectionState = Literal["Online", "Offline", "Unhealthy"]
ProblemCode = Literal["DISK_ERROR", "DISK_PERMISSION_DENIED", "DISK_STORAGE_FULL"]
Tier = Literal["Basic", "Standard", "Premium"]
LogLevel = Literal["Debug", "Information", "Warning", "Error", "None"]
AuditLogStatus = Literal["Enabled", "Disabled"]
Progress = Literal["Creating", "Updating", "Deleting"]


@dataclass(frozen=True)
class SystemData:
    """Who wrote a resource and when. An update rewrites `createdAt` too, as the provider does."""

    by: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """A change of a resource, or an operation: in `progress` until a time, then `Succeeded`."""

    progress: Progress
    since: datetime
    until: datetime

    def state(self, now: datetime) -> str:
        """The progress, or `Succeeded`."""
        return "Succeeded" if self.has_succeeded(now) else self.progress

    def has_succeeded(self, now: datetime) -> bool:
        """Whether it has ended."""
        return now >= self.until


@dataclass(frozen=True, kw_only=True)
class ScopeMap:
    """Actions on repositories. The provider's own scope maps are `SystemDefined`."""

    name: str
    actions: tuple[str, ...]
    description: str | None
    creation_date: datetime
    provisioning: Provisioning
    system_data: SystemData
    kind: Literal["UserDefined", "SystemDefined"] = "UserDefined"


@dataclass(frozen=True, kw_only=True)
class Token:
    """A user name of the registry, with one scope map and up to two passwords."""

    name: str
    scope_map_id: str
    status: TokenStatus
    passwords: tuple[Password, ...]
    creation_date: datetime
    provisioning: Provisioning
    system_data: SystemData

    def accepts(self, password: str, *, now: datetime) -> bool:
        """Whether this password logs in now: status, expiry and value."""
        # Compare with every password, so that the duration reveals nothing.
        matches = [known.accepts(password, now=now) for known in self.passwords]
        return any(matches) and self.status == "enabled"


@dataclass(frozen=True)
class GeneratedPassword:
    """An entry of generateCredentials; `value` is None for a password that was not generated."""

    password: Password
    value: str | None

    def __repr__(self) -> str:
        return f"GeneratedPassword({self.password.name})"


@dataclass(frozen=True)
class GeneratedCredentials:
    """All passwords of a token, with the values of those just generated."""

    username: str
    passwords: tuple[GeneratedPassword, ...]

    def value_of(self, name: PasswordName) -> str:
        """The value just generated for this name. Raises KeyError when there is none."""
        values = {entry.password.name: entry.value for entry in self.passwords if entry.value}
        return values[name]


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistrySettings:
    """The settings of a connected registry that can be updated. Defaults are azure-cli's."""

    schedule: str = CONTINUOUS
    sync_window: timedelta | None = None
    message_ttl: timedelta = timedelta(days=2)
    client_token_ids: tuple[str, ...] = ()
    log_level: LogLevel = "Information"
    audit_log_status: AuditLogStatus = "Disabled"
    notifications: tuple[str, ...] = ()
    garbage_collection_enabled: bool | None = None
    garbage_collection_schedule: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistryChanges:
    """An update: None keeps the current value. Client tokens are replaced as a whole list."""

    schedule: str | None = None
    sync_window: timedelta | None = None
    message_ttl: timedelta | None = None
    client_token_ids: tuple[str, ...] | None = None
    log_level: LogLevel | None = None
    audit_log_status: AuditLogStatus | None = None
    notifications: tuple[str, ...] | None = None
    garbage_collection_enabled: bool | None = None
    garbage_collection_schedule: str | None = None

    def applied_to(self, settings: ConnectedRegistrySettings) -> ConnectedRegistrySettings:
        """The settings with these changes."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(settings, **{k: value for k, value in given.items() if value is not None})


@dataclass(frozen=True)
class LoginServer:
    """Where devices reach a connected registry; `host` is None until it is deployed."""

    host: str | None = None
    tls: bool = False


@dataclass(frozen=True, kw_only=True)
class StatusDetail:
    """A problem that a connected registry reported."""

    code: ProblemCode
    timestamp: datetime
    correlation_id: str


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistry:
    """A connected registry as the cloud shows it.

    `status_details` is empty unless the state is `Unhealthy`. The last activity is the last sync,
    or the last report of a problem.
    """

    name: str
    sync_token_id: str
    settings: ConnectedRegistrySettings
    max_clients: int
    system_data: SystemData
    login_server: LoginServer = LoginServer()
    active: bool = False
    connection_state: ConnectionState = "Offline"
    status_details: tuple[StatusDetail, ...] = ()
    last_sync_time: datetime | None = None
    last_activity_time: datetime | None = None
