"""Runs every check over what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from firstpull.fleet.doctor import access, app, guards, registries
from firstpull.fleet.doctor.findings import Finding, NotChecked, Severity
from firstpull.fleet.doctor.reader import DoctorReader
from firstpull.fleet.doctor.readings import Readings

Check = Callable[[Readings], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    access.check_actions,
    access.check_access,
    guards.check_locks,
    guards.check_policies,
    guards.check_vault,
    guards.check_hubs,
    registries.check_registries,
    registries.check_connected_registries,
    registries.check_room,
    app.check_host,
    app.check_records,
    app.check_queues,
    app.check_sweep,
)
_SITES = NotChecked(
    subject="sites",
    why="The app cannot reach into sites, so address, TLS and certificates of the connected "
    "registries are not tried: `firstpull-agent` on a device does that.",
)
_SEVERE_FIRST = list(Severity)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong, errors first, and what could not be looked at."""

    at: datetime
    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Looks for what is wrong."""

    reader: DoctorReader

    async def diagnosis(self) -> Diagnosis:
        """Everything found now."""
        return diagnose(await self.reader.read())


def diagnose(read: Readings) -> Diagnosis:
    """The findings of every check. The same ones for the same readings."""
    found = [finding for check in CHECKS for finding in check(read)]
    found.sort(key=lambda finding: _SEVERE_FIRST.index(finding.name.severity))
    return Diagnosis(
        at=read.at,
        findings=tuple(found),
        not_checked=(*access.not_checked(read), _SITES),
    )
