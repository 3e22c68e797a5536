"""Devices that connect with Microsoft's device SDK."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import X509
from azure.iot.device.aio import IoTHubDeviceClient
from azure.iot.device.exceptions import CredentialError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from local_azure.iot_hub.identities import (
    Authentication,
    AuthenticationType,
    DeviceSettings,
    DeviceStatus,
    Identity,
)
from local_azure.iot_hub.mqtt_packets import PacketType
from local_azure.iot_hub.twins import TwinPatch

from .hub_stack import HubMqtt, until


class Patches:
    """The desired patches that a device received, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def subscribe(self, client: IoTHubDeviceClient) -> None:
        """In a thread: the SDK's setter blocks until the endpoint, in this loop, has answered."""
        name = "on_twin_desired_properties_patch_received"
        await asyncio.to_thread(setattr, client, name, self._add)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            return await self._queue.get()

    def _add(self, patch: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, patch)


@asynccontextmanager
async def device(
    mqtt: HubMqtt, identity: Identity, *, key: str | None = None, **options: bool
) -> AsyncIterator[IoTHubDeviceClient]:
    text = (
        f"HostName={mqtt.address};DeviceId={identity.device_id};"
        f"SharedAccessKey={key or identity.settings.authentication.primary_key}"
    )
    client = IoTHubDeviceClient.create_from_connection_string(
        text,
        server_verification_cert=mqtt.kernel.certificates.ca_pem,
        connection_retry_interval=1,
        **options,
    )
    try:
        yield client
    finally:
        await client.shutdown()


@asynccontextmanager
async def x509_device(
    mqtt: HubMqtt, certificate: tuple[str, str], folder: Path
) -> AsyncIterator[IoTHubDeviceClient]:
    certificate_file, key_file = folder / "device.pem", folder / "device.key"
    certificate_file.write_text(certificate[0])
    key_file.write_text(certificate[1])
    client = IoTHubDeviceClient.create_from_x509_certificate(
        X509(str(certificate_file), str(key_file)),  # type: ignore[no-untyped-call]
        hostname=mqtt.address,
        device_id="d",
        server_verification_cert=mqtt.kernel.certificates.ca_pem,
        connection_retry=False,
    )
    try:
        yield client
    finally:
        await client.shutdown()


async def expect_refused(connecting: Awaitable[None]) -> None:
    with pytest.raises(CredentialError):
        await connecting


async def test_a_device_reads_its_twin_and_reports(mqtt: HubMqtt) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    mqtt.hub.patch_twin("d", TwinPatch(tags={"t": 1}, desired={"a": {"b": 1}}), etag=None)
    async with device(mqtt, identity) as client:
        assert await client.get_twin() == {
            "desired": {"a": {"b": 1}, "$version": 2},
            "reported": {"$version": 1},
        }
        await client.patch_twin_reported_properties({"state": "ok", "deep": {"n": 1}})
        assert mqtt.hub.twin("d").reported.values == {"state": "ok", "deep": {"n": 1}}
        await client.patch_twin_reported_properties({"deep": None})
        assert mqtt.hub.twin("d").reported.values == {"state": "ok"}
        assert mqtt.hub.twin("d").reported.version == 3
    assert mqtt.kernel.calls.counts() == {
        "iotHub.mqtt.connect": 1,
        "iotHub.mqtt.twin.get": 1,
        "iotHub.mqtt.twin.reported": 2,
    }


async def test_a_device_receives_desired_patches_with_their_nulls(mqtt: HubMqtt) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    patches = Patches()
    async with device(mqtt, identity, ensure_desired_properties=False) as client:
        await client.connect()
        await patches.subscribe(client)
        mqtt.hub.patch_twin("d", TwinPatch(desired={"a": {"b": 1}, "c": 2}), etag=None)
        mqtt.hub.patch_twin("d", TwinPatch(desired={"a": {"b": None}, "c": None}), etag=None)
        assert await patches.next() == {"a": {"b": 1}, "c": 2, "$version": 2}
        assert await patches.next() == {"a": {"b": None}, "c": None, "$version": 3}


