"""Changing a record that others change too: read, change, write where nobody wrote meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Conflict, NotKnown, Transient
from firstpull.model.ports import Records
from firstpull.model.reasons import Reason

ATTEMPTS = 8
"""To write a record while others write it: each failure means another one's success."""


async def update_record(
    records: Records, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
) -> tuple[DeviceRecord, DeviceRecord]:
    """The record before and after a change; a change that changes nothing is not written.

    Raises NotKnown where there is no record, and what the change raises.
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
    """No request has named the device."""
    return NotKnown(
        f"No request has named device {device.device_id} on {device.hub}.",
        reason=Reason.DEVICE_NOT_KNOWN,
    )


def changing_too_often() -> Transient:
    """Whoever asked had better ask again."""
    return Transient(
        Reason.CHANGED_MEANWHILE, "Others are changing this device; ask again.", retry_after=1
    )
