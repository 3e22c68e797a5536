"""What has to become of a device, by what was asked for and what happened in its hub."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class ExpectedState:
    """`is_wanted` is what a person said last, None where nobody has said anything."""

    is_wanted: bool | None = None
    revoked_at: datetime | None = None
    may_be_out: bool = False
    """It went missing from its hub since it was asked for."""
    may_be_in: bool = False
    """It was registered anew since its revoke, with a tag that opts in."""

    def was_asked_for(self, *, is_there: bool) -> None:
        """A request was taken."""
        self.is_wanted, self.may_be_out = True, not is_there

    def was_revoked(self, at: datetime) -> None:
        """A revoke was taken."""
        self.is_wanted, self.may_be_in, self.revoked_at = False, False, at

    def was_deleted(self) -> None:
        """The hub has it no more."""
        self.may_be_out = True

    def was_registered(self, *, tagged: bool) -> None:
        """The hub has a device of this name: another one than before."""
        self.may_be_in = self.may_be_in or tagged

    def forbids(self, asked_at: datetime | None) -> bool:
        """Whether a request of a time comes too late."""
        revoked_at = self.revoked_at
        late = asked_at is not None and revoked_at is not None and asked_at <= revoked_at
        return late and self.is_wanted is False

    def allows(self, *, is_revoked: bool) -> bool:
        """Whether a device may be so in the end."""
        if is_revoked:
            return self.is_wanted is not True or self.may_be_out
        return self.is_wanted is not False or self.may_be_in
