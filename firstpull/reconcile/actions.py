"""The actions of a plan. An action holds everything that its execution needs, and its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMapId,
    Slot,
    TokenId,
)
from firstpull.model.delivery_kinds import Problem
from firstpull.model.last_request import Tags
from firstpull.model.naming import Names
from firstpull.model.password_slots import Credential
from firstpull.model.twin_entry import Contents


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action. `why` is for a person."""

    why: str


@dataclass(frozen=True, kw_only=True)
class ReserveRoom(Action):
    """Reserve room at a connected registry for a token."""

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int


@dataclass(frozen=True, kw_only=True)
class PutScopeMap(Action):
    """Create the shared scope map, or set its actions."""

    registry: RegistryId
    name: str
    actions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class CreateToken(Action):
    """Create the device's token."""

    registry: RegistryId
    name: str
    scope_map: ScopeMapId


@dataclass(frozen=True, kw_only=True)
class UpdateToken(Action):
    """Enable the token and set its scope map."""

    registry: RegistryId
    name: str
    scope_map: ScopeMapId


@dataclass(frozen=True, kw_only=True)
class KeepPasswords(Action):
    """Remove the token's passwords except those in these slots."""

    registry: RegistryId
    name: str
    slots: frozenset[Slot]


@dataclass(frozen=True, kw_only=True)
class GeneratePassword(Action):
    """Make a password in this slot and store it in Key Vault. `request` are more tags for it.

    `repeats` where one was made in the slot and may not have been stored: Key Vault is tried first.
    """

    registry: RegistryId
    names: Names
    slot: Slot
    expires_at: datetime
    request: Tags = ()
    repeats: bool = False


@dataclass(frozen=True, kw_only=True)
class JoinConnectedRegistry(Action):
    """Add the token to the connected registry's list of clients."""

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int


@dataclass(frozen=True, kw_only=True)
class Deliver(Action):
    """Write address, username and password where the kind `delivery` has them.

    `credential` is the password to write, None for the one that this plan makes. `replaces` are
    the names that the write clears, `found_id` is the current entry's id: a whole entry that a
    crashed attempt wrote is not written again. `twin_etag` is that of the twin to write. With
    `withheld` a person wrote the entry, and it is not written but compared.
    """

    ref: ConnectedRegistryRef
    delivery: str
    secret: str
    contents: Contents
    credential: Credential | None
    replaces: frozenset[str]
    found_id: str | None
    twin_etag: str
    withheld: Problem | None = None


@dataclass(frozen=True, kw_only=True)
class DisableSecretVersion(Action):
    """Disable a version whose password the token no longer has."""

    secret: str
    version: str


@dataclass(frozen=True, kw_only=True)
class TagSecret(Action):
    """Note the request in the tags of a version: `tags` are all that it has then.

    A `version` of None stores a disabled one without a password, which has the tags alone.
    """

    secret: str
    version: str | None
    tags: Tags


@dataclass(frozen=True, kw_only=True)
class DisableToken(Action):
    """Disable the token, so that no login succeeds with it."""

    registry: RegistryId
    name: str


@dataclass(frozen=True, kw_only=True)
class LeaveConnectedRegistry(Action):
    """Remove the token from the connected registry's list of clients, and free its room.

    `capacity` is None if the policy does not list the connected registry.
    """

    ref: ConnectedRegistryRef
    token_id: TokenId
    capacity: int | None


@dataclass(frozen=True, kw_only=True)
class RemoveFromTwin(Action):
    """Remove the entries of these connected registries, of one kind, from the twin of this ETag.

    `keys` are the kind's names for them.
    """

    connected_registries: tuple[str, ...]
    delivery: str
    keys: tuple[str, ...]
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
    | TagSecret
)
type TeardownAction = (
    DisableToken
    | KeepPasswords
    | LeaveConnectedRegistry
    | RemoveFromTwin
    | DisableSecretVersion
    | TagSecret
    | DeleteToken
)
type PlannedAction = ProvisionAction | TeardownAction


@dataclass(frozen=True)
class SideBySide[A: PlannedAction]:
    """Lanes of actions that run concurrently; each lane runs in order."""

    lanes: tuple[tuple[A, ...], ...]


def side_by_side[A: PlannedAction](
    *lanes: tuple[A, ...],
) -> tuple[A | SideBySide[A], ...]:
    """The steps of a plan for these lanes, of which some may be empty."""
    found = tuple(filter(None, lanes))
    return (SideBySide(found),) if len(found) > 1 else tuple(chain(*found))


def lanes_of[A: PlannedAction](step: A | SideBySide[A]) -> tuple[tuple[A, ...], ...]:
    """The lanes of a step of a plan: one action is a lane of its own."""
    return step.lanes if isinstance(step, SideBySide) else ((step,),)


def actions_of[A: PlannedAction](steps: Iterable[A | SideBySide[A]]) -> tuple[A, ...]:
    """All actions of a plan's steps, in order."""
    return tuple(action for step in steps for lane in lanes_of(step) for action in lane)
