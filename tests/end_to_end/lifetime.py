"""All that firstpull ever does for a device and in a sweep, step by step, until it is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from azure.identity.aio import ManagedIdentityCredential

from firstpull.adapters.storage import StorageServices
from firstpull.bootstrap import Application
from firstpull.intake.requests import read_request
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import Invalid
from firstpull.model.naming import scope_map_name
from firstpull.model.reasons import Reason
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.iot_hub.twins import TwinPatch
from local_azure.stack import Stack
from local_azure.stack.options import CLIENT_ID
from tests.firstpull.records import grant_of

from .cloud import (
    cloud_registry,
    entry_of,
    forget_devices,
    register,
    report_login,
    site_of,
    tokens_like,
)
from .in_process import Firstpull

FIRST, SECOND = "plant17", "plant18"
DEPLOYMENT = "least"
QUEUE = "device-onboarding"
_PASSES = 30
_UNUSED_LONG_ENOUGH = timedelta(hours=25)
_REFUSED = (" 403 ", " 401 ")
_GRANTED = frozenset({"repositories/hello-world/content/read"})


class Stopped(Exception):
    """firstpull says that it was refused something; the text is what it says."""


@asynccontextmanager
async def storage_of(stack: Stack) -> AsyncIterator[StorageServices]:
    """The storage account as the app opens it."""
    urls = stack.storage_urls
    async with ManagedIdentityCredential(client_id=CLIENT_ID) as credential:
        storage = StorageServices.from_identity(
            credential,
            table_url=urls.table_url,
            queue_url=urls.queue_url,
            blob_url=urls.blob_url,
        )
        yield storage
        await storage.close()


@dataclass(frozen=True)
class Life:
    """One device's, from its registration to the end."""

    firstpull: Firstpull
    storage: StorageServices
    application: Application
    device_id: str

    async def goes_by(self) -> None:
        """Everything. Raises Stopped, or the FirstpullError of what was refused."""
        await self.storage.prepare()
        await self._a_message_is_kept()
        await self._onboards()
        await self._rotates()
        await self._is_mended()
        await self._moves()
        await self._is_revoked()
        await self._is_swept()

    async def _a_message_is_kept(self) -> None:
        """One that no door takes; it is looked at, sent again, and the next one thrown away."""
        poison = self.application.poison
        refusal = Invalid("The test refuses it.")
        texts = f"{self.device_id}: again", f"{self.device_id}: away"
        for text in texts:
            await poison.keep(QUEUE, text, refusal)
        kept = {message.message: message.id for message in await poison.list(QUEUE)}
        await poison.resend(QUEUE, kept[texts[0]])
        await poison.discard(QUEUE, kept[texts[1]])

    async def _onboards(self) -> None:
        register(self._stack, self.device_id)
        await self._asks_for(FIRST)
        await self._logs_in(FIRST)

    async def _rotates(self) -> None:
        device = self.firstpull.device(self.device_id)
        await self.application.rotating.rotate(device, immediately=True, requested_by="a test")
        self._sync()
        await self._comes_to(State.DELIVERED, State.READY)
        await self._logs_in(FIRST)

    async def _is_mended(self) -> None:
        """Its entry is taken from the twin, and its secret deleted; a sweep finds both."""
        record = await self.firstpull.record(self.device_id)
        self._stack.vault.delete(grant_of(record).names.secret)
        await self._sweeps()
        await self._comes_to(State.DELIVERED, State.READY)
        await self._logs_in(FIRST)
        without = TwinPatch(desired={"firstpull": {"registryCredentials": {FIRST: None}}})
        self._stack.hub.patch_twin(self.device_id, without, etag=None)
        await self._sweeps()
        await self._comes_to(State.DELIVERED, State.READY)

    async def _moves(self) -> None:
        await self._asks_for(SECOND)
        await self._logs_in(SECOND)

    async def _is_revoked(self) -> None:
        device = self.firstpull.device(self.device_id)
        await self.application.revoking.revoke(device, requested_by="a test")
        await self._comes_to(State.REVOKED)

    async def _is_swept(self) -> None:
        """Nothing refers to its scope map any more: after a day it is removed."""
        await self._sweeps()
        self.firstpull.clock.advance(_UNUSED_LONG_ENOUGH)
        await self._sweeps()

    async def _asks_for(self, plant: str) -> None:
        body = {
            "deviceId": self.device_id,
            "connectedRegistry": plant,
            "repositories": ["hello-world"],
        }
        request = read_request(json.dumps(body).encode())
        await self.application.onboarding.ask(request, requested_by="a test")
        await self._comes_to(State.DELIVERED, State.READY)

    async def _logs_in(self, plant: str) -> None:
        self._sync()
        assert entry_of(self._stack, self.device_id, plant)
        report_login(self._stack, self.device_id, plant)
        await self._comes_to(State.READY)

    async def _comes_to(self, *states: State) -> DeviceRecord:
        """Work on the device whenever it is due, until it is in one of these states."""
        for _ in range(_PASSES):
            record = await self.firstpull.record(self.device_id)
            self.firstpull.clock.advance_to(record.schedule.due_at)
            await self.application.worker.reconcile(record.device)
            record = await self.firstpull.record(self.device_id)
            if record.status.condition.reason is Reason.ACCESS_DENIED:
                raise Stopped(record.status.condition.message)
            if record.status.condition.state in states:
                return record
        raise AssertionError(f"{self.device_id} after {_PASSES} passes: {record.status.condition}")

    async def _sweeps(self) -> None:
        report = await self.application.sweeper.run()
        refused = [source for source in report.unread if any(c in source for c in _REFUSED)]
        if refused:
            raise Stopped("; ".join(refused))
        assert not report.unread, report.unread

    def _sync(self) -> None:
        for plant in (FIRST, SECOND):
            site_of(self._stack, plant).backend.sync()

    @property
    def _stack(self) -> Stack:
        return self.firstpull.stack


async def forget(stack: Stack) -> None:
    """Remove whatever a life has left behind, however far it came."""
    await forget_devices(stack)
    registry = cloud_registry(stack)
    for plant in (FIRST, SECOND):
        nobody = ConnectedRegistryChanges(client_token_ids=())
        registry.update_connected_registry(plant, nobody)
    for token in tokens_like(stack, DEPLOYMENT):
        registry.delete_token(token.name)
    registry.delete_scope_map(scope_map_name(_GRANTED, deployment=DEPLOYMENT))
