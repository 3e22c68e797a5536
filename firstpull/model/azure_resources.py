"""Azure resources as values: what the ports take and return."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from firstpull.model.secret import Secret

_REGISTRY_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry"
    r"/registries/[a-zA-Z0-9-]{5,50}",
    re.IGNORECASE,
)


class ArmId:
    """The id of an Azure resource, compared without case because Azure changes the case.

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
        """A JSON string. Records of a fleet name the same few container registries: once."""
        del source, handler
        return core_schema.no_info_after_validator_function(
            lru_cache(maxsize=64)(cls),
            core_schema.str_schema(),
            serialization=core_schema.to_string_ser_schema(),
        )


class _PartId(ArmId):
    """The id of something in a container registry."""

    __slots__ = ()

    @property
    def registry(self) -> RegistryId:
        """The id of its container registry."""
        return RegistryId(str(self).rsplit("/", 2)[0])


class TokenId(_PartId):
    """The id of a token."""

    __slots__ = ()


class RegistryId(ArmId):
    """The id of a container registry."""

    __slots__ = ()

    @property
    def is_complete(self) -> bool:
        """Whether it has the form of such an id; without it nobody can be asked."""
        return _REGISTRY_ID.fullmatch(str(self)) is not None

    def token(self, name: str) -> TokenId:
        """The id of a token in this registry, whether the token exists or not."""
        return TokenId(f"{self}/tokens/{name}")

    def scope_map(self, name: str) -> ScopeMapId:
        """The id of a scope map in this registry, whether the scope map exists or not."""
        return ScopeMapId(f"{self}/scopeMaps/{name}")


class ScopeMapId(_PartId):
    """The id of a scope map."""

    __slots__ = ()


class Slot(StrEnum):
    """The two passwords of a token, by the container registry's names for them."""

    ONE = "password1"
    TWO = "password2"


def _complete(registry: RegistryId) -> RegistryId:
    # The sweep reads every container registry that a stored record names.
    if not registry.is_complete:
        raise ValueError("is not the id of a container registry")
    return registry


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ConnectedRegistryRef:
    """A connected registry by its name and its container registry, compared without case."""

    registry: Annotated[RegistryId, AfterValidator(_complete)]
    name: Annotated[str, Field(alias="connected_registry")]  # as stored

    def __str__(self) -> str:
        return f"{self.registry.name}/{self.name}"

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[RegistryId, str]:
        return self.registry, self.name.casefold()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScopeMap:
    """A scope map. `actions` are `repositories/<name>/content/read` and the like."""

    name: str
    actions: frozenset[str]
    active: bool = True
    """Whether its last change has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """A password of a token without its value, as the service shows it."""

    slot: Slot
    created_at: datetime
    expires_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether the password may still be in use; without an expiry it always may."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token of the container registry. `active` is false while Azure changes the token."""

    id: TokenId
    name: str
    scope_map_id: ScopeMapId
    enabled: bool
    active: bool
    passwords: tuple[Password, ...] = ()
    is_being_deleted: bool = False

    def with_passwords_in(self, slots: Collection[Slot]) -> Token:
        """This token with only the passwords in these slots."""
        return replace(self, passwords=tuple(p for p in self.passwords if p.slot in slots))

    def password(self, slot: Slot) -> Password | None:
        """The password in a slot, None for an empty slot."""
        return next((p for p in self.passwords if p.slot is slot), None)

    def last_to_end(self, now: datetime) -> Password | None:
        """The live password that expires last; one without an expiry comes after all others."""
        for_ever = datetime.max.replace(tzinfo=now.tzinfo)
        live = (password for password in self.passwords if password.is_live(now))
        return max(live, key=lambda p: p.expires_at or for_ever, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPassword:
    """A password with its value, which the service shows only when it makes the password."""

    slot: Slot
    created_at: datetime
    expires_at: datetime | None
    value: Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectedRegistry:
    """A connected registry.

    `login_server` is as the service has it: not always a host, and not always the site's.
    """

    name: str
    client_token_ids: tuple[TokenId, ...]
    sync_token_id: TokenId | None
    """None where it syncs by a managed identity; nothing then tells what it syncs."""
    login_server: str | None
    last_sync_at: datetime | None
    connection_state: str | None = None
    """`Online`, `Offline`, `Syncing` or `Unhealthy`, as the service reports it."""

    def lists(self, token_id: TokenId) -> bool:
        """Whether the list of clients has this token."""
        return token_id in self.client_token_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretVersion:
    """One version of a secret, without its value."""

    version: str
    enabled: bool
    expires_at: datetime | None
    updated_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSecret:
    """A secret as a listing shows it, with the attributes of its latest version."""

    name: str
    enabled: bool
    updated_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubIdentity:
    """A hub's identity of a device. Another generationId means another device."""

    generation_id: str | None
    etag: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """A device's or a module's twin. `device_etag` changes with the identity, `etag` with the twin.

    `is_edge` says whether the device is an IoT Edge device. `configurations` are the automatic
    deployments and configurations that have the twin as their target. `modules` are the twins of
    the device's modules that were read, None where there is no such module.
    """

    etag: str
    device_etag: str
    enabled: bool
    desired: Mapping[str, Any]
    reported: Mapping[str, Any]
    tags: Mapping[str, Any] = field(default_factory=dict)
    is_edge: bool = False
    configurations: tuple[str, ...] = ()
    modules: Mapping[str, Twin | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedDevice:
    """A device as a hub query returns it. Queries lag behind, so it may be out of date.

    A device's twin comes without its stamps (`$metadata`), a module's with them.
    """

    device_id: str
    twin: Twin
