"""How many devices the API revoked lately, and how many more a person approved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from firstpull.model.clock import StoredTime

WINDOW = timedelta(hours=1)
"""The time that a limit of revokes counts, and that an approval lasts."""


@dataclass(frozen=True, kw_only=True)
class RevokeApproval:
    """So many more devices may be revoked, until then."""

    revokes: int
    until: StoredTime
    approved_by: str


@dataclass(frozen=True, kw_only=True)
class RevokeCount:
    """When the API revoked devices within the limit, and the last approval."""

    revoked_at: tuple[StoredTime, ...] = ()
    approval: RevokeApproval | None = None

    def at(self, now: datetime) -> RevokeCount:
        """What of it still counts."""
        approval = self.approval
        return RevokeCount(
            revoked_at=tuple(at for at in self.revoked_at if at > now - WINDOW),
            approval=approval if approval is not None and approval.until > now else None,
        )

    def room(self, *, most: int) -> int:
        """How many more devices may be revoked. Counts all that is in it."""
        approved = self.approval.revokes if self.approval is not None else 0
        return max(0, most - len(self.revoked_at)) + approved

    def with_revoke(self, at: datetime, *, most: int) -> RevokeCount:
        """The count after a revoke, for which there has to be room."""
        if len(self.revoked_at) < most or self.approval is None:
            return replace(self, revoked_at=(*self.revoked_at, at))
        left = self.approval.revokes - 1
        return replace(self, approval=replace(self.approval, revokes=left) if left else None)


_ADAPTER = TypeAdapter(RevokeCount)


def to_json(count: RevokeCount) -> bytes:
    """The count as stored JSON."""
    return _ADAPTER.dump_json(count)


def from_json(text: bytes) -> RevokeCount:
    """The count in JSON that `to_json` made; an empty one for anything else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValueError:
        return RevokeCount()
