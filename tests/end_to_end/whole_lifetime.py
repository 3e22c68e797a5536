"""All that firstpull ever does for a device and in a sweep, step by step, until it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from azure.core.exceptions import ResourceNotFoundError
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import BlobServiceClient

from firstpull.adapters.storage import StorageServices
from firstpull.adapters.storage.account import TABLE_MADE
from firstpull.bootstrap import Application
from firstpull.model.clock import ServiceClock, SystemClock
from firstpull.model.device_record import State
from firstpull.model.errors import Invalid
from firstpull.model.reasons import Reason
from local_azure.iot_hub.twins import TwinPatch
from local_azure.stack import Stack
from local_azure.stack.options import CLIENT_ID
from tests.firstpull.records import grant_of

from .actions import write_clients
from .cloud import (
    MEMBERSHIP_CONTAINER,
    cloud_registry,
    entry_of,
    forget_devices,
    operations_end,
    register,
    report_login,
    site_of,
    tokens_like,
)
from .in_process import Firstpull

FIRST, SECOND = "plant17", "plant18"
DEPLOYMENT = "least"
_QUEUE = "device-onboarding"
_PASSES = 30
_UNUSED_LONG_ENOUGH = timedelta(hours=25)
_REFUSED = (" 403 ", " 401 ")


class Stopped(Exception):
    """firstpull reports that it was refused something; the text is its message."""


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
            clock=ServiceClock(SystemClock()),
        )
        yield storage
        await storage.close()


@dataclass(frozen=True)
class Lifetime:
    """One device's, from its registration to the end."""

    firstpull: Firstpull
    storage: StorageServices
    application: Application
    device_id: str

    @property
    def _stack(self) -> Stack:
        return self.firstpull.stack

    async def run(self) -> None:
        """Everything. Raises Stopped, or the FirstpullError of what was refused."""
        await self._forget_the_first_start()
        await self.storage.prepare()
        await self._keep_a_message()
        register(self._stack, self.device_id)
        await self._ask_for(FIRST)
        await self._log_in(FIRST)
        await self._rotate()
        await self._repair()
        await self._ask_for(SECOND)
        await self._log_in(SECOND)
        device = self.firstpull.device(self.device_id)
        await self.application.revoking.revoke(device, requested_by="a test")
        await self._reconcile_until(State.REVOKED)
        await self._sweep()
        self.firstpull.clock.advance(_UNUSED_LONG_ENOUGH)
        await self._sweep()

    async def _forget_the_first_start(self) -> None:
        """The app makes its table at its first start only."""
        text = self._stack.storage.connection_string
        async with BlobServiceClient.from_connection_string(text) as blobs:
            with suppress(ResourceNotFoundError):
                await blobs.get_blob_client(MEMBERSHIP_CONTAINER, TABLE_MADE).delete_blob()

    async def _keep_a_message(self) -> None:
        """Two are kept; one of them is sent again, the other one discarded."""
        poison = self.application.poison
        texts = f"{self.device_id}: again", f"{self.device_id}: away"
        for text in texts:
            await poison.keep(_QUEUE, text, Invalid("The test refuses it."))
        listing = await poison.list(_QUEUE)
        kept = {message.message: message.id for message in listing.messages}
        await poison.resend(_QUEUE, kept[texts[0]], requested_by="a test")
        await poison.discard(_QUEUE, kept[texts[1]], requested_by="a test")

    async def _rotate(self) -> None:
        device = self.firstpull.device(self.device_id)
        await self.application.rotating.rotate(device, immediately=True, requested_by="a test")
        self._sync()
        await self._reconcile_until(State.DELIVERED, State.READY)
        await self._log_in(FIRST)

    async def _repair(self) -> None:
        """Its secret is deleted, then its twin entry; a sweep finds each."""
        record = await self.firstpull.record(self.device_id)
        self._stack.vault.delete(grant_of(record).names.secret)
        await self._sweep()
        await self._reconcile_until(State.DELIVERED, State.READY)
        await self._log_in(FIRST)
        without = TwinPatch(desired={"firstpull": {"registryCredentials": {FIRST: None}}})
        self._stack.hub.patch_twin(self.device_id, without, etag=None)
        await self._sweep()
        await self._reconcile_until(State.DELIVERED, State.READY)

    async def _ask_for(self, plant: str) -> None:
        await self.firstpull.ask(self.application, self.device_id, plant)
        await self._reconcile_until(State.DELIVERED, State.READY)

    async def _log_in(self, plant: str) -> None:
        assert entry_of(self._stack, self.device_id, plant)
        await self._reconcile_until(State.READY, device_at=plant)

    async def _reconcile_until(self, *states: State, device_at: str | None = None) -> None:
        """Reconcile the device whenever it is due, until it is in one of these states.

        With `device_at`, the device logs in there with what its twin has before each pass.
        """
        for _ in range(_PASSES):
            if device_at is not None:
                self._sync()
                report_login(self._stack, self.device_id, device_at)
            record = await self.firstpull.record(self.device_id)
            self.firstpull.clock.advance_to(record.schedule.due_at)
            if record.schedule.attempts > 1:
                # It may wait for an operation, which ends in the cloud's time.
                await operations_end(self._stack)
            await self.application.worker.reconcile(record.device)
            condition = (await self.firstpull.record(self.device_id)).status.condition
            if condition.reason is Reason.ACCESS_DENIED:
                raise Stopped(condition.message)
            if condition.state in states:
                return
        raise AssertionError(f"{self.device_id} after {_PASSES} passes: {condition}")

    async def _sweep(self) -> None:
        report = await self.application.sweeper.run()
        refused = [source for source in report.unread if any(c in source for c in _REFUSED)]
        if refused:
            raise Stopped("; ".join(refused))
        assert not report.unread, report.unread

    def _sync(self) -> None:
        for plant in (FIRST, SECOND):
            site_of(self._stack, plant).backend.sync()


async def forget(stack: Stack) -> None:
    """Remove whatever a lifetime has left behind, wherever it stopped."""
    await forget_devices(stack)
    registry = cloud_registry(stack)
    for plant in (FIRST, SECOND):
        write_clients(stack, plant, [])
    for token in tokens_like(stack, DEPLOYMENT):
        registry.delete_token(token.name)
    await operations_end(stack)
    used = {registry.scope_map_of(token).name for token in registry.tokens()}
    for scope_map in registry.scope_maps():
        # A lifetime that stopped before its token, or after it, has left a scope map alone.
        if scope_map.name.startswith("fp-") and scope_map.name not in used:
            registry.delete_scope_map(scope_map.name)
