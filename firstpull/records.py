"""The record of a device: what is wanted, what was made for it, and how far it is.

A record is written before anything exists in Azure, and everything that exists is named by
one. Its fields serialise by pydantic; it holds no password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter

from firstpull.cloud import Place, RegistryId, Slot
from firstpull.devices import DeviceKey
from firstpull.history import HistoryEntry, entry, extended
from firstpull.naming import Names
from firstpull.reasons import Reason
from firstpull.repositories import MOST_SCOPE_ACTIONS, scope_actions

SCHEMA_VERSION = 1
_MOST_SUPERSEDED = 50
"""Runs of generations: who asks for an older one is told that it was done."""


class State(StrEnum):
    """Where a device is on its way."""

    PENDING = "Pending"  # the intent is recorded
    CONVERGING = "Converging"  # a worker is at it, or it will be tried again
    WAITING = "Waiting"  # for something that comes by itself
    BLOCKED = "Blocked"  # for a person
    DELIVERED = "Delivered"  # the twin holds the credentials
    READY = "Ready"  # the device has logged in
    REVOKING = "Revoking"  # its access is being taken away
    REVOKED = "Revoked"  # nothing of it is left; the record is its tombstone


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What is wanted. `candidates` are the places it may be put, in order of preference.

    `site` is the site they came from, where one was asked for: its places are looked up again
    while the device has none. `adopt` is an existing token to take over.
    """

    target: str
    candidates: tuple[Place, ...]
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    requested_by: str
    at: datetime
    site: str | None = None
    adopt: str | None = None

    def asks_the_same(self, other: Intent) -> bool:
        """Whether both want the same thing, whoever asked and whenever."""
        return self == replace(other, requested_by=self.requested_by, at=self.at)

    @property
    def scope_actions(self) -> frozenset[str]:
        """The actions of the scope map that this intent needs."""
        return scope_actions(self.repositories, self.actions)


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """That the device is to have no access any more."""

    requested_by: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """That a password is to be replaced: the one in the secret version `replaces`.

    `replaces` is None where the password was not made here. `immediately`: the old one ends at
    once, whoever uses it.
    """

    replaces: str | None
    immediately: bool
    requested_by: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A token as client of a connected registry, and what belongs to it."""

    place: Place
    names: Names


@dataclass(frozen=True, kw_only=True)
class Leaving(Holding):
    """What a device is to lose: `at_once`, or when it has logged in with what replaces it."""

    at_once: bool


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What is in the twin. `id` is a digest of all that was delivered."""

    id: str
    slot: Slot
    secret_version: str
    address: str
    expires_at: datetime
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How far a device is, and why. `remedy` says what a person can do, where one has to."""

    state: State
    reason: Reason
    message: str
    since: datetime
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that somebody should know of, though the device is as it should be."""

    reason: Reason
    message: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A message about a device that could not be taken; it is kept in a poison queue."""

    reason: Reason
    message: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a device. No write of `owner` is under way after `until`."""

    owner: str
    until: datetime


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """One device. `due_at` is when it wants to be looked at next: it is the schedule."""

    device: DeviceKey
    intent: Intent
    generation: int
    condition: Condition
    due_at: datetime
    observed_generation: int = 0
    superseded: tuple[tuple[int, int], ...] = ()
    """Generations, from the first to the last, that a later one replaced before they were true."""
    revocation: Revocation | None = None
    """Set for good by a revoke; a later request for the device begins anew."""
    rotation: Rotation | None = None
    """What was asked for and is not delivered yet."""
    place: Place | None = None
    names: Names | None = None
    adopted: bool = False
    """Whether the token's passwords are somebody else's, and left alone."""
    leaving: tuple[Leaving, ...] = ()
    spent_secrets: frozenset[str] = frozenset()
    """Secrets of before, with no version enabled: a vault keeps the names of what it deletes."""
    keeps: frozenset[str] = frozenset()
    """Scope actions of before, which the device keeps until it has logged in anew."""
    slots_requested: frozenset[Slot] = frozenset()
    """Slots in which a password was asked for and not delivered: its value may be lost."""
    delivery: Delivery | None = None
    acknowledged_at: datetime | None = None
    awaits_first_pull_since: datetime | None = None
    """When it was first asked for, until it has logged in; None where it could pull before."""
    observed_at: datetime | None = None
    """When everything was last looked at and found in order, or put in order."""
    vault_seen_at: datetime | None = None
    """By the vault's clock: the latest change of a disabled version that a look has seen."""
    hub_generation_id: str | None = None
    hub_device_etag: str | None = None
    attempts: int = 0
    warnings: tuple[Warned, ...] = ()
    rejection: Rejection | None = None
    claim: Claim | None = None
    history: tuple[HistoryEntry, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def is_converged(self) -> bool:
        """Whether this generation is what is true: delivered, or revoked."""
        return self.observed_generation == self.generation and self.condition.state in (
            State.DELIVERED,
            State.READY,
            State.REVOKED,
        )

    def is_superseded(self, generation: int) -> bool:
        """Whether a later generation came before this one was true."""
        if generation > self.observed_generation:
            return generation < self.generation
        return any(first <= generation <= last for first, last in self.superseded)

    @property
    def is_tombstone(self) -> bool:
        """Whether the device was revoked and nothing of it is left."""
        return self.revocation is not None and self.is_converged

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """Everything that the record names: what the device has, and what it is to lose."""
        if self.place is None or self.names is None:
            return self.leaving
        return (Holding(place=self.place, names=self.names), *self.leaving)

    def scope_actions_at(self, registry: RegistryId) -> frozenset[str]:
        """What the token of a container registry is to allow now.

        What the device keeps from before counts where its token is the one of before.
        """
        wanted = self.intent.scope_actions
        same_token = not self.leaving or any(h.place.registry == registry for h in self.leaving)
        both = wanted | self.keeps
        return both if same_token and len(both) <= MOST_SCOPE_ACTIONS else wanted


def new_record(device: DeviceKey, intent: Intent) -> DeviceRecord:
    """The first record of a device: generation 1, due at once."""
    return DeviceRecord(
        device=device,
        intent=intent,
        generation=1,
        condition=accepted(intent.at),
        due_at=intent.at,
        awaits_first_pull_since=_first_asked_at(intent),
        history=(_recorded(intent),),
    )


def with_intent(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    """The record after a request that wants something else: a new generation, due at once.

    What the device has elsewhere it keeps until it has logged in at its new place; after a
    revoke it begins anew, and what the revoke has not taken yet goes first.
    """
    if record.revocation is not None:
        base = replace(_begun_anew(record), awaits_first_pull_since=_first_asked_at(intent))
    elif record.place is not None and record.place not in intent.candidates:
        base = _moving(record, intent)
    else:
        base = record
    if base.names is None and intent.adopt != record.intent.adopt:
        base = replace(base, slots_requested=frozenset())  # they were another token's
    return replace(
        base,
        intent=intent,
        generation=record.generation + 1,
        condition=accepted(intent.at),
        due_at=intent.at,
        attempts=0,
        keeps=frozenset() if record.revocation or record.adopted else _kept(record),
        history=extended(record.history, [_recorded(intent)]),
    )


def with_revocation(record: DeviceRecord, revocation: Revocation) -> DeviceRecord:
    """The record after a revoke: a new generation, due at once. Nothing of it is undone."""
    return replace(
        record,
        revocation=revocation,
        rotation=None,
        generation=record.generation + 1,
        condition=Condition(
            state=State.REVOKING,
            reason=Reason.REVOKING,
            message="Recorded; the access is taken away now.",
            since=revocation.at,
        ),
        due_at=revocation.at,
        attempts=0,
        history=extended(
            record.history,
            [entry("device.revoke.recorded", at=revocation.at, by=revocation.requested_by)],
        ),
    )


def with_rotation(record: DeviceRecord, rotation: Rotation) -> DeviceRecord:
    """The record after somebody asked for another password: a new generation, due at once."""
    how = "immediately" if rotation.immediately else ""
    return replace(
        record,
        rotation=rotation,
        generation=record.generation + 1,
        condition=accepted(rotation.at),
        due_at=rotation.at,
        attempts=0,
        history=extended(
            record.history,
            [
                entry(
                    "device.rotation.recorded",
                    at=rotation.at,
                    by=rotation.requested_by,
                    detail=how,
                )
            ],
        ),
    )


def tokens_left_in(record: DeviceRecord, registry: RegistryId) -> frozenset[str]:
    """The tokens of a container registry that a device leaves; elsewhere the names are others'."""
    return frozenset(h.names.token for h in record.leaving if h.place.registry == registry)


def made_true(record: DeviceRecord, generation: int) -> DeviceRecord:
    """The record when a generation is true; those before it that never were are superseded."""
    first, last = record.observed_generation + 1, generation - 1
    skipped = ((first, last),) if first <= last else ()
    return replace(
        record,
        observed_generation=generation,
        superseded=(*record.superseded, *skipped)[-_MOST_SUPERSEDED:],
    )


def without(record: DeviceRecord, gone: Collection[Holding]) -> DeviceRecord:
    """The record after nothing is left of these but their secrets, which nobody can read."""
    left = {(holding.place, holding.names) for holding in gone}
    secrets = {holding.names.secret for holding in gone}
    return replace(
        record,
        leaving=tuple(h for h in record.leaving if (h.place, h.names) not in left),
        spent_secrets=record.spent_secrets | secrets,
    )


def accepted(at: datetime) -> Condition:
    """The condition of an intent that nobody has worked on."""
    return Condition(
        state=State.PENDING, reason=Reason.ACCEPTED, message="Recorded; work begins.", since=at
    )


def _begun_anew(record: DeviceRecord) -> DeviceRecord:
    if record.is_tombstone:
        base = without(record, record.holdings)
    else:
        everything = tuple(_losing(holding, at_once=True) for holding in record.holdings)
        base = replace(record, leaving=everything)
    return replace(
        _without_holding(base),
        revocation=None,
        slots_requested=frozenset(),
        hub_generation_id=None,
        hub_device_etag=None,
    )


def _moving(record: DeviceRecord, intent: Intent) -> DeviceRecord:
    here, *before = record.holdings
    old = _losing(here, at_once=False)
    # The two slots are the token's, which the device keeps within a container registry.
    same_token = {place.registry for place in intent.candidates} == {here.place.registry}
    return replace(
        _without_holding(record),
        adopted=record.adopted and same_token and intent.adopt == here.names.token,
        leaving=(*(_losing(h, at_once=_is_at_once(h)) for h in before), old),
        slots_requested=record.slots_requested if same_token else frozenset(),
    )


def _without_holding(record: DeviceRecord) -> DeviceRecord:
    return replace(
        record,
        place=None,
        names=None,
        adopted=False,
        rotation=None,
        delivery=None,
        acknowledged_at=None,
        observed_at=None,
    )


def _kept(record: DeviceRecord) -> frozenset[str]:
    """What the device has logged in for, or may have: it keeps it until it has logged in anew.

    More than a scope map holds it cannot keep.
    """
    kept = record.keeps
    if record.delivery is not None:
        kept |= record.intent.scope_actions
    return kept if len(kept) <= MOST_SCOPE_ACTIONS else frozenset()


def _losing(holding: Holding, *, at_once: bool) -> Leaving:
    return Leaving(place=holding.place, names=holding.names, at_once=at_once)


def _is_at_once(holding: Holding) -> bool:
    return isinstance(holding, Leaving) and holding.at_once


def _first_asked_at(intent: Intent) -> datetime | None:
    """Who brings a token could pull before."""
    return intent.at if intent.adopt is None else None


def _recorded(intent: Intent) -> HistoryEntry:
    return entry(
        "device.intent.recorded", at=intent.at, by=intent.requested_by, detail=intent.target
    )


_ADAPTER = TypeAdapter(DeviceRecord)


def to_json(record: DeviceRecord) -> str:
    """The record as text, for storage."""
    return _ADAPTER.dump_json(record, exclude_defaults=False).decode()


def from_json(text: str) -> DeviceRecord:
    """The record in a text that `to_json` made. Raises ValueError for anything else.

    What a later version wrote is something else: to write it back would lose what this one does
    not know.
    """
    record = _ADAPTER.validate_json(text)
    if record.schema_version > SCHEMA_VERSION:
        raise ValueError(f"the record has schema {record.schema_version}, not {SCHEMA_VERSION}")
    return record


def spelled_as(text: str, registries: Iterable[RegistryId]) -> str:
    """The text of a record with the ARM ids of container registries as the settings spell them.

    ARM ids compare case-insensitively, and az, Bicep and the portal spell them differently. Here
    they are brought to one spelling, so that they may be compared as text everywhere else.
    """
    for registry in registries:
        pattern = re.compile(f'(?<="registry":"){re.escape(registry)}(?=")', re.IGNORECASE)
        text = pattern.sub(registry, text)  # an ARM id has no backslash
    return text
