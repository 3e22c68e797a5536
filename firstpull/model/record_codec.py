"""The stored form of a record: flat JSON, whose field names outlive those in the code.

This release reads the records of earlier releases. It refuses those of later ones, because
writing them back would lose the fields that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from firstpull.model.azure_resources import ConnectedRegistryRef, Slot
from firstpull.model.clock import StoredTime
from firstpull.model.delivery_kinds import DEFAULT_KIND, KINDS
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Applied,
    Claim,
    Condition,
    Delivery,
    DeviceRecord,
    DeviceWarning,
    Grant,
    Held,
    Intent,
    Message,
    Rejection,
    RetiringGrant,
    Revocation,
    Rotation,
    Schedule,
    Spec,
    Status,
    TokenSlot,
)
from firstpull.model.history import HistoryEntry
from firstpull.model.naming import Names

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _RetiringGrant:
    place: ConnectedRegistryRef
    names: Names
    at_once: bool
    held: Held | None = None
    delivery_kind: str = DEFAULT_KIND


@dataclass(frozen=True, kw_only=True)
class _StoredRecord:
    """Schema 1. A later version may add a field that has a default; others need a new schema."""

    device: DeviceKey
    intent: Intent
    generation: int
    condition: Condition
    due_at: StoredTime
    intent_generation: int | None = None
    observed_generation: int = 0
    applied: Applied | None = None
    superseded: tuple[tuple[int, int], ...] = ()
    revocation: Revocation | None = None
    rotation: Rotation | None = None
    messages: tuple[Message, ...] = ()
    place: ConnectedRegistryRef | None = None
    names: Names | None = None
    delivery_kind: str = DEFAULT_KIND
    adopted: bool = False
    leaving: tuple[_RetiringGrant, ...] = ()
    spent_secrets: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    slots_requested: frozenset[TokenSlot | Slot] = frozenset()
    """Earlier releases wrote slots alone, of the token in `names`."""
    delivery: Delivery | None = None
    acknowledged_at: StoredTime | None = None
    awaits_first_pull_since: StoredTime | None = None
    observed_at: StoredTime | None = None
    vault_seen_at: StoredTime | None = None
    hub_generation_id: str | None = None
    hub_device_etag: str | None = None
    attempts: int = 0
    look_again_at: StoredTime | None = None
    warnings: tuple[DeviceWarning, ...] = ()
    rejection: Rejection | None = None
    claim: Claim | None = None
    history: tuple[HistoryEntry, ...] = ()
    schema_version: int = SCHEMA_VERSION


_ADAPTER = TypeAdapter(_StoredRecord)


def to_json(record: DeviceRecord) -> str:
    """The record as stored."""
    return _ADAPTER.dump_json(_stored(record), by_alias=True).decode()


def from_json(text: str) -> DeviceRecord:
    """The record in JSON that `to_json` made. Raises ValueError for anything else."""
    stored = _ADAPTER.validate_json(text)
    if stored.schema_version > SCHEMA_VERSION:
        raise ValueError(f"the record has schema {stored.schema_version}, not {SCHEMA_VERSION}")
    if stored.generation < 1 or min(stored.observed_generation, stored.attempts) < 0:
        raise ValueError("the record has an impossible number")
    _check_kinds(stored)
    return _record(stored)


def _check_kinds(stored: _StoredRecord) -> None:
    """Raises ValueError for a delivery kind that this release does not have."""
    applied = (stored.applied.intent,) if stored.applied is not None else ()
    names = {intent.delivery for intent in (stored.intent, *applied)}
    names |= {stored.delivery_kind, *(grant.delivery_kind for grant in stored.leaving)}
    if not names <= KINDS.keys():
        raise ValueError("the record names an unknown delivery kind")


def _stored(record: DeviceRecord) -> _StoredRecord:
    spec, status, schedule = record.spec, record.status, record.schedule
    return _StoredRecord(
        device=record.device,
        intent=spec.intent,
        generation=spec.generation,
        condition=status.condition,
        due_at=schedule.due_at,
        intent_generation=spec.intent_generation,
        observed_generation=status.observed_generation,
        applied=status.applied,
        superseded=status.superseded,
        revocation=spec.revocation,
        rotation=spec.rotation,
        messages=spec.messages,
        place=status.grant.ref if status.grant is not None else None,
        names=status.grant.names if status.grant is not None else None,
        delivery_kind=status.grant.delivery if status.grant is not None else DEFAULT_KIND,
        adopted=status.adopted,
        leaving=tuple(
            _RetiringGrant(
                place=grant.ref,
                names=grant.names,
                at_once=grant.at_once,
                held=grant.held,
                delivery_kind=grant.delivery,
            )
            for grant in status.retiring
        ),
        spent_secrets=status.retired_secrets,
        keeps=status.retained_actions,
        slots_requested=status.slots_requested,
        delivery=status.delivery,
        acknowledged_at=status.acknowledged_at,
        awaits_first_pull_since=status.awaits_first_pull_since,
        observed_at=status.observed_at,
        vault_seen_at=status.vault_seen_at,
        hub_generation_id=status.hub_generation_id,
        hub_device_etag=status.hub_device_etag,
        attempts=schedule.attempts,
        look_again_at=schedule.look_again_at,
        warnings=status.warnings,
        rejection=status.rejection,
        claim=record.claim,
        history=record.history,
    )


def _record(stored: _StoredRecord) -> DeviceRecord:
    grant = None
    if stored.place is not None and stored.names is not None:
        grant = Grant(ref=stored.place, names=stored.names, delivery=stored.delivery_kind)
    token = grant.token_id if grant is not None else None
    slots = frozenset(
        TokenSlot(token=token, slot=found) if isinstance(found, Slot) and token else found
        for found in stored.slots_requested
    )
    generation, applied = stored.intent_generation, stored.applied
    if generation is None:
        generation = stored.generation
        if stored.observed_generation == generation and stored.revocation is None:
            applied = Applied(intent=stored.intent, generation=generation)
    return DeviceRecord(
        device=stored.device,
        spec=Spec(
            intent=stored.intent,
            generation=stored.generation,
            intent_generation=generation,
            revocation=stored.revocation,
            rotation=stored.rotation,
            messages=stored.messages,
        ),
        status=Status(
            condition=stored.condition,
            observed_generation=stored.observed_generation,
            applied=applied,
            superseded=stored.superseded,
            grant=grant,
            adopted=stored.adopted,
            retiring=tuple(
                RetiringGrant(
                    ref=g.place,
                    names=g.names,
                    at_once=g.at_once,
                    held=g.held,
                    delivery=g.delivery_kind,
                )
                for g in stored.leaving
            ),
            retired_secrets=stored.spent_secrets,
            retained_actions=stored.keeps,
            slots_requested=frozenset(s for s in slots if isinstance(s, TokenSlot)),
            delivery=stored.delivery,
            acknowledged_at=stored.acknowledged_at,
            awaits_first_pull_since=stored.awaits_first_pull_since,
            observed_at=stored.observed_at,
            vault_seen_at=stored.vault_seen_at,
            hub_generation_id=stored.hub_generation_id,
            hub_device_etag=stored.hub_device_etag,
            warnings=stored.warnings,
            rejection=stored.rejection,
        ),
        schedule=Schedule(
            due_at=stored.due_at, attempts=stored.attempts, look_again_at=stored.look_again_at
        ),
        claim=stored.claim,
        history=stored.history,
    )
