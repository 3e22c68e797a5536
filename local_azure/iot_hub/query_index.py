"""The index for queries, which may lag behind the twins and still find deleted devices.

In Azure it usually lags by seconds, and by up to 30 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from local_azure.iot_hub.identities import Identity, Module
from local_azure.iot_hub.twins import Twin
from local_azure.kernel.clock import Clock


@dataclass(frozen=True)
class IndexedDevice:
    """The state of a device, or of a module of it, and of the twin at one time."""

    identity: Identity
    twin: Twin
    module: Module | None = None

    @property
    def created(self) -> int:
        """The unique and increasing time of creation."""
        return int((self.module or self.identity).generation_id)


@dataclass(frozen=True)
class _Change:
    visible_at: datetime
    device: IndexedDevice | None  # None: deleted


class QueryIndex:
    """The latest change of each device that queries see, and the later ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lag = timedelta()
        self._changes: dict[str, list[_Change]] = {}

    @property
    def lag(self) -> timedelta:
        """The time until queries see a change."""
        return self._lag

    @lag.setter
    def lag(self, lag: timedelta) -> None:
        """Set it for later changes. Raises ValueError for a negative lag."""
        if lag < timedelta():
            raise ValueError("a lag is not negative")
        self._lag = lag

    def note(self, device_id: str, device: IndexedDevice | None) -> None:
        """Record the new state of a device; None is a deletion."""
        changes = self._changes.setdefault(device_id, [])
        changes.append(_Change(self._clock.now() + self._lag, device))
        self._drop_superseded(device_id)

    def devices(self) -> list[IndexedDevice]:
        """The devices that queries see now, the oldest first."""
        for device_id in list(self._changes):
            self._drop_superseded(device_id)
        now = self._clock.now()
        first = (changes[0] for changes in self._changes.values())
        seen = (c.device for c in first if c.device is not None and c.visible_at <= now)
        return sorted(seen, key=lambda device: device.created)

    def _drop_superseded(self, device_id: str) -> None:
        """Keep the latest visible change, unless it is a deletion, and all later ones."""
        changes = self._changes[device_id]
        now = self._clock.now()
        visible = [place for place, change in enumerate(changes) if change.visible_at <= now]
        if visible:
            del changes[: visible[-1]]
            if changes[0].device is None:
                del changes[0]
        if not changes:
            del self._changes[device_id]
