"""What firstpull sees in the cloud: values that the ports hand out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from firstpull.secret import Secret

RegistryId = NewType("RegistryId", str)
"""ARM id of a container registry, as the settings spell it. ARM ids compare case-insensitively."""

TokenId = NewType("TokenId", str)
"""ARM id of a token."""


def same_id(one: str, other: str) -> bool:
    """Whether two ARM ids name the same resource: ARM may change their case."""
    return one.casefold() == other.casefold()


def name_of(resource_id: str) -> str:
    """The resource's own name: the last part of its ARM id."""
    return resource_id.rsplit("/", 1)[-1]


class Slot(StrEnum):
    """A token's two passwords, by the names that the container registry gives them."""

    ONE = "password1"
    TWO = "password2"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A connected registry: its own name, below its container registry."""

    registry: RegistryId
    connected_registry: str

    def __str__(self) -> str:
        return f"{name_of(self.registry)}/{self.connected_registry}"


@dataclass(frozen=True, kw_only=True)
class ScopeMap:
    """`actions` are `repositories/<name>/content/read` and the like."""

    name: str
    actions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Password:
    """What can be seen of a password once it is made: never its value."""

    slot: Slot
    created_at: datetime
    expires_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it may still be in use. One without an expiry always may."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of the container registry. `active` is false while it is being made."""

    id: TokenId
    name: str
    scope_map_id: str
    enabled: bool
    active: bool
    passwords: tuple[Password, ...] = ()

    def with_passwords_in(self, slots: Collection[Slot]) -> Token:
        """This token with no other passwords than those in these slots."""
        return replace(self, passwords=tuple(p for p in self.passwords if p.slot in slots))

    def password(self, slot: Slot) -> Password | None:
        """The password in a slot: by name, for the service lists only those that exist."""
        return next((p for p in self.passwords if p.slot is slot), None)

    def last_to_end(self, now: datetime) -> Password | None:
        """Of the passwords that may be in use, the one that ends last, or never."""
        for_ever = datetime.max.replace(tzinfo=now.tzinfo)
        live = (password for password in self.passwords if password.is_live(now))
        return max(live, key=lambda p: p.expires_at or for_ever, default=None)


@dataclass(frozen=True, kw_only=True)
class NewPassword:
    """A password at the only moment its value is known."""

    slot: Slot
    created_at: datetime
    expires_at: datetime | None
    value: Secret


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistry:
    """`login_server` is `host[:port]` as devices reach it, None where the service knows none."""

    name: str
    client_token_ids: tuple[TokenId, ...]
    sync_token_id: str | None
    login_server: str | None
    last_sync_at: datetime | None
    connection_state: str | None = None
    """`Online`, `Offline`, `Syncing` or `Unhealthy`, as the service says it."""

    def lists(self, token_id: TokenId) -> bool:
        """Whether this token is among the clients."""
        return any(same_id(token_id, listed) for listed in self.client_token_ids)


@dataclass(frozen=True, kw_only=True)
class SecretVersion:
    """One version of a secret, without its value."""

    version: str
    enabled: bool
    expires_at: datetime | None
    updated_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoredSecret:
    """A secret as a listing shows it: the attributes of its latest version."""

    name: str
    enabled: bool
    updated_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A device's twin. `device_etag` moves when the identity changes, `etag` when the twin does."""

    etag: str
    device_etag: str
    enabled: bool
    desired: Mapping[str, Any]
    reported: Mapping[str, Any]
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ListedDevice:
    """A device as a query of the hub shows it. Queries lag behind: a hint, not a fact."""

    device_id: str
    twin: Twin
