"""The values a registry is made of. Nothing here changes; an update makes a new value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Literal

from local_azure.container_registry.passwords import Password, PasswordName
from local_azure.container_registry.rules import CONTINUOUS

TokenStatus = Literal["enabled", "disabled"]
Mode = Literal["ReadOnly", "ReadWrite"]
ConnectionState = Literal["Online", "Offline", "Unhealthy"]
ProblemCode = Literal["DISK_ERROR", "DISK_PERMISSION_DENIED", "DISK_STORAGE_FULL"]
LogLevel = Literal["Debug", "Information", "Warning", "Error", "None"]
AuditLogStatus = Literal["Enabled", "Disabled"]


@dataclass(frozen=True)
class SystemData:
    """Who wrote a resource and when. An update rewrites `createdAt` too, as the provider does."""

    by: str
    at: datetime


@dataclass(frozen=True)
class Provisioning:
    """The states that a resource or an operation passes through, each with its beginning."""

    stages: tuple[tuple[datetime, str], ...]

    @classmethod
    def creating(cls, *, since: datetime, until: datetime) -> Provisioning:
        """`Creating`, then `Succeeded`."""
        return cls(((since, "Creating"), (until, "Succeeded")))

    def state(self, now: datetime) -> str:
        """The state of this moment."""
        begun = [state for since, state in self.stages if since <= now]
        return begun[-1] if begun else self.stages[0][1]

    def has_succeeded(self, now: datetime) -> bool:
        """Whether the last state of a good end is reached."""
        return self.state(now) == "Succeeded"


@dataclass(frozen=True, kw_only=True)
class ScopeMap:
    """Repositories and what may be done there. The provider's own are `SystemDefined`."""

    name: str
    actions: tuple[str, ...]
    description: str | None
    creation_date: datetime
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
        # Every password is looked at, so that the time taken tells nothing.
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
    """What can be updated of a connected registry. Defaults are azure-cli's."""

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
    """An update: None keeps what is there. Client tokens are replaced as a whole list."""

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
        """The settings with what is given here in place of what was there."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(settings, **{k: value for k, value in given.items() if value is not None})


@dataclass(frozen=True)
class LoginServer:
    """Where devices reach a connected registry; `host` is None until it is deployed."""

    host: str | None = None
    tls: bool = False


@dataclass(frozen=True, kw_only=True)
class StatusDetail:
    """What keeps a connected registry from working, as it reported it itself."""

    code: ProblemCode
    timestamp: datetime
    correlation_id: str


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistry:
    """A registry at a site, as the cloud knows it.

    `status_details` hold something only while it is `Unhealthy`. The last activity is the last
    time that its deployment was heard of, be it to sync or to report what keeps it from that.
    """

    name: str
    mode: Mode
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
