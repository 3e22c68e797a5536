"""The report of the last sweep, which the next sweep continues from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import AliasChoices, Field, TypeAdapter

from firstpull.model.azure_resources import ScopeMapId
from firstpull.model.clock import StoredTime
from firstpull.model.device_key import DeviceKey
from firstpull.model.fleet_figures import FleetFigures
from firstpull.model.fleet_history import StateCounts

Count = Annotated[int, Field(ge=0)]


class Kind(StrEnum):
    """The kind of an orphan."""

    TOKEN = "token"  # noqa: S105 - a kind of thing, not a password
    SECRET = "secret"  # noqa: S105 - a kind of thing, not a password
    TWIN_ENTRY = "twin entry"


@dataclass(frozen=True, kw_only=True, order=True)
class Orphan:
    """Something of this deployment that no record names. The sweep reports it only."""

    kind: Kind
    name: str
    where: str


class Step(StrEnum):
    """A step of a sweep, in their order."""

    DRIFT = "drift"
    OPT_IN = "opt in"
    GONE = "gone"
    LEDGERS = "ledgers"
    TOMBSTONES = "tombstones"
    SCOPE_MAPS = "scope maps"


@dataclass(frozen=True, kw_only=True)
class SweepPosition:
    """Where a sweep stopped: in this step, after this device or connected registry."""

    step: Step
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """One sweep.

    `held` are devices that are gone from their hub but too many to revoke without approval.
    `approved` are held devices whose revoke a person approved; the next sweep revokes them.
    `unread` are the sources that the sweep could not read and therefore did not check.
    `continues` is where the next sweep goes on, if the time of this one was over.
    """

    id: str
    started_at: StoredTime
    finished_at: StoredTime
    devices: Count
    drifted: Mapping[str, Count] = field(default_factory=dict)
    """How many devices the sweep requeued, by the difference that it found."""
    onboarded: Count = 0
    revoked: Count = 0
    held: tuple[DeviceKey, ...] = ()
    approved: tuple[DeviceKey, ...] = ()
    orphans: Annotated[
        tuple[Orphan, ...], Field(validation_alias=AliasChoices("orphans", "unexplained"))
    ] = ()
    ledger_entries_removed: Count = 0
    scope_maps_removed: Count = 0
    scope_maps_unreferenced: Mapping[ScopeMapId, StoredTime] = field(default_factory=dict)
    """Since when nothing refers to a scope map of this deployment, by its ARM id."""
    unread: tuple[str, ...] = ()
    continues: SweepPosition | None = None
    complete_at: StoredTime | None = None
    """When the last sweep that could read everything ended: this sweep, or an earlier one."""
    figures: FleetFigures | None = None
    """What the gauges show until the next sweep."""
    history: tuple[StateCounts, ...] = ()
    """What this sweep and those before it have counted, the oldest first."""


_ADAPTER = TypeAdapter(SweepReport)


def to_json(report: SweepReport) -> bytes:
    """The report as stored JSON."""
    return _ADAPTER.dump_json(report)


def from_json(text: bytes) -> SweepReport | None:
    """The report in JSON that `to_json` made, None for anything else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValueError:
        return None
