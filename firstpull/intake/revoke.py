"""Revokes a device: by request, or because its hub no longer has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from firstpull.intake.revoke_limit import RevokeLimit
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Revocation
from firstpull.model.errors import Conflict, NotKnown
from firstpull.model.ports import Hubs, Records, WorkQueue
from firstpull.model.record_update import RecordUpdates, device_not_known
from firstpull.model.transitions import unknown_device, with_revocation
from firstpull.observability.log import emit
from firstpull.observability.log_events import LogEvent


@dataclass(frozen=True, kw_only=True)
class Revoking:
    """Records revocations and enqueues the devices."""

    records: Records
    updates: RecordUpdates
    queue: WorkQueue
    hubs: Hubs
    clock: Clock
    has_remains: Callable[[DeviceKey], Awaitable[bool]]
    """Whether anything exists under the names of a device that has no record."""
    limit: RevokeLimit
    """How many devices a caller may revoke. What events and the sweep revoke does not count."""

    async def revoke_within_limit(self, device: DeviceKey, *, requested_by: str) -> DeviceRecord:
        """`revoke`, counted unless the device is revoked already. Raises Refused at the limit."""
        stored = await self.records.get(device)
        if stored is None:
            unknown = await self._of_unknown(device, requested_by)
            await self.limit.take()
            return await self._revoke_unknown(unknown, requested_by)
        if stored.value.spec.revocation is None:
            await self.limit.take()
        return await self.revoke(device, requested_by=requested_by)

    async def propose_within_limit(self, device: DeviceKey, *, requested_by: str) -> DeviceRecord:
        """The record that `revoke_within_limit` would write. Writes nothing; raises the same."""
        proposed, counts = await self.propose(device, requested_by=requested_by)
        if counts:
            await self.limit.check()
        return proposed

    async def propose(self, device: DeviceKey, *, requested_by: str) -> tuple[DeviceRecord, bool]:
        """The record that `revoke` would write, and whether the limit counts it. Writes nothing."""
        stored = await self.records.get(device)
        if stored is None:
            return await self._of_unknown(device, requested_by), True
        proposed = self._revoked(requested_by)(stored.value)
        return proposed, stored.value.spec.revocation is None

    async def revoke(self, device: DeviceKey, *, requested_by: str) -> DeviceRecord:
        """Record that a device is revoked. Raises NotKnown.

        A second revoke only updates the time with which late messages are compared. A device whose
        record is lost gets one where anything of it exists.
        """
        try:
            _, record = await self._write(device, self._revoked(requested_by))
        except NotKnown:
            unknown = await self._of_unknown(device, requested_by)
            return await self._revoke_unknown(unknown, requested_by)
        return record

    async def _revoke_unknown(self, unknown: DeviceRecord, requested_by: str) -> DeviceRecord:
        with suppress(Conflict):  # another request has made the record meanwhile
            await self.records.insert(unknown)
        _, record = await self._write(unknown.device, self._revoked(requested_by))
        return record

    async def _of_unknown(self, device: DeviceKey, requested_by: str) -> DeviceRecord:
        if not await self.has_remains(device):
            raise device_not_known(device)
        return unknown_device(device, Revocation(requested_by=requested_by, at=self.clock.now()))

    async def revoke_if_gone(self, device: DeviceKey, *, requested_by: str) -> bool:
        """Revoke a device that its hub no longer has; returns whether this call revoked it.

        Reads the hub again. A device that its hub never had is not revoked: it may still come.
        """
        stored = await self.records.get(device)
        if stored is None or not stored.value.was_in_hub:
            return False
        if await self.hubs.twin(device) is not None:
            return False
        seen = stored.value.status.hub_generation_id
        revoked = self._revoked(requested_by, gone=seen)

        def change(record: DeviceRecord) -> DeviceRecord:
            return revoked(record) if record.status.hub_generation_id == seen else record

        before, after = await self._write(device, change)
        return before.spec.revocation is None and after.spec.revocation is not None

    def _revoked(
        self, requested_by: str, *, gone: str | None = None
    ) -> Callable[[DeviceRecord], DeviceRecord]:
        def change(record: DeviceRecord) -> DeviceRecord:
            # The time after the read: the storage stamped every message of before earlier.
            revocation = Revocation(requested_by=requested_by, at=self.clock.now(), gone=gone)
            return with_revocation(record, revocation)

        return change

    async def _write(
        self, device: DeviceKey, change: Callable[[DeviceRecord], DeviceRecord]
    ) -> tuple[DeviceRecord, DeviceRecord]:
        before, after = await self.updates.update(device, change)
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
