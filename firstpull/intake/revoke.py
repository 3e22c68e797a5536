"""Taking a device's access away: by request, or because the device has gone from its hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Revocation
from firstpull.model.ports import Hubs, Records, WorkQueue
from firstpull.model.record_update import device_not_known, update_record
from firstpull.model.transitions import with_revocation
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent


@dataclass(frozen=True, kw_only=True)
class Revoking:
    """Records that a device is to have no access, and has it worked on."""

    records: Records
    queue: WorkQueue
    hubs: Hubs
    clock: Clock

    async def revoke(self, device: DeviceKey, *, requested_by: str) -> DeviceRecord:
        """Revoke a device. Raises NotKnown.

        Asking again changes nothing but what late messages are held against.
        """
        _, record = await self._write(device, self._revoked(requested_by))
        return record

    async def propose(self, device: DeviceKey, *, requested_by: str) -> DeviceRecord:
        """The record that a revoke would leave. Writes nothing. Raises NotKnown."""
        stored = await self.records.get(device)
        if stored is None:
            raise device_not_known(device)
        return self._revoked(requested_by)(stored.value)

    async def revoke_if_gone(self, device: DeviceKey, *, requested_by: str) -> bool:
        """Revoke a device that its hub had and has no more; the hub is asked anew.

        One that the hub never had is waited for. Returns whether it was revoked now.
        """
        stored = await self.records.get(device)
        if stored is None or not stored.value.was_in_hub:
            return False
        if await self.hubs.twin(device) is not None:
            return False
        seen = stored.value.status.hub_generation_id
        revoked = self._revoked(requested_by)

        def change(record: DeviceRecord) -> DeviceRecord:
            return revoked(record) if record.status.hub_generation_id == seen else record

        before, after = await self._write(device, change)
        return before.spec.revocation is None and after.spec.revocation is not None

    def _revoked(self, requested_by: str) -> Callable[[DeviceRecord], DeviceRecord]:
        revocation = Revocation(requested_by=requested_by, at=self.clock.now())
        return lambda record: with_revocation(record, revocation)

    async def _write(
        self, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
    ) -> tuple[DeviceRecord, DeviceRecord]:
        before, after = await update_record(self.records, device, change)
        if after.spec.generation != before.spec.generation:
            emit(
                LogEvent.DEVICE_REVOKE_RECORDED,
                hub=device.hub,
                device_id=device.device_id,
                generation=after.spec.generation,
                requested_by=after.spec.revocation.requested_by if after.spec.revocation else "",
            )
        if after.schedule.due_at <= self.clock.now():
            await self.queue.put(device)
        return before, after
