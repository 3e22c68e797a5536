"""edgeAgent as a client of its hub: it reads its twin, pulls its modules' images, and reports.

It has no containers and no edgeHub: a module of the deployment is an image to pull. By the module
SDK it is an ordinary module with the identity of `$edgeAgent`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from azure.iot.device.aio import IoTHubModuleClient
from azure.iot.device.exceptions import ClientError

from local_azure.edge_agent.images import PullFailed, pull
from local_azure.edge_agent.rules import (
    FAILED,
    OK,
    Configuration,
    configuration_of,
    echo,
    images_of,
)
from local_azure.iot_hub.models import EDGE_AGENT, IotHub

_RETRY_SECONDS = 1.0
"""edgeAgent looks every 5 seconds, and waits longer after each failed pull."""


class EdgeAgent:
    """One device's edgeAgent. `pulled` are digests by image."""

    def __init__(self, client: IoTHubModuleClient, *, tls: ssl.SSLContext) -> None:
        self._client = client
        self._tls = tls
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._kept = Configuration(0, OK, "")
        self.pulled: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    async def run(self) -> None:
        """Follow the twin until cancelled."""
        # In a thread: the setter blocks until the hub has answered, which may be in this loop.
        name = "on_twin_desired_properties_patch_received"
        await asyncio.to_thread(setattr, self._client, name, self._on_patch)
        while True:
            self._changed.clear()
            try:
                is_settled = await self._reconcile()
            except ClientError:
                is_settled = False
            with suppress(TimeoutError):
                async with asyncio.timeout(None if is_settled else _RETRY_SECONDS):
                    await self._changed.wait()

    async def _on_patch(self, patch: Mapping[str, Any]) -> None:
        """The SDK calls this in a thread of its own."""
        del patch
        self._loop.call_soon_threadsafe(self._changed.set)

    async def _reconcile(self) -> bool:
        """Whether everything is as the twin says; else it is tried again."""
        twin: Any = await self._client.get_twin()
        desired, reported = twin["desired"], twin["reported"]
        found = configuration_of(desired, version=desired["$version"])
        if found.code == OK:
            self._kept = found
            found = await self._with_images(found, images_of(desired))
        await self._report(found, reported)
        return found.code != FAILED

    async def _with_images(self, found: Configuration, images: Mapping[str, str]) -> Configuration:
        """The configuration after its images were pulled, those that are there already excepted."""
        for image in images.values():
            if image in self.pulled:
                continue
            try:
                self.pulled[image] = await self.pull(image)
                self.refused.pop(image, None)
            except PullFailed as error:
                self.refused[image] = str(error)
                found = replace(found, code=FAILED, description=f"A pull failed: {image}.")
        return found

    async def pull(self, image: str) -> str:
        """Pull an image with the login for its registry. Raises PullFailed."""
        return await pull(image, self._kept.login_for(image), tls=self._tls)

    async def _report(self, found: Configuration, reported: Mapping[str, Any]) -> None:
        report = found.report
        before = {name: reported[name] for name in report if name in reported}
        patch: Any = echo(before, report)
        if any(reported.get(name) != value for name, value in report.items()):
            await self._client.patch_twin_reported_properties(patch)


@asynccontextmanager
async def edge_agent(
    hub: IotHub, device_id: str, *, address: str, ca_pem: str, tls: ssl.SSLContext
) -> AsyncIterator[EdgeAgent]:
    """The running edgeAgent of a registered Edge device, connected to its hub by MQTT."""
    key = hub.module(device_id, EDGE_AGENT).authentication.primary_key
    text = f"HostName={address};DeviceId={device_id};ModuleId={EDGE_AGENT};SharedAccessKey={key}"
    client = IoTHubModuleClient.create_from_connection_string(
        text, server_verification_cert=ca_pem, connection_retry_interval=1
    )
    agent = EdgeAgent(client, tls=tls)
    running = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await client.shutdown()
