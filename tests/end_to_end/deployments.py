"""Deployments of firstpull in this process, each at connected registries of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from firstpull.bootstrap import Application
from firstpull.model.device_record import DeviceRecord, State
from local_azure.azurite import run_azurite
from local_azure.azurite.gate import StorageUrls
from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack
from local_azure.stack.storage_gates import run_storage_gates
from tests.firstpull.records import grant_of

from .cloud import (
    cloud_registry,
    entry_of,
    forget_devices,
    pull_answers,
    register,
    report_login,
    site_of,
)
from .in_process import Firstpull, connected

_FOUND = "device.drift.found"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A device that has logged in, and what firstpull made for it."""

    device_id: str
    plant: str
    token: str
    secret: str
    scope_map: str


@dataclass(frozen=True)
class Deployment:
    """One process of firstpull, which takes devices to one connected registry."""

    firstpull: Firstpull
    application: Application
    plant: str

    @property
    def stack(self) -> Stack:
        """Where it runs."""
        return self.firstpull.stack

    def at(self, plant: str) -> Deployment:
        """The same process, at another connected registry."""
        return Deployment(self.firstpull, self.application, plant)

    async def ask(self, device_id: str, **more: str) -> None:
        """Request that a device is onboarded; `more` are other fields of the request."""
        await self.firstpull.ask(self.application, device_id, self.plant, **more)

    async def ready_device(self, device_id: str) -> Subject:
        """A device that has logged in, and that nothing is due for."""
        register(self.stack, device_id)
        await self.ask(device_id)
        record = await self.come_to_rest(device_id)
        await self.log_in(device_id)
        names, registry = grant_of(record).names, cloud_registry(self.stack)
        return Subject(
            device_id=device_id,
            plant=self.plant,
            token=names.token,
            secret=names.secret,
            scope_map=registry.scope_map_of(registry.token(names.token)).name,
        )

    async def log_in(self, device_id: str) -> None:
        """The site syncs; the device logs in there with what its twin holds, and reports it."""
        site_of(self.stack, self.plant).backend.sync()
        assert await pull_answers(self.stack, entry_of(self.stack, device_id, self.plant)) == 200
        report_login(self.stack, device_id, self.plant)
        record = await self.come_to_rest(device_id)
        assert record.status.condition.state is State.READY, record.status.condition

    async def revoke(self, device_id: str) -> DeviceRecord:
        """Revoke a device; returns its tombstone."""
        device = self.firstpull.device(device_id)
        await self.application.revoking.revoke(device, requested_by="a test")
        record = await self.come_to_rest(device_id)
        assert record.status.condition.state is State.REVOKED, record.status.condition
        return record

    async def come_to_rest(self, device_id: str) -> DeviceRecord:
        """Reconcile the device until it is done or waits for somebody; returns its record."""
        return await self.firstpull.come_to_rest(self.application, device_id, self.plant)

    async def sweep_says(self, device_id: str) -> frozenset[str]:
        """The differences that one sweep notes in a device's history."""
        before = await self._differences(device_id)
        await self.application.sweeper.run()
        found = (await self._differences(device_id))[len(before) :]
        return frozenset(words for detail in found for words in detail.split("; "))

    async def sweep_writes(self) -> list[str]:
        """The writing calls of one sweep."""
        self.stack.kernel.calls.reset()
        await self.application.sweeper.run()
        return self.writes()

    async def check_that_nothing_is_left_to_do(self, device_id: str) -> None:
        """One more pass and one more sweep write nothing. Raises AssertionError."""
        await self.come_to_rest(device_id)  # the pass that follows a login
        assert await self.firstpull.reconcile_again(self.application, device_id) == []
        record = await self.firstpull.record(device_id)
        assert await self.sweep_writes() == []
        assert await self.firstpull.record(device_id) == record

    def writes(self) -> list[str]:
        """The writing calls since the calls were reset. A query of the hub is a POST and reads."""
        return [
            f"{call.service}.{call.operation}"
            for call in self.stack.kernel.calls.latest()
            if call.method != "GET" and call.operation != "twins.query"
        ]

    async def _differences(self, device_id: str) -> list[str]:
        history = (await self.firstpull.record(device_id)).history
        return [entry.detail for entry in history if entry.event == _FOUND]


def settings_of(
    stack: Stack,
    deployment: str,
    *plants: str,
    capacity: int | None = None,
    storage: StorageUrls | None = None,
    **policy: object,
) -> dict[str, str]:
    """The settings of a deployment whose policy lists these connected registries only.

    Its storage is the stack's where no other is given. `policy` replaces parts of the policy.
    """
    document = json.loads(app_settings(stack)["FIRSTPULL_POLICY"])
    listed = {entry["name"]: entry for entry in document["connectedRegistries"]}
    more = {"capacity": capacity} if capacity is not None else {}
    document["connectedRegistries"] = [{**listed[name], **more} for name in plants]
    del document["sites"]
    settings = {
        "FIRSTPULL_DEPLOYMENT": deployment,
        "FIRSTPULL_POLICY": json.dumps({**document, **policy}),
    }
    if storage is not None:
        settings |= {
            "AzureWebJobsStorage__blobServiceUri": storage.blob_url,
            "AzureWebJobsStorage__queueServiceUri": storage.queue_url,
            "AzureWebJobsStorage__tableServiceUri": storage.table_url,
        }
    return settings


@asynccontextmanager
async def deployed(
    stack: Stack, deployment: str, plant: str, *others: str, capacity: int | None = None
) -> AsyncIterator[Deployment]:
    """A deployment on the stack's storage, which has no devices before and afterwards."""
    settings = settings_of(stack, deployment, plant, *others, capacity=capacity)
    await forget_devices(stack)
    try:
        async with connected(stack, settings) as firstpull:
            yield Deployment(firstpull, firstpull.application(), plant)
    finally:
        await forget_devices(stack)


@asynccontextmanager
async def another_storage(stack: Stack) -> AsyncIterator[StorageUrls]:
    """A second storage account, as a second deployment has it; it checks roles, too."""
    async with (
        run_azurite(
            host=stack.address,
            certificate_pem=stack.kernel.certificates.server_certificate_pem,
            key_pem=stack.kernel.certificates.server_key_pem,
            account_name="seconddeployment",
        ) as storage,
        run_storage_gates(stack.kernel, storage, address=stack.address) as urls,
    ):
        yield urls