async def test_the_identity_shows_whether_the_device_is_connected(mqtt: HubMqtt) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    etag = mqtt.hub.twin("d").etag
    async with device(mqtt, identity) as client:
        await client.connect()
        assert mqtt.hub.device("d").connected
        await client.disconnect()
        await until(lambda: not mqtt.hub.device("d").connected)
    assert (mqtt.hub.twin("d").etag, mqtt.hub.device("d").etag) == (etag, identity.etag)


async def test_a_dropped_device_reconnects_and_gets_the_missed_patches(mqtt: HubMqtt) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    patches = Patches()
    async with device(mqtt, identity) as client:
        await client.connect()
        await client.get_twin()  # subscribes to twin answers, which the SDK needs afterwards
        await patches.subscribe(client)
        rival = await mqtt.connected(identity, clean=False)
        mqtt.hub.patch_twin("d", TwinPatch(desired={"missed": 1}), etag=None)
        assert await patches.next() == {"missed": 1, "$version": 2}
        assert (await rival.read()).type is PacketType.PUBLISH  # it had the session meanwhile
        assert await rival.is_dropped()
        mqtt.hub.patch_twin("d", TwinPatch(desired={"received": 1}), etag=None)
        assert await patches.next() == {"received": 1, "$version": 3}


async def test_only_the_two_keys_of_a_device_connect(mqtt: HubMqtt) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    other = mqtt.hub.create_device(DeviceSettings("other"))
    wrong = other.settings.authentication.primary_key
    async with device(mqtt, identity, key=wrong, connection_retry=False) as client:
        await expect_refused(client.connect())
    assert not mqtt.hub.device("d").connected
    secondary = identity.settings.authentication.secondary_key
    async with device(mqtt, identity, key=secondary) as client:
        await client.connect()
        assert client.connected


@pytest.mark.parametrize("device_id", ["dev#1", "a%41?y", "A+b=c@d,e'f"])
async def test_a_device_id_may_have_any_character(mqtt: HubMqtt, device_id: str) -> None:
    identity = mqtt.hub.create_device(DeviceSettings(device_id))
    async with device(mqtt, identity) as client:
        assert (await client.get_twin())["desired"] == {"$version": 1}


def disable(mqtt: HubMqtt) -> None:
    keys = mqtt.hub.device("d").settings.authentication
    disabled = DeviceSettings("d", keys, DeviceStatus.DISABLED)
    assert not mqtt.hub.update_device(disabled, etag=None).connected


def delete(mqtt: HubMqtt) -> None:
    mqtt.hub.delete_device("d", etag=None)


@pytest.mark.parametrize("end", [disable, delete])
async def test_a_disabled_or_deleted_device_is_dropped_and_refused(
    mqtt: HubMqtt, end: Callable[[HubMqtt], None]
) -> None:
    identity = mqtt.hub.create_device(DeviceSettings("d"))
    async with device(mqtt, identity, connection_retry=False) as client:
        await client.connect()
        end(mqtt)
        await until(lambda: not client.connected)
        await expect_refused(client.connect())


@pytest.mark.parametrize("algorithm", [hashlib.sha1, hashlib.sha256])
async def test_only_the_registered_certificate_connects(
    mqtt: HubMqtt, tmp_path: Path, algorithm: Callable[[bytes], Any]
) -> None:
    registered, other = (mqtt.kernel.certificates.issue_client("anything") for _ in range(2))
    certificate = x509.load_pem_x509_certificate(registered[0].encode())
    thumbprint = algorithm(certificate.public_bytes(Encoding.DER)).hexdigest().upper()
    mqtt.hub.create_device(
        DeviceSettings(
            "d", Authentication(AuthenticationType.SELF_SIGNED, secondary_thumbprint=thumbprint)
        )
    )
    async with x509_device(mqtt, other, tmp_path) as client:
        await expect_refused(client.connect())
    async with x509_device(mqtt, registered, tmp_path) as client:
        await client.patch_twin_reported_properties({"state": "ok"})
    assert mqtt.hub.twin("d").reported.values == {"state": "ok"}
