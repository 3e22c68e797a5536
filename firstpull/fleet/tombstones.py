"""Tombstones that nothing needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from firstpull.fleet.inventory import Inventory
from firstpull.model.device_record import DeviceRecord
from firstpull.model.schedule import NEVER


def expired_tombstones(inventory: Inventory, *, before: datetime) -> Iterator[DeviceRecord]:
    """The tombstones of devices that were revoked before a time and that their hub does not list.

    A tombstone keeps a late message and the tag of a device that stayed in its hub from restoring
    access. It is also kept while a pass is due: a connected registry may still accept the device.
    """
    for record in inventory.records:
        is_settled = record.is_tombstone and record.schedule.due_at == NEVER
        hub_was_read = record.device.hub in inventory.twins
        revoked_at = record.status.condition.since
        is_listed = inventory.twin(record.device) is not None
        if is_settled and hub_was_read and not is_listed and revoked_at < before:
            yield record
