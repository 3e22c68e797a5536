"""What Azure holds, as values: what the ports hand out and take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from firstpull.model.secret import Secret


class ArmId:
    """The id of an Azure resource. Two spellings are equal: Azure changes the case of ids.

    `str()` gives the id as it was read, `name` its last part.
    """

    __slots__ = ("_folded", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded = text.casefold()

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self._text.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return self._folded == other._folded if isinstance(other, ArmId) else NotImplemented

    def __lt__(self, other: ArmId) -> bool:
        return self._folded < other._folded

    def __hash__(self) -> int:
        return hash(self._folded)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """A JSON string."""
        del source, handler
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


class TokenId(ArmId):
    """The id of a token."""


class RegistryId(ArmId):
    """The id of a container registry."""

    def token(self, name: str) -> TokenId:
        """The id of one of its tokens, existing or not."""
        return TokenId(f"{self}/tokens/{name}")

    def scope_map(self, name: str) -> ScopeMapId:
        """The id of one of its scope maps, existing or not."""
        return ScopeMapId(f"{self}/scopeMaps/{name}")


class ScopeMapId(ArmId):
    """The id of a scope map."""

    @property
    def registry(self) -> RegistryId:
        """The id of its container registry."""
        return RegistryId(str(self).rsplit("/", 2)[0])


class Slot(StrEnum):
    """A token's two passwords, by the names that the container registry gives them."""

    ONE = "password1"
    TWO = "password2"


@dataclass(frozen=True, kw_only=True)
class ConnectedRegistryRef:
    """Which connected registry: its own name, below its container registry."""

    registry: RegistryId
    name: Annotated[str, Field(alias="connected_registry")]  # as stored

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"


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
    scope_map_id: ScopeMapId
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
    sync_token_id: TokenId | None
    login_server: str | None
    last_sync_at: datetime | None
    connection_state: str | None = None
    """`Online`, `Offline`, `Syncing` or `Unhealthy`, as the service says it."""

    def lists(self, token_id: TokenId) -> bool:
        """Whether this token is among the clients."""
        return token_id in self.client_token_ids


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
class HubIdentity:
    """Which identity a hub has for a device: another generationId is another device."""

    generation_id: str | None
    etag: str | None


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
