"""Taking a device's access away: by request, or because the device has gone from its hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from firstpull.amending import amend, device_not_known
from firstpull.clock import Clock
from firstpull.devices import DeviceKey
from firstpull.events import emit
from firstpull.ports import Hubs, Records, WorkQueue
from firstpull.records import DeviceRecord, Revocation, with_revocation


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
        if stored is None or not was_in_hub(stored.value):
            return False
        if await self.hubs.twin(device) is not None:
            return False
        seen = stored.value.hub_generation_id
        revoked = self._revoked(requested_by)

        def change(record: DeviceRecord) -> DeviceRecord:
            return revoked(record) if record.hub_generation_id == seen else record

        before, after = await self._write(device, change)
        return before.revocation is None and after.revocation is not None

    def _revoked(self, requested_by: str) -> Callable[[DeviceRecord], DeviceRecord]:
        now = self.clock.now()

        def change(record: DeviceRecord) -> DeviceRecord:
            revoked = record.revocation
            if revoked is None:
                return with_revocation(record, Revocation(requested_by=requested_by, at=now))
            # What comes late is held against the last one.
            return replace(record, revocation=replace(revoked, at=max(now, revoked.at)))

        return change

    async def _write(
        self, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
    ) -> tuple[DeviceRecord, DeviceRecord]:
        before, after = await amend(self.records, device, change)
        if after.generation != before.generation:
            emit(
                "device.revoke.recorded",
                hub=device.hub,
                device_id=device.device_id,
                generation=after.generation,
                requested_by=after.revocation.requested_by if after.revocation else "",
            )
        if after.due_at <= self.clock.now():
            await self.queue.put(device)
        return before, after


def was_in_hub(record: DeviceRecord) -> bool:
    """Whether the hub had the device when it was last looked at, and nobody revoked it since."""
    return record.hub_generation_id is not None and record.revocation is None
