"""The states that a device may end in, by what was asked for and what happened in its hub."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class ExpectedState:
    """`is_wanted`: whether the last request onboards or revokes; None before the first."""

    is_wanted: bool | None = None
    revoked_at: datetime | None = None
    may_be_out: bool = False
    """It was missing in its hub since the last request, so that a sweep may revoke it."""
    may_be_in: bool = False
    """It was registered again since its revoke, with a tag that opts in."""

    def was_asked_for(self, *, is_there: bool) -> None:
        """A request was accepted."""
        self.is_wanted, self.may_be_out = True, not is_there

    def was_revoked(self, at: datetime) -> None:
        """A revoke was accepted."""
        self.is_wanted, self.may_be_in, self.revoked_at = False, False, at

    def was_deleted(self) -> None:
        """The hub has deleted it."""
        self.may_be_out = True

    def was_registered(self, *, tagged: bool) -> None:
        """The hub has another device of this id."""
        self.may_be_in = self.may_be_in or tagged

    def forbids(self, asked_at: datetime | None) -> bool:
        """Whether a request made at this time is older than the revoke."""
        revoked_at = self.revoked_at
        late = asked_at is not None and revoked_at is not None and asked_at <= revoked_at
        return late and self.is_wanted is False

    def allows(self, *, is_revoked: bool) -> bool:
        """Whether a device may end revoked, or not revoked."""
        if is_revoked:
            return self.is_wanted is not True or self.may_be_out
        return self.is_wanted is not False or self.may_be_in
