"""Changes a record that other writers change too: read, change, conditional write, retry."""

from __future__ import annotations

from collections.abc import Callable

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, NotKnown, Transient
from firstpull.model.ports import Records
from firstpull.model.reasons import Reason

ATTEMPTS = 8
"""Conditional writes of a record before giving up; each failure is another writer's success."""


async def update_record(
    records: Records, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
) -> tuple[DeviceRecord, DeviceRecord]:
    """The record before and after a change. A change without effect is not written.

    Raises NotKnown if there is no record, Transient if others keep changing it, and what the
    change raises.
    """
    for _ in range(ATTEMPTS):
        stored = await records.get(device)
        if stored is None:
            raise device_not_known(device)
        changed = change(stored.value)
        if changed == stored.value:
            return stored.value, stored.value
        try:
            written = await records.replace(changed, etag=stored.etag)
        except Conflict:
            continue
        return stored.value, written.value
    raise changing_too_often()


def device_not_known(device: DeviceKey) -> NotKnown:
    """The error for a device without a record."""
    return NotKnown(
        f"No request has named device {device.device_id} on {device.hub}.",
        reason=Reason.DEVICE_NOT_KNOWN,
    )


def changing_too_often() -> Transient:
    """The error after all attempts to write a record."""
    return Transient(
        Reason.CHANGED_MEANWHILE,
        "Other requests are changing this device; ask again.",
        retry_after=1,
    )
