"""The kind `twin`: the device twin has the entry, and the agent on the device reports its login."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds.kind import Problem, Wanted
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import (
    MOST_DESIRED_BYTES,
    Acknowledgement,
    Contents,
    DeliveredEntry,
    entries_in,
    read_acknowledgement,
    read_entry,
    removal_patch,
    section_of,
)

_PLACE = "twin"


@dataclass(frozen=True)
class TwinKind:
    """Entries below `firstpull.registryCredentials` of the device twin's desired properties.

    `name` tells apart the consumers that read them: the format is the same for all.
    """

    name: str = "twin"
    place: str = _PLACE
    module: str | None = None
    options: frozenset[str] = frozenset()
    seals: bool = True
    last_share: float = 0.25

    def may_be_at(self, twin: Twin) -> bool:
        """Every device has a twin."""
        del twin
        return True

    def entry(self, twin: Twin, connected_registry: str) -> DeliveredEntry | None:
        """The entry of a connected registry."""
        return read_entry(twin.desired, connected_registry)

    def entries(self, twin: Twin) -> dict[str, DeliveredEntry]:
        """The readable entries."""
        return entries_in(twin.desired)

    def keys(self, twin: Twin, connected_registry: str) -> tuple[str, ...]:
        """The connected registry, where it has a section."""
        return (connected_registry,) if section_of(twin.desired, connected_registry) else ()

    def problem(self, twin: Twin, wanted: Wanted) -> Problem | None:
        """The entry is another deployment's, or the twin cannot hold it."""
        return self._not_ours(twin, wanted) or self._full(twin, wanted)

    def withheld(
        self, twin: Twin, wanted: Wanted, *, secret: str, expires_at: datetime | None
    ) -> Problem | None:
        """Nobody else writes a device twin's entry."""
        del twin, wanted, secret, expires_at
        return None

    def if_silent(self, twin: Twin) -> str | None:
        """The IoT Edge runtime does not read the device twin."""
        if not twin.is_edge:
            return None
        return (
            "It is an IoT Edge device, whose runtime does not read the device twin: ask with "
            "`delivery: edgeAgent`, or install the agent."
        )

    def fields(self, contents: Contents, expires_at: datetime) -> Mapping[str, Any]:
        """All fields but the password and its deliveryId."""
        return contents.without_password(expires_at)

    def delivery_id(self, contents: Contents, password: Secret, *, expires_at: datetime) -> str:
        """The digest of the entry."""
        return contents.delivery_id(password, expires_at=expires_at)

    def patch(
        self,
        contents: Contents,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        """The entry, with the fields of the earlier one cleared."""
        return contents.patch(
            connected_registry, password, expires_at=expires_at, replaces=replaces
        )

    def replaced(self, twin: Twin, connected_registry: str) -> frozenset[str]:
        """The fields of the earlier entry, of which a sealed one has others."""
        return frozenset(section_of(twin.desired, connected_registry))

    def removal(self, keys: Collection[str]) -> dict[str, Any]:
        """The entries of these connected registries are removed."""
        return removal_patch(keys)

    def acknowledgement(
        self, twin: Twin, connected_registry: str, *, synced_at: datetime | None
    ) -> Acknowledgement | None:
        """The agent's report."""
        del synced_at
        return read_acknowledgement(twin.reported, connected_registry)

    def frees_old_slot(self, options: Collection[str]) -> bool:
        """The agent has logged in with the new password, so that nothing uses the old one."""
        del options
        return True

    def _not_ours(self, twin: Twin, wanted: Wanted) -> Problem | None:
        """The entry is for a token of the device, so no other deployment wrote it."""
        entry = self.entry(twin, wanted.ref.name)
        if entry is None or any(entry.is_for(token) for token in wanted.tokens):
            return None
        if not entry.intact and wanted.delivered_until is not None:
            return None  # another writer edited this deployment's entry
        return Problem(
            reason=Reason.TWIN_ENTRY_NOT_OURS,
            message=f"The twin has an entry for {wanted.ref} that another deployment wrote.",
            remedy="Revoke the device there, or remove the entry from the twin's desired "
            "properties.",
        )

    def _full(self, twin: Twin, wanted: Wanted) -> Problem | None:
        """The twin can hold the entry: it is known before anything is made."""
        if not wanted.delivers_now:
            return None
        too_many = wanted.contents.bytes_too_many(twin.desired, wanted.ref.name)
        return twin_full(too_many) if too_many else None


def twin_full(too_many: int) -> Problem:
    """The problem of a twin that is so many bytes too small for the credentials."""
    return Problem(
        reason=Reason.TWIN_FULL,
        message=f"The credentials are {too_many} bytes too many for the twin's "
        f"{MOST_DESIRED_BYTES // 1024} KB of desired properties.",
        remedy="Make room in the twin, ask for fewer repositories or by `…/*`, or shorten `ca`.",
    )
