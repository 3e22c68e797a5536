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

from firstpull_agent.device_clock import outside_validity
from firstpull_agent.secret import Secret

_T = TypeVar("_T")
_TIMEOUT_SECONDS = 60.0
_CLOSE_TIMEOUT_SECONDS = 10.0


class HubUnavailable(Exception):
    """The hub cannot be reached or refuses this device: try again later."""


class HubOutsideValidity(HubUnavailable):
    """By this device's clock, the hub's certificate has expired or is not valid yet."""


class HubSilent(HubUnavailable):
    """The agent is connected, but the hub does not answer."""


@dataclass(frozen=True)
class Twin:
    """The two property sections of the device's twin."""

    desired: object
    reported: dict[str, Any]


class Hub(Protocol):
    """The agent's port to a hub."""

    @property
    def device_id(self) -> str | None:
        """The device's id in the hub, as far as it is known."""
        ...

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from any thread, whenever the twin may have changed."""
        ...

    async def twin(self) -> Twin:
        """The whole twin; connects first if needed. Raises HubUnavailable."""
        ...

    async def report(self, patch: dict[str, Any]) -> None:
        """Patch the reported properties. Raises HubUnavailable."""
        ...

    async def close(self) -> None:
        """End the connection. Raises nothing."""
        ...


@dataclass(frozen=True)
class HubSettings:
    """How to connect to the hub. `gateway` is a host to connect to instead; `ca` is PEM."""

    gateway: str | None = None
    ca: str | None = None

    def options(self) -> dict[str, str]:
        """The SDK's keyword arguments, without the gateway."""
        return {} if self.ca is None else {"server_verification_cert": self.ca}


def connect_with_key(connection_string: Secret, settings: HubSettings) -> AzureHub:
    """A hub for a device with a connection string. Raises ValueError if it is malformed."""
    text = connection_string.reveal().strip()
    if settings.gateway is not None:
        fields = [f for f in text.split(";") if not f.startswith("GatewayHostName=")]
        text = ";".join([*fields, f"GatewayHostName={settings.gateway}"])
    device_id = next((f[9:] for f in text.split(";") if f.startswith("DeviceId=")), None)
    return AzureHub(
        lambda: IoTHubDeviceClient.create_from_connection_string(text, **settings.options()),
        device_id=device_id,
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
        ),
        device_id=device_id,
    )


class AzureHub:
    """Implements `Hub` with azure-iot-device, which reconnects by itself once connected."""

    def __init__(
        self, make: Callable[[], IoTHubDeviceClient], *, device_id: str | None = None
    ) -> None:
        self.device_id = device_id
        self._make = make
        self._client = make()
        self._changed: Callable[[], None] | None = None
        self._listens = False
        self._calls: set[asyncio.Task[Any]] = set()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each desired patch, and when the connection is lost.

        After some errors the SDK stops reconnecting; reading the twin then connects again. After
        the SDK has reconnected by itself, it reports a missed patch.
        """
        self._changed = changed
        client = self._client

        def lost() -> None:
            if client is self._client and not client.connected:
                changed()

        client.on_connection_state_change = lost  # type: ignore[assignment] # it is called without arguments

    async def twin(self) -> Twin:
        """The whole twin.

        The SDK subscribes once, and relies on the hub to remember that. If the hub has lost the
        session, as after a new registration of the device, no answer arrives: a new client then
        starts over.
        """
        try:
            return await self._read()
        except HubSilent:
            self._start_over()
            raise

    def _start_over(self) -> None:
        self._shut_down()
        self._client, self._listens = self._make(), False
        if self._changed is not None:
            self.on_change(self._changed)

    async def _read(self) -> Twin:
        if not self._client.connected:
            await self._bounded(self._client.connect())
        if self._changed is not None and not self._listens:
            # Listen before reading the twin, so that no change is lost in between.
            await self._bounded(asyncio.to_thread(self._listen, self._changed))
            self._listens = True
        content = await self._bounded(self._client.get_twin())
        # Without desired properties, the answer must not read as if it had no delivery.
        return Twin(content.get("desired"), content.get("reported") or {})

    async def report(self, patch: dict[str, Any]) -> None:
        """Patch the reported properties."""
        await self._bounded(self._client.patch_twin_reported_properties(patch))

    async def close(self) -> None:
        """End the connection; waits a bounded time for the hub."""
        await asyncio.wait([self._shut_down()], timeout=_CLOSE_TIMEOUT_SECONDS)

    def _shut_down(self) -> asyncio.Task[None]:
        self._client.on_connection_state_change = None  # type: ignore[assignment] # None removes it
        return self._call(self._client.shutdown())

    def _listen(self, changed: Callable[[], None]) -> None:
        self._client.on_twin_desired_properties_patch_received = lambda _: changed()

    async def _bounded(self, call: Coroutine[Any, Any, _T]) -> _T:
        # Never cancelled: the SDK completes its futures later, and asyncio logs the result of a
        # cancelled one, which may be the twin.
        done, _ = await asyncio.wait([task := self._call(call)], timeout=_TIMEOUT_SECONDS)
        if not done:
            raise HubSilent("the hub does not answer")
        try:
            return task.result()
        except (ClientError, OperationCancelled, OperationTimeout) as error:
            if outside_validity(error):
                raise HubOutsideValidity("the hub's certificate is not valid then") from None
            raise HubUnavailable(f"{type(error).__name__}: {error}") from None

    def _call(self, call: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not log it
