"""State that the hosts of one app share in its storage account: timer locks and schedules.

The blobs are those of Azure: container `azure-webjobs-hosts`, `locks/<host id>/…` with a lease,
`timers/<host id>/…/status` with the last and the next occurrence.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, BlobServiceClient

from local_azure.functions_host.storage import STORAGE_ERRORS

_LOG = logging.getLogger("functions_host.storage")
_CONTAINER = "azure-webjobs-hosts"
_RETRY_SECONDS = 1.0
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ScheduleStatus:
    """When a timer last ran (None: never), is to run next, and when that was written."""

    last: datetime | None
    next: datetime
    updated: datetime


class Lock:
    """A lease that was acquired."""

    def __init__(self, lease: BlobLeaseClient, period: timedelta) -> None:
        self._lease = lease
        self._period = period.total_seconds()

    async def keep(self) -> None:
        """Renew the lease at half its time. Return when it is lost."""
        time = asyncio.get_running_loop().time
        lasts_until = time() + self._period
        pause = self._period / 2
        while True:
            await asyncio.sleep(pause)
            asked = time()
            try:
                await self._lease.renew()
            except STORAGE_ERRORS as error:
                refused = isinstance(error, HttpResponseError) and error.status_code in (409, 412)
                if refused or time() >= lasts_until:
                    return
                pause = _RETRY_SECONDS
            else:
                lasts_until = asked + self._period
                pause = self._period / 2

    async def release(self) -> None:
        """Give the lock up at once; a lease that is gone is no error."""
        with suppress(*STORAGE_ERRORS):
            await self._lease.release()


class HostStorage:
    """The container of an app's hosts."""

    def __init__(self, *, service: BlobServiceClient, host_id: str) -> None:
        self._container = service.get_container_client(_CONTAINER)
        self._host_id = host_id

    async def try_lock(self, timer: str, period: timedelta) -> Lock | None:
        """The lock of a timer; None when another host has it or storage does not answer."""
        blob = self._container.get_blob_client(f"locks/{self._host_id}/{timer}.Listener")
        lease = BlobLeaseClient(blob)
        seconds = int(period.total_seconds())
        try:
            try:
                await lease.acquire(lease_duration=seconds)
            except ResourceNotFoundError:
                await self._create(blob)
                await lease.acquire(lease_duration=seconds)
        except ResourceExistsError:
            return None
        except STORAGE_ERRORS as error:
            _LOG.warning("%s: no lock now: %s", timer, type(error).__name__)
            return None
        return Lock(lease, period)

    async def read_status(self, timer: str) -> ScheduleStatus | None:
        """The recorded schedule; None when there is none or it cannot be read."""
        try:
            download = await self._status_blob(timer).download_blob()
            recorded: dict[str, Any] = json.loads(await download.readall())
        except ResourceNotFoundError:
            return None
        except STORAGE_ERRORS as error:
            _LOG.warning("%s: its schedule cannot be read: %s", timer, type(error).__name__)
            return None
        last = datetime.fromisoformat(recorded["Last"])
        return ScheduleStatus(
            last=None if last == _NEVER else last,
            next=datetime.fromisoformat(recorded["Next"]),
            updated=datetime.fromisoformat(recorded["LastUpdated"]),
        )

    async def write_status(self, timer: str, status: ScheduleStatus) -> None:
        """Record the schedule, with best effort as on Azure."""
        try:
            await self._status_blob(timer).upload_blob(json.dumps(document(status)), overwrite=True)
        except STORAGE_ERRORS as error:
            _LOG.warning("%s: its schedule is not recorded: %s", timer, type(error).__name__)

    def _status_blob(self, timer: str) -> BlobClient:
        return self._container.get_blob_client(f"timers/{self._host_id}/{timer}/status")

    async def _create(self, blob: BlobClient) -> None:
        with suppress(ResourceExistsError):
            await self._container.create_container()
        with suppress(ResourceExistsError):
            await blob.upload_blob(b"", overwrite=False)


def document(status: ScheduleStatus) -> dict[str, str]:
    """A schedule as Azure's timer extension stores it."""
    return {
        "Last": (status.last or _NEVER).isoformat(),
        "Next": status.next.isoformat(),
        "LastUpdated": status.updated.isoformat(),
    }
