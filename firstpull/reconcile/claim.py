"""A worker's claim on a device: short, renewed while the worker works, checked before each write.

docs/decisions/no-fencing-by-arm.md says why. A claim that is not renewed in time, or that another
worker has taken over, stops the work before its next write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model import transitions
from firstpull.model.clock import Clock
from firstpull.model.device_record import Claim, DeviceRecord
from firstpull.model.errors import Conflict, FirstpullError, Transient
from firstpull.model.ports import Records, Stored
from firstpull.model.reasons import Reason
from firstpull.observability.log import emit_crash
from firstpull.observability.log_events import LogEvent

CLAIM = timedelta(seconds=30)
"""How long a claim lasts unless it is renewed: how long a dead worker keeps its device."""
LONGEST_HELD = CLAIM + timedelta(seconds=REQUEST_DEADLINE)
"""How long a device waits for a worker that died right after its claim."""
PASS = timedelta(seconds=90)
"""How long a worker may write to one device in one pass; its claim is not renewed beyond."""
_RENEWAL_SECONDS = 8.0
"""Between renewals. One may fail, and the next still comes before the writes have to stop."""


class Guard(Protocol):
    """What a worker asks before each write."""

    def check(self) -> None:
        """Raise if a write that begins now could end after the claim."""
        ...


def comes_back_at(claim: Claim) -> datetime:
    """When another worker may take the device over: a request of the holder may still run."""
    return claim.until + timedelta(seconds=REQUEST_DEADLINE)


class HeldClaim:
    """A claim that this worker holds. `stored` is the record as this worker knows it."""

    def __init__(self, stored: Stored[DeviceRecord], *, records: Records, clock: Clock) -> None:
        if stored.value.claim is None:
            raise ValueError("the record has no claim")
        self.stored = stored
        self._claim = stored.value.claim
        self._ends_at = self._claim.until - CLAIM + PASS
        self._is_lost = False
        self._records = records
        self._clock = clock

    @property
    def owner(self) -> str:
        """The id of the claim."""
        return self._claim.owner

    def check(self) -> None:
        """Raise Transient if a write that begins now could end after the claim, or pass."""
        late = self._clock.now() + timedelta(seconds=REQUEST_DEADLINE) >= self._claim.until
        if late or self._is_lost:
            raise Transient(
                Reason.OUT_OF_TIME, "The time for one pass is over; the next pass continues."
            )

    def is_of(self, record: DeviceRecord) -> bool:
        """Whether the record has this claim, renewed or not."""
        return record.claim is not None and record.claim.owner == self._claim.owner

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew the claim while the block runs."""
        renewal = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _keep(self) -> None:
        while not self._is_lost and self._claim.until < self._ends_at:
            await self._clock.sleep(_RENEWAL_SECONDS)
            try:
                await self._renew()
            except FirstpullError:
                continue  # `check` stops the work in time unless a later renewal succeeds
            except Exception as error:
                device = self.stored.value.device
                emit_crash(
                    LogEvent.DEVICE_RECONCILE_CRASHED,
                    error,
                    hub=device.hub,
                    device_id=device.device_id,
                )
                return

    async def _renew(self) -> None:
        claim = replace(self._claim, until=min(self._clock.now() + CLAIM, self._ends_at))
        try:
            self.stored = await self._write(claim)
        except Conflict:  # a request changed the record, or another worker has the device
            again = await self._records.get(self.stored.value.device)
            self._is_lost = again is None or not self.is_of(again.value)
            if again is None or self._is_lost:
                return
            self.stored = again
            self.stored = await self._write(claim)
        self._claim = claim

    async def _write(self, claim: Claim) -> Stored[DeviceRecord]:
        renewed = transitions.renewed(self.stored.value, claim, due_at=self._due_at(claim))
        return await self._records.replace(renewed, etag=self.stored.etag)

    def _due_at(self, claim: Claim) -> datetime:
        """After the claim's end; at once for a device that a request has woken meanwhile."""
        record = self.stored.value
        return record.schedule.due_at if is_woken(record) else comes_back_at(claim)


def is_woken(record: DeviceRecord) -> bool:
    """Whether the device was made due at another time than that of its claim's end."""
    return record.claim is not None and record.schedule.due_at != comes_back_at(record.claim)
