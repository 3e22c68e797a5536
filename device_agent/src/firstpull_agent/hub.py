"""The device's connection to its IoT Hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from azure.iot.device import X509
from azure.iot.device.aio import IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError, OperationCancelled, OperationTimeout

from firstpull_agent.secret import Secret

_T = TypeVar("_T")
_TIMEOUT_SECONDS = 60.0
_CLOSE_TIMEOUT_SECONDS = 10.0


class HubUnavailable(Exception):
    """The hub cannot be reached or refuses this device. Trying again later is all there is."""


class HubSilent(HubUnavailable):
    """The connection stands, and nothing comes back."""


@dataclass(frozen=True)
class Twin:
    """The two property sections of the device's twin."""

    desired: object
    reported: dict[str, Any]


class Hub(Protocol):
    """What the agent needs of a hub."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from any thread, whenever the twin may be another than last read."""
        ...

    async def twin(self) -> Twin:
        """The whole twin, connecting first where needed. Raises HubUnavailable."""
        ...

    async def report(self, patch: dict[str, Any]) -> None:
        """Patch the reported properties. Raises HubUnavailable."""
        ...

    async def close(self) -> None:
        """End the connection. Raises nothing."""
        ...


@dataclass(frozen=True)
class HubSettings:
    """How to find the hub. `gateway` is dialled instead of the hub's own name; `ca` is PEM."""

    gateway: str | None = None
    ca: str | None = None

    def options(self) -> dict[str, str]:
        """As the SDK's keyword arguments, but for the gateway."""
        return {} if self.ca is None else {"server_verification_cert": self.ca}


def connect_with_key(connection_string: Secret, settings: HubSettings) -> AzureHub:
    """A hub for a device with a connection string. Raises ValueError when it is malformed."""
    text = connection_string.reveal().strip()
    if settings.gateway is not None:
        fields = [f for f in text.split(";") if not f.startswith("GatewayHostName=")]
        text = ";".join([*fields, f"GatewayHostName={settings.gateway}"])
    return AzureHub(
        lambda: IoTHubDeviceClient.create_from_connection_string(text, **settings.options())
    )


def connect_with_certificate(
    *, host: str, device_id: str, certificate: Path, key: Path, settings: HubSettings
) -> AzureHub:
    """A hub for a device with an X.509 certificate. Raises OSError and ValueError."""
    options = settings.options()
    if settings.gateway is not None:
        options["gateway_hostname"] = settings.gateway
    x509 = X509(cert_file=str(certificate), key_file=str(key))  # type: ignore[no-untyped-call]
    return AzureHub(
        lambda: IoTHubDeviceClient.create_from_x509_certificate(
            x509=x509, hostname=host, device_id=device_id, **options
        )
    )


class AzureHub:
    """A hub through azure-iot-device, which reconnects by itself once it was connected."""

    def __init__(self, make: Callable[[], IoTHubDeviceClient]) -> None:
        self._make = make
        self._client = make()
        self._changed: Callable[[], None] | None = None
        self._listens = False
        self._calls: set[asyncio.Task[Any]] = set()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` at each desired patch, and when the connection is lost.

        The SDK gives up reconnecting after some errors; reading the twin connects again. After
        reconnecting by itself, it reports a patch that was missed.
        """
        self._changed = changed
        client = self._client

        def lost() -> None:
            if client is self._client and not client.connected:
                changed()

        client.on_connection_state_change = lost  # type: ignore[assignment] # it is called without arguments

    async def twin(self) -> Twin:
        """The whole twin.

        The SDK subscribes once, and relies on the hub to remember it. A hub that has lost the
        session, as of a device that was registered anew, answers into nothing: then another client
        begins from the beginning.
        """
        try:
            return await self._read()
        except HubSilent:
            self._begin_anew()
            raise

    def _begin_anew(self) -> None:
        self._leave()
        self._client, self._listens = self._make(), False
        if self._changed is not None:
            self.on_change(self._changed)

    async def _read(self) -> Twin:
        if not self._client.connected:
            await self._bounded(self._client.connect())
        if self._changed is not None and not self._listens:
            # Before the twin is read, so that no change can fall between the two.
            await self._bounded(asyncio.to_thread(self._listen, self._changed))
            self._listens = True
        content = await self._bounded(self._client.get_twin())
        # An answer without desired properties is none: it must not read as if all were withdrawn.
        return Twin(content.get("desired"), content.get("reported") or {})

    async def report(self, patch: dict[str, Any]) -> None:
        """Patch the reported properties."""
        await self._bounded(self._client.patch_twin_reported_properties(patch))

    async def close(self) -> None:
        """End the connection, in good order when the hub still answers."""
        await asyncio.wait([self._leave()], timeout=_CLOSE_TIMEOUT_SECONDS)

    def _leave(self) -> asyncio.Task[None]:
        self._client.on_connection_state_change = None  # type: ignore[assignment] # None takes it away
        return self._call(self._client.shutdown())

    def _listen(self, changed: Callable[[], None]) -> None:
        self._client.on_twin_desired_properties_patch_received = lambda _: changed()

    async def _bounded(self, call: Coroutine[Any, Any, _T]) -> _T:
        # Never cancelled: the SDK completes its futures later, and completing a cancelled one
        # makes asyncio log what it was completed with, which may be the twin.
        done, _ = await asyncio.wait([task := self._call(call)], timeout=_TIMEOUT_SECONDS)
        if not done:
            raise HubSilent("the hub does not answer")
        try:
            return task.result()
        except (ClientError, OperationCancelled, OperationTimeout) as error:
            raise HubUnavailable(f"{type(error).__name__}: {error}") from None

    def _call(self, call: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not log it as forgotten
