"""What queries see: the twins as they were a while ago.

On Azure queries are answered from an index that follows the twins within seconds as a rule, and
up to 30 minutes late. Devices that were deleted may still be found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from local_azure.iot_hub.identities import Identity
from local_azure.iot_hub.twins import Twin
from local_azure.kernel.clock import Clock


@dataclass(frozen=True)
class IndexedDevice:
    """A device with its twin, as they were together at one time."""

    identity: Identity
    twin: Twin

    @property
    def created(self) -> int:
        """Its place in the order in which devices were created, this device's own for ever."""
        return int(self.identity.generation_id)


@dataclass(frozen=True)
class _Change:
    visible_at: datetime
    device: IndexedDevice | None  # None: it was deleted


class QueryIndex:
    """The changes of every device that are not yet seen, and the latest that is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lag = timedelta()
        self._changes: dict[str, list[_Change]] = {}

    @property
    def lag(self) -> timedelta:
        """How long a change takes until queries see it."""
        return self._lag

    @lag.setter
    def lag(self, lag: timedelta) -> None:
        """For the changes from now on. Raises ValueError for one below zero."""
        if lag < timedelta():
            raise ValueError("an index does not run ahead")
        self._lag = lag

    def note(self, device_id: str, device: IndexedDevice | None) -> None:
        """Take in what a device became; None is deleted."""
        changes = self._changes.setdefault(device_id, [])
        changes.append(_Change(self._clock.now() + self._lag, device))
        self._forget_what_is_past(device_id)

    def devices(self) -> list[IndexedDevice]:
        """What queries see now, oldest first."""
        for device_id in list(self._changes):
            self._forget_what_is_past(device_id)
        now = self._clock.now()
        first = (changes[0] for changes in self._changes.values())
        seen = (c.device for c in first if c.device is not None and c.visible_at <= now)
        return sorted(seen, key=lambda device: device.created)

    def _forget_what_is_past(self, device_id: str) -> None:
        """Leave the latest visible change, unless it is a deletion, and all that follow."""
        changes = self._changes[device_id]
        now = self._clock.now()
        visible = [place for place, change in enumerate(changes) if change.visible_at <= now]
        if visible:
            del changes[: visible[-1]]
            if changes[0].device is None:
                del changes[0]
        if not changes:
            del self._changes[device_id]
