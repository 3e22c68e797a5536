"""The fleet in figures, as a sweep has counted them for the gauges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from firstpull.model.clock import StoredTime
from firstpull.model.device_record import State

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class RoomFigures:
    """The clients of a connected registry."""

    container_registry: str
    connected_registry: str
    used: Count
    free: Count


@dataclass(frozen=True, kw_only=True)
class SiteFigures:
    """The clients of a site."""

    name: str
    used: Count
    free: Count


@dataclass(frozen=True, kw_only=True)
class FleetFigures:
    """What was counted `at` a time. What did not answer is missing."""

    at: StoredTime
    states: Mapping[State, Count]
    oldest_unacknowledged: StoredTime | None
    """The time of the oldest delivery that its device has not acknowledged."""
    rooms: tuple[RoomFigures, ...]
    sites: tuple[SiteFigures, ...]
