"""Which places the devices in flight in this process are about to reserve.

Without it, all devices of a burst would choose the last place that they see, and all but one would
begin again. A choice is a hint: the reservation in the ledger is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstpull.model.azure_resources import ConnectedRegistryRef, TokenId
from firstpull.model.clock import Clock
from firstpull.model.ledger import Ledger

_COUNTS = timedelta(seconds=10)
"""A pass that has not reserved its place by then has failed, or is about another action."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The connected registry that each device in flight has chosen, by its token."""

    clock: Clock
    _chosen: dict[TokenId, tuple[ConnectedRegistryRef, datetime]] = field(default_factory=dict)

    def others(self, ref: ConnectedRegistryRef, token_id: TokenId, *, ledger: Ledger) -> int:
        """How many other devices have chosen a connected registry and have no entry there yet."""
        now = self.clock.now()
        return sum(
            there == ref and other != token_id and other not in ledger.entries
            for other, (there, at) in self._chosen.items()
            if now - at < _COUNTS
        )

    def note(self, ref: ConnectedRegistryRef, token_id: TokenId) -> None:
        """Note a device's choice."""
        now = self.clock.now()
        for other in [t for t, (_, at) in self._chosen.items() if now - at >= _COUNTS]:
            del self._chosen[other]
        self._chosen[token_id] = ref, now

    def withdraw(self, token_id: TokenId) -> None:
        """Forget the choice of a device that reserves nothing now."""
        self._chosen.pop(token_id, None)
