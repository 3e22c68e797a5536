"""What the last sweep found, and what the next one has to remember of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AliasChoices, Field, TypeAdapter

from firstpull.model.azure_resources import ScopeMapId
from firstpull.model.device_key import DeviceKey


class Kind(StrEnum):
    """A kind of thing that may be there without a record."""

    TOKEN = "token"  # noqa: S105 - a kind of thing, not a password
    SECRET = "secret"  # noqa: S105 - a kind of thing, not a password
    TWIN_ENTRY = "twin entry"


@dataclass(frozen=True, kw_only=True, order=True)
class Orphan:
    """Something of this deployment that no record names. It is reported, and not touched."""

    kind: Kind
    name: str
    where: str


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """One sweep.

    `held` are devices that are gone from their hub and were not revoked, because they are too
    many at once. `approved` are those that a person has let go since: the next sweep revokes
    them. `unread` says what could not be read, and was therefore not checked.
    """

    id: str
    started_at: datetime
    finished_at: datetime
    devices: int
    drifted: Mapping[str, int] = field(default_factory=dict)
    """By what was found, in words: how many devices were sent to be looked at."""
    onboarded: int = 0
    revoked: int = 0
    held: tuple[DeviceKey, ...] = ()
    approved: tuple[DeviceKey, ...] = ()
    orphans: Annotated[
        tuple[Orphan, ...], Field(validation_alias=AliasChoices("orphans", "unexplained"))
    ] = ()
    ledger_entries_removed: int = 0
    scope_maps_removed: int = 0
    scope_maps_unreferenced: Mapping[ScopeMapId, datetime] = field(default_factory=dict)
    """By ARM id: since when nothing refers to a scope map of this deployment."""
    unread: tuple[str, ...] = ()
    complete_at: datetime | None = None
    """When the last sweep ended that could read everything: this one, or one before it."""


_ADAPTER = TypeAdapter(SweepReport)


def to_json(report: SweepReport) -> bytes:
    """The report as text, for storage."""
    return _ADAPTER.dump_json(report)


def from_json(text: bytes) -> SweepReport:
    """The report in a text that `to_json` made. Raises ValueError for anything else."""
    return _ADAPTER.validate_json(text)
