"""Changes a record that other writers change too: read, change, conditional write, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, NotKnown, Transient
from firstpull.model.ports import Records
from firstpull.model.reasons import Reason

ATTEMPTS = 8
"""Conditional writes of a record before giving up; each failure is another writer's success."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

type Chance = Callable[[], float]
"""A random number from 0 to 1."""


async def retried[T](write: Callable[[], Awaitable[T]], *, clock: Clock, chance: Chance) -> T:
    """What a conditional write returns, tried again after a Conflict and a random pause.

    Raises Transient if others keep changing what it writes.
    """
    for refused in range(ATTEMPTS):
        if refused:
            await clock.sleep(chance() * min(_FIRST_PAUSE * 2**refused, _LONGEST_PAUSE))
        with suppress(Conflict):
            return await write()
    raise _changing_too_often()


@dataclass(frozen=True, kw_only=True)
class RecordUpdates:
    """Changes records: of each device one at a time in this process, so only others conflict."""

    records: Records
    clock: Clock
    chance: Chance
    _writing: WeakValueDictionary[DeviceKey, asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    async def update(
        self, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
    ) -> tuple[DeviceRecord, DeviceRecord]:
        """The record before and after a change. A change without effect is not written.

        Raises NotKnown if there is no record, Transient if others keep changing it, and what the
        change raises.
        """

        async def write() -> tuple[DeviceRecord, DeviceRecord]:
            stored = await self.records.get(device)
            if stored is None:
                raise device_not_known(device)
            changed = change(stored.value)
            if changed == stored.value:
                return stored.value, stored.value
            written = await self.records.replace(changed, etag=stored.etag)
            return stored.value, written.value

        return await self.retry(device, write)

    async def retry[T](self, device: DeviceKey, write: Callable[[], Awaitable[T]]) -> T:
        """`retried`, while nothing else here changes the device. The write may not call this."""
        async with self._writing.setdefault(device, asyncio.Lock()):
            return await retried(write, clock=self.clock, chance=self.chance)


def device_not_known(device: DeviceKey) -> NotKnown:
    """The error for a device without a record."""
    return NotKnown(
        f"No request has named device {device.device_id} on {device.hub}.",
        reason=Reason.DEVICE_NOT_KNOWN,
    )


def _changing_too_often() -> Transient:
    """The error after all attempts to write a record."""
    return Transient(
        Reason.CHANGED_MEANWHILE,
        "Other requests are changing this device; ask again.",
        retry_after=1,
    )
