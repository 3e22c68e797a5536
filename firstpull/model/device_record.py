"""The record of a device: what callers asked for, what firstpull did, and its next pass.

firstpull writes a record before it makes anything in Azure, and a record names everything that
firstpull made. It holds no password.

Who clears a field, and why; all others are only replaced:

revocation            the next onboarding request: it starts over
rotation              the pass that delivers another password; a revoke, a start from nothing and
                      a reset, because they end all passwords. A move keeps it
applied               a revoke's end, a start from nothing, a reset: nobody has that intent
grant                 a move and a start from nothing: it retires; a full registry, if it is unused
adopted               the login with a delivered password; a move to another token; a reset
retiring              the teardown of each; a grant that the device returns to
held                  the delivery at the new grant; a reset; a revoke
retained_actions      the login with the new repositories; a revoke, a reset, a start from nothing
slots_requested       the delivery from that slot, or a login with the newest password; the token's
                      teardown; a revoke, a reset
delivery,             a move, also to another kind (then `held` has them), a revoke's end, a reset
acknowledged_at       the same, and each delivery
awaits_first_pull_since  the first login
observed_at           drift and a move: a whole pass is due
hub identity          a start from nothing; a reset replaces it
warnings              the pass or sweep that finds them no longer
claim                 its pass; an expired one is replaced by the next
messages              the next message, where their time alone refuses them by then
rejection, retired_secrets, superseded  nobody: they are history
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, Slot, TokenId
from firstpull.model.clock import StoredTime
from firstpull.model.delivery_kinds import DEFAULT_KIND, DeliveryKind, kind_named, same_place
from firstpull.model.device_key import DeviceKey
from firstpull.model.history import HistoryEntry
from firstpull.model.naming import Names
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import DEFAULT_ACTION, MOST_SCOPE_ACTIONS, scope_actions
from firstpull.model.sealing import SealingKey

_NAMED = 5
"""Repositories that a summary names."""


class State(StrEnum):
    """How far a device is."""

    PENDING = "Pending"  # the intent is recorded
    CONVERGING = "Converging"  # a worker reconciles it, or will try again
    WAITING = "Waiting"  # for something that needs no person
    BLOCKED = "Blocked"  # until a person acts
    DELIVERED = "Delivered"  # the twin holds the credential
    READY = "Ready"  # the device has logged in
    REVOKING = "Revoking"  # a teardown of its grants is under way
    REVOKED = "Revoked"  # nothing is left but the record, a tombstone


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """What a caller asked for. `candidates` are the possible connected registries, best first.

    `site` is set where the caller named a site: while the device has no grant, the candidates
    are read from the policy again. `adopt` is an existing token to take over. With `implicit` no
    caller asked: the device appeared, registered, or has a tag. `delivery` is a delivery kind, and
    `delivery_options` are options of that.
    """

    target: str
    candidates: tuple[ConnectedRegistryRef, ...]
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    requested_by: str
    at: StoredTime
    site: str | None = None
    adopt: str | None = None
    implicit: bool = False
    delivery: str = DEFAULT_KIND
    delivery_options: tuple[str, ...] = ()
    sealing_key: SealingKey | None = None
    """The device's public key, to which its password is sealed; of a caller's request only."""

    def asks_the_same(self, other: Intent) -> bool:
        """Whether both ask for the same, regardless of requester, time and the case of names."""
        if (self.site or "").casefold() != (other.site or "").casefold():
            return False
        alike = replace(other, requested_by=self.requested_by, implicit=self.implicit, at=self.at)
        return self == replace(alike, target=self.target, site=self.site)

    @property
    def summary(self) -> str:
        """What was asked for, in a line: target, first repositories, other actions, token, key."""
        named, more = self.repositories[:_NAMED], len(self.repositories) - _NAMED
        repositories = f"{', '.join(named)}{f' and {more} more' if more > 0 else ''}"
        others = "" if self.actions == (DEFAULT_ACTION,) else f" ({', '.join(self.actions)})"
        adopted = f", adopting {self.adopt}" if self.adopt is not None else ""
        key = self.sealing_key
        sealed = f", sealed to {key.thumbprint[:12]}" if key is not None else ""
        return f"{self.target}: {repositories}{others}{adopted}{sealed}"

    @property
    def scope_actions(self) -> frozenset[str]:
        """The actions of the scope map that this intent needs."""
        return scope_actions(self.repositories, self.actions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """An intent that was carried out, and the generation in which it was requested."""

    intent: Intent
    generation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Revocation:
    """A request to take the device's access away.

    `gone` is the generationId of the identity that it is about, which may have left its hub.
    Without it, the revoke is about the identity that the hub has.
    """

    requested_by: str
    at: StoredTime
    gone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """A request to replace the password in the secret version `replaces`.

    `replaces` is None where firstpull did not make the password. With `immediately`, the old
    password ends at once, even if a device uses it.
    """

    replaces: str | None
    immediately: bool
    requested_by: str
    at: StoredTime
    generation: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A token as a client of one connected registry, with the secret that keeps its password.

    `delivery` is the kind of its delivery.
    """

    ref: ConnectedRegistryRef
    names: Names
    delivery: str = DEFAULT_KIND

    @property
    def token_id(self) -> TokenId:
        """The token's id, whether the token exists or not."""
        return self.ref.registry.token(self.names.token)

    def shares_token_with(self, other: Grant) -> bool:
        """Whether both use one token of one container registry."""
        return self.token_id == other.token_id

    def is_delivered_with(self, other: Grant) -> bool:
        """Whether both have the same entry of the same twin."""
        return self.ref == other.ref and same_place(self.delivery, other.delivery)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSlot:
    """One of the two password slots of a token."""

    token: TokenId
    slot: Slot


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """The twin's entry. `id` is a digest of the whole entry."""

    id: str
    slot: Slot
    secret_version: str
    address: str
    expires_at: StoredTime
    at: StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a device uses of a retiring grant while its new grant has no delivery yet."""

    delivery: Delivery | None
    acknowledged_at: StoredTime | None
    adopted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RetiringGrant(Grant):
    """A grant to tear down: `at_once`, or when the device has logged in with its new grant."""

    at_once: bool
    held: Held | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """How far a device is, and why. `remedy` says what a person can do where one must act."""

    state: State
    reason: Reason
    message: str
    since: StoredTime
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceWarning:
    """Something that a person should know about a device that works."""

    reason: Reason
    message: str
    since: StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A refused message about the device; the message is in a poison queue."""

    reason: Reason
    message: str
    at: StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A worker's right to write to a device. No write of `owner` is under way after `until`."""

    owner: str
    until: StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message with a request: a digest of its id, and the time that its sender stamped."""

    digest: str
    at: StoredTime


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What callers asked for. Each change of it is a new generation."""

    intent: Intent
    generation: int
    intent_generation: int = 0
    """The generation of the intent, or of the revocation where there is one."""
    revocation: Revocation | None = None
    rotation: Rotation | None = None
    messages: tuple[Message, ...] = ()
    """The messages that were taken and whose time alone does not show a repetition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What firstpull observed and did."""

    condition: Condition
    observed_generation: int = 0
    """Every generation up to this one is done or superseded."""
    superseded: tuple[tuple[int, int], ...] = ()
    """Runs of generations, first and last, that a later one replaced before they were done."""
    applied: Applied | None = None
    """The intent that the device has, also while another one is blocked."""
    grant: Grant | None = None
    """Named before any of it exists."""
    adopted: bool = False
    """Whether firstpull did not make the token's passwords, and does not touch them."""
    retiring: tuple[RetiringGrant, ...] = ()
    retired_secrets: frozenset[str] = frozenset()
    """Secrets without an enabled version, of torn-down grants or with a note of a revoke."""
    retained_actions: frozenset[str] = frozenset()
    """Scope actions of earlier intents; the device keeps them until its next login."""
    slots_requested: frozenset[TokenSlot] = frozenset()
    """Slots with a password that was made and not delivered: its value may be lost."""
    delivery: Delivery | None = None
    acknowledged_at: StoredTime | None = None
    awaits_first_pull_since: StoredTime | None = None
    """Time of the first request, until the device logs in; None where it could pull already."""
    observed_at: StoredTime | None = None
    """When a whole pass last found everything in order or made it so."""
    vault_seen_at: StoredTime | None = None
    """By the vault's clock: the latest change of a disabled version that a pass has seen."""
    hub_generation_id: str | None = None
    hub_device_etag: str | None = None
    warnings: tuple[DeviceWarning, ...] = ()
    rejection: Rejection | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When the device is reconciled next, and how many passes have failed since one succeeded."""

    due_at: StoredTime
    attempts: int = 0
    look_again_at: StoredTime | None = None
    """When another pass is due, whatever the passes before it find."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceRecord:
    """One device."""

    device: DeviceKey
    spec: Spec
    status: Status
    schedule: Schedule
    claim: Claim | None = None
    history: tuple[HistoryEntry, ...] = ()

    @property
    def is_converged(self) -> bool:
        """Whether this generation is done: delivered, or revoked."""
        return self.status.observed_generation == self.spec.generation and (
            self.status.condition.state in (State.DELIVERED, State.READY, State.REVOKED)
        )

    @property
    def has_nothing(self) -> bool:
        """Whether the record names nothing of the device, which may have something all the same."""
        status = self.status
        return self.spec.revocation is None and not self.grants and status.applied is None

    @property
    def requested_at(self) -> datetime:
        """The time of the latest request that the record knows of."""
        revocation, asked_at = self.spec.revocation, self.spec.intent.at
        return asked_at if revocation is None else max(asked_at, revocation.at)

    @property
    def pending(self) -> frozenset[int]:
        """The generations that are neither done nor superseded."""
        spec, status = self.spec, self.status
        done = status.applied.generation if status.applied is not None else 0
        if spec.revocation is not None:
            done = status.observed_generation
        asked = {spec.intent_generation} if done < spec.intent_generation else set[int]()
        return frozenset(asked | ({spec.rotation.generation} if spec.rotation else set()))

    def has_finished(self, generation: int) -> bool:
        """Whether the device has what this generation asked for, or nothing after a revoke."""
        condition = self.status.condition
        is_there = condition.state in (State.DELIVERED, State.READY, State.REVOKED)
        return generation not in self.pending and (
            is_there or condition.reason is Reason.AWAITING_DEVICE
        )

    @property
    def was_asked_for_since(self) -> bool:
        """Whether a request came since the last one was carried out, also the same again."""
        applied = self.status.applied
        return applied is None or applied.intent != self.spec.intent

    def is_superseded(self, generation: int) -> bool:
        """Whether a later generation came before this one was done."""
        return any(first <= generation <= last for first, last in self.status.superseded)

    @property
    def is_tombstone(self) -> bool:
        """Whether the device was revoked and nothing of it is left."""
        return self.spec.revocation is not None and self.is_converged

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Every grant that the record names: the device's own first, then the retiring ones."""
        own = (self.status.grant,) if self.status.grant is not None else ()
        return (*own, *self.status.retiring)

    @property
    def delivery_kind(self) -> DeliveryKind:
        """How the device's grant is delivered, or will be."""
        grant = self.status.grant
        return kind_named(grant.delivery if grant is not None else self.spec.intent.delivery)

    @property
    def held_grant(self) -> tuple[RetiringGrant, Held] | None:
        """The retiring grant that the device uses until its new grant has a delivery."""
        return next(((g, g.held) for g in self.status.retiring if g.held is not None), None)

    @property
    def delivery(self) -> Delivery | None:
        """The delivery that the device uses, also while it moves."""
        if self.status.delivery is None and self.held_grant is not None:
            _, held = self.held_grant
            return held.delivery
        return self.status.delivery

    def requested_slots(self, token: TokenId) -> frozenset[Slot]:
        """The slots of a token with a password that was made and not delivered."""
        return frozenset(s.slot for s in self.status.slots_requested if s.token == token)

    @property
    def token_to_adopt(self) -> str | None:
        """The token that the next claim takes over, with its passwords."""
        return self.spec.intent.adopt if self.status.grant is None else None

    @property
    def urgent_grants(self) -> tuple[Grant, ...]:
        """The grants to tear down before anything else: all of them after a revoke."""
        if self.spec.revocation is not None:
            return self.grants
        return tuple(grant for grant in self.status.retiring if grant.at_once)

    @property
    def needs_teardown(self) -> bool:
        """Whether the next pass only tears grants down."""
        return self.spec.revocation is not None or bool(self.urgent_grants)

    @property
    def was_in_hub(self) -> bool:
        """Whether the last pass found the device in its hub, and no request revoked it since."""
        return self.status.hub_generation_id is not None and self.spec.revocation is None

    def scope_actions_at(self, registry: RegistryId) -> frozenset[str]:
        """The scope actions that the device's token in a container registry must allow.

        Retained actions apply only while the device uses the same token.
        """
        wanted, retiring = self.spec.intent.scope_actions, self.status.retiring
        same_token = not retiring or any(grant.ref.registry == registry for grant in retiring)
        both = wanted | self.status.retained_actions
        return both if same_token and len(both) <= MOST_SCOPE_ACTIONS else wanted

    def retiring_tokens_in(self, registry: RegistryId) -> frozenset[str]:
        """The tokens of the retiring grants in a container registry."""
        retiring = self.status.retiring
        return frozenset(g.names.token for g in retiring if g.ref.registry == registry)
