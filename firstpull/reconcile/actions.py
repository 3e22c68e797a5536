"""The steps of a plan. A step holds all that is needed to carry it out, and why it is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMapId,
    Slot,
    TokenId,
)
from firstpull.model.naming import Names
from firstpull.model.password_slots import Credential
from firstpull.model.twin_entry import Contents


@dataclass(frozen=True, kw_only=True)
class Action:
    """One step. `why` is for a person."""

    why: str


@dataclass(frozen=True, kw_only=True)
class ReserveRoom(Action):
    """Hold room at a connected registry for a token."""

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int


@dataclass(frozen=True, kw_only=True)
class PutScopeMap(Action):
    """Make the shared scope map of these actions."""

    registry: RegistryId
    name: str
    actions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class CreateToken(Action):
    """Make the device's token."""

    registry: RegistryId
    name: str
    scope_map: ScopeMapId


@dataclass(frozen=True, kw_only=True)
class UpdateToken(Action):
    """Enable the token and point it at the scope map."""

    registry: RegistryId
    name: str
    scope_map: ScopeMapId


@dataclass(frozen=True, kw_only=True)
class KeepPasswords(Action):
    """Remove the token's passwords but those in these slots."""

    registry: RegistryId
    name: str
    slots: frozenset[Slot]


@dataclass(frozen=True, kw_only=True)
class GeneratePassword(Action):
    """Make a password in this slot and store it in Key Vault."""

    registry: RegistryId
    names: Names
    slot: Slot
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class JoinConnectedRegistry(Action):
    """Bring the token into the connected registry's list of clients."""

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int


@dataclass(frozen=True, kw_only=True)
class Deliver(Action):
    """Write address, username and password into the twin of this ETag.

    `credential` is the password to write, None for the one that this plan has made. `replaces`
    are the fields of the entry there now; `found_id` is its deliveryId: an entry that a crashed
    attempt wrote whole is not written again.
    """

    ref: ConnectedRegistryRef
    secret: str
    contents: Contents
    credential: Credential | None
    replaces: frozenset[str]
    found_id: str | None
    twin_etag: str


@dataclass(frozen=True, kw_only=True)
class DisableSecretVersion(Action):
    """Disable a version whose password is no longer the token's."""

    secret: str
    version: str


@dataclass(frozen=True, kw_only=True)
class DisableToken(Action):
    """Let nobody in with the token."""

    registry: RegistryId
    name: str


@dataclass(frozen=True, kw_only=True)
class LeaveConnectedRegistry(Action):
    """Take the token out of the connected registry's list of clients, and free its room.

    `capacity` is None where the policy does not list the connected registry.
    """

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int | None


@dataclass(frozen=True, kw_only=True)
class RemoveFromTwin(Action):
    """Remove the entries of these connected registries from the twin of this ETag."""

    connected_registries: tuple[str, ...]
    twin_etag: str


@dataclass(frozen=True, kw_only=True)
class DeleteToken(Action):
    """Delete the token."""

    registry: RegistryId
    name: str


type PasswordAction = KeepPasswords | GeneratePassword
type ProvisionAction = (
    ReserveRoom
    | PutScopeMap
    | CreateToken
    | UpdateToken
    | PasswordAction
    | JoinConnectedRegistry
    | Deliver
    | DisableSecretVersion
)
type TeardownAction = (
    DisableToken | LeaveConnectedRegistry | RemoveFromTwin | DisableSecretVersion | DeleteToken
)
type PlannedAction = ProvisionAction | TeardownAction


@dataclass(frozen=True)
class SideBySide:
    """Lanes of actions that do not need each other; each lane keeps its order."""

    lanes: tuple[tuple[ProvisionAction, ...], ...]
