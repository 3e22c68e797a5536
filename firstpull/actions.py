"""The steps that a plan is made of. Every one says why it is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstpull.cloud import Place, RegistryId, Slot
from firstpull.credentials import Credential
from firstpull.naming import Names


@dataclass(frozen=True, kw_only=True)
class Action:
    """One step. `why` is for a person."""

    why: str


@dataclass(frozen=True, kw_only=True)
class TakePlace(Action):
    """Hold room at a connected registry and record place and names."""

    place: Place
    names: Names


@dataclass(frozen=True, kw_only=True)
class PutScopeMap(Action):
    """Make the shared scope map of these actions."""

    name: str
    actions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class CreateToken(Action):
    """Make the device's token."""

    name: str
    scope_map: str


@dataclass(frozen=True, kw_only=True)
class UpdateToken(Action):
    """Enable the token and point it at the scope map."""

    name: str
    scope_map: str


@dataclass(frozen=True, kw_only=True)
class KeepPasswords(Action):
    """Take the token's passwords but those in these slots."""

    name: str
    slots: frozenset[Slot]


@dataclass(frozen=True, kw_only=True)
class GeneratePassword(Action):
    """Have a password made in this slot and store it in Key Vault."""

    slot: Slot
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class JoinConnectedRegistry(Action):
    """Bring the token into the connected registry's list of clients."""

    place: Place


@dataclass(frozen=True, kw_only=True)
class Deliver(Action):
    """Write address, username and password into the twin.

    `credential` is the password to write, None for the one that this plan has made.
    `replaces` are the fields that stand in the twin and may have to go, `found_id` the
    deliveryId there: an entry that a crashed attempt wrote whole is not written again.
    """

    place: Place
    address: str
    credential: Credential | None
    replaces: frozenset[str]
    found_id: str | None


@dataclass(frozen=True, kw_only=True)
class DisableSecretVersion(Action):
    """Disable a version whose password is no longer the token's."""

    secret: str
    version: str


@dataclass(frozen=True, kw_only=True)
class DisableToken(Action):
    """Have the token let nobody in any more."""

    registry: RegistryId
    name: str


@dataclass(frozen=True, kw_only=True)
class LeaveConnectedRegistry(Action):
    """Take the token out of the connected registry's list of clients, and free its room."""

    place: Place
    token: str


@dataclass(frozen=True, kw_only=True)
class WithdrawFromTwin(Action):
    """Take the credentials of these connected registries out of the twin."""

    connected_registries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeleteToken(Action):
    """Delete the token."""

    registry: RegistryId
    name: str
