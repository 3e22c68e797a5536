"""A hub with its HTTPS and MQTT endpoints, and raw clients for what no SDK would send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from aiohttp import web
from azure.iot.hub import IoTHubRegistryManager
from yarl import URL

from local_azure.iot_hub import IotHub, MqttEndpoint, create_iot_hub_application
from local_azure.iot_hub.identities import Identity
from local_azure.iot_hub.mqtt_packets import Packet, PacketType, read_packet
from local_azure.kernel import Kernel
from local_azure.kernel.certificates import CertificateAuthority
from local_azure.kernel.clock import Clock
from local_azure.kernel.tokens import TokenAuthority

API = {"api-version": "2021-04-12"}


@dataclass
class MachineTime:
    """The machine's time, which a test lets pass."""

    passed: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.passed


def new_kernel(
    certificates: CertificateAuthority, tokens: TokenAuthority, machine_time: MachineTime
) -> Kernel:
    return Kernel(
        clock=Clock(machine_time),
        random=random.Random(7),  # noqa: S311 - chance, not secrets
        certificates=certificates,
        tokens=tokens,
    )


def signature(*, resource: str, key: str, expires_at: int, policy: str | None = None) -> str:
    """A shared access signature, made without the code under test."""
    encoded = quote(resource, safe="")
    digest = hmac.digest(base64.b64decode(key), f"{encoded}\n{expires_at}".encode(), hashlib.sha256)
    sig = quote(base64.b64encode(digest), safe="")
    tail = f"&skn={policy}" if policy else ""
    return f"SharedAccessSignature sr={encoded}&sig={sig}&se={expires_at}{tail}"


@dataclass
class HubHttp:
    """The HTTPS side, served on an ephemeral port."""

    kernel: Kernel
    hub: IotHub
    runner: web.AppRunner | None = None
    port: int = 0

    async def start(self) -> Self:
        application = create_iot_hub_application(self.kernel, self.hub, host_name="127.0.0.1")
        self.runner = web.AppRunner(application)
        await self.runner.setup()
        site = web.TCPSite(
            self.runner, "127.0.0.1", 0, ssl_context=self.kernel.certificates.server_context()
        )
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def close(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    @property
    def host_name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def owner_signature(self, *, resource: str | None = None, key: str | None = None) -> str:
        return signature(
            resource=resource or self.host_name,
            key=key or self.hub.policies["iothubowner"].key,
            expires_at=int(self.kernel.clock.machine_time().timestamp()) + 60,
            policy="iothubowner",
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        """One call as `iothubowner`, unless `headers` say otherwise."""
        headers = {"Authorization": self.owner_signature(), **(headers or {})}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                URL(f"https://{self.host_name}{path}", encoded=True),
                json=json,
                data=data,
                headers=headers,
                params=API if params is None else params,
                ssl=self.kernel.certificates.client_context(),
            ) as response,
        ):
            body = await response.json() if response.content_length else None
            return Answer(response.status, response.headers, body)

    def manager(self, ca_file: str) -> IoTHubRegistryManager:
        """Microsoft's client with its defaults, but for the authority that it trusts."""
        text = self.hub.policies["iothubowner"].connection_string(self.host_name)
        manager = IoTHubRegistryManager.from_connection_string(text)
        manager.protocol.config.connection.verify = ca_file
        return manager


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in any case
    body: Any

    @property
    def code(self) -> str | None:
        return self.headers.get("iothub-errorcode")


@dataclass
class HubMqtt:
    """The MQTT side at an address of its own, on the port that device SDKs dial."""

    kernel: Kernel
    hub: IotHub
    address: str
    endpoint: MqttEndpoint = field(init=False)

    async def start(self, *, keep_alive_grace: float = 1.5) -> Self:
        self.endpoint = MqttEndpoint(
            self.kernel, self.hub, host_name=self.address, keep_alive_grace=keep_alive_grace
        )
        await self.endpoint.start(self.address)
        return self

    async def close(self) -> None:
        await self.endpoint.close()

    def user_name(self, device_id: str) -> str:
        return f"{self.address}/{device_id}/?api-version=2021-04-12"

    def password(self, identity: Identity, *, valid_for: int = 60) -> str:
        return signature(
            resource=f"{self.address}/devices/{identity.device_id}",
            key=identity.settings.authentication.keys[0],
            expires_at=int(self.kernel.clock.machine_time().timestamp()) + valid_for,
        )

    async def raw(self) -> RawDevice:
        reader, writer = await asyncio.open_connection(
            self.address, self.endpoint.port, ssl=self.kernel.certificates.client_context()
        )
        return RawDevice(reader, writer)

    async def connected(
        self, identity: Identity, *, clean: bool = True, keep_alive: int = 60
    ) -> RawDevice:
        """A raw device that has been let in."""
        device = await self.raw()
        code = await device.connect(
            identity.device_id,
            user_name=self.user_name(identity.device_id),
            password=self.password(identity),
            clean=clean,
            keep_alive=keep_alive,
        )
        assert code == 0
        return device


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is the hub's state
            await asyncio.sleep(0.005)


def text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2) + data


def packet(kind: PacketType, body: bytes = b"", *, flags: int = 0) -> bytes:
    """A packet with a body of up to 16383 bytes."""
    length = len(body)
    digits = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([kind << 4 | flags]) + digits + body


@dataclass
class RawDevice:
    """Writes packets byte by byte and reads what comes back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    session_present: bool = False

    async def connect(
        self,
        client_id: str,
        *,
        user_name: str,
        password: str,
        clean: bool = True,
        keep_alive: int = 60,
        protocol: tuple[str, int] = ("MQTT", 4),
    ) -> int:
        """The code of the CONNACK."""
        flags = 0xC0 | (0x02 if clean else 0)
        head = text(protocol[0]) + bytes([protocol[1], flags]) + keep_alive.to_bytes(2)
        body = head + text(client_id) + text(user_name) + text(password)
        self.send(packet(PacketType.CONNECT, body))
        answer = await self.read()
        assert answer.type is PacketType.CONNACK
        self.session_present = bool(answer.body[0])
        return answer.body[1]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self) -> Packet:
        async with asyncio.timeout(60):
            return await read_packet(self.reader, max_bytes=10**6)

    async def subscribe(self, *filters: str, qos: int = 0) -> list[int]:
        body = b"\x00\x01" + b"".join(text(f) + bytes([qos]) for f in filters)
        self.send(packet(PacketType.SUBSCRIBE, body, flags=2))
        answer = await self.read()
        assert answer.type is PacketType.SUBACK
        return list(answer.body[2:])

    def publish(self, topic: str, payload: bytes = b"", *, qos: int = 0, flags: int = 0) -> None:
        packet_id = b"\x00\x07" if qos else b""
        body = text(topic) + packet_id + payload
        self.send(packet(PacketType.PUBLISH, body, flags=flags | qos << 1))

    async def twin_request(self, topic: str, payload: bytes = b"") -> tuple[str, bytes]:
        """Topic and payload of the answer, for a device that subscribed to answers."""
        self.publish(topic, payload)
        return await self.message()

    async def message(self) -> tuple[str, bytes]:
        """Topic and payload of the next message with QoS 0."""
        answer = await self.read()
        assert answer.type is PacketType.PUBLISH
        length = int.from_bytes(answer.body[:2])
        return answer.body[2 : 2 + length].decode(), answer.body[2 + length :]

    async def is_dropped(self) -> bool:
        """Whether the server ends the connection without another packet."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        self.writer.close()
