"""Rotates a device's password by request, before its renewal is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Rotation
from firstpull.model.errors import Refused
from firstpull.model.ports import Records, WorkQueue
from firstpull.model.reasons import MEANING, Reason
from firstpull.model.record_update import RecordUpdates, device_not_known
from firstpull.model.transitions import with_rotation
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent


@dataclass(frozen=True, kw_only=True)
class Rotating:
    """Records rotations and enqueues the devices."""

    records: Records
    updates: RecordUpdates
    queue: WorkQueue
    clock: Clock

    async def rotate(
        self, device: DeviceKey, *, immediately: bool, requested_by: str
    ) -> DeviceRecord:
        """Record that the current password must be replaced; a repeated request changes nothing.

        With `immediately` the old password ends at once; else it ends when the device has logged
        in with the new one. Raises NotKnown, and Refused before a delivery is recorded or after
        a revoke.
        """
        change = self._rotated(immediately=immediately, requested_by=requested_by)
        before, after = await self.updates.update(device, change)
        if after.spec.generation != before.spec.generation:
            emit(
                LogEvent.DEVICE_ROTATION_RECORDED,
                hub=device.hub,
                device_id=device.device_id,
                generation=after.spec.generation,
                requested_by=requested_by,
                immediately=immediately,
            )
        if after.schedule.due_at <= self.clock.now():
            await self.queue.put(device)
        return after

    async def propose(
        self, device: DeviceKey, *, immediately: bool, requested_by: str
    ) -> DeviceRecord:
        """The record that `rotate` would write. Writes nothing; raises what `rotate` raises."""
        stored = await self.records.get(device)
        if stored is None:
            raise device_not_known(device)
        return self._rotated(immediately=immediately, requested_by=requested_by)(stored.value)

    def _rotated(
        self, *, immediately: bool, requested_by: str
    ) -> Callable[[DeviceRecord], DeviceRecord]:
        now = self.clock.now()

        def change(record: DeviceRecord) -> DeviceRecord:
            if record.spec.revocation is not None:
                raise Refused(MEANING[Reason.DEVICE_REVOKED], reason=Reason.DEVICE_REVOKED)
            is_adopted = record.status.adopted
            if record.held_grant is not None:
                _, held = record.held_grant
                is_adopted = is_adopted or held.adopted
            if record.delivery is None and not is_adopted:
                raise Refused(
                    f"{MEANING[Reason.NOTHING_TO_ROTATE]} Ask again once the device is Delivered.",
                    reason=Reason.NOTHING_TO_ROTATE,
                )
            under_way, delivery = record.spec.rotation, record.delivery
            if under_way is not None and under_way.immediately >= immediately:
                return record
            rotation = Rotation(
                replaces=delivery.secret_version if delivery is not None else None,
                immediately=immediately,
                requested_by=requested_by,
                at=now,
            )
            return with_rotation(record, rotation)

        return change
