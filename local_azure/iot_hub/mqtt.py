"""The hub's MQTT endpoint, where devices read their twins and report properties.

It refuses telemetry, messages to devices and direct methods, which no device here uses.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from local_azure.iot_hub.documents import device_view, parse_object
from local_azure.iot_hub.exceptions import IotHubError, kind_for
from local_azure.iot_hub.models import (
    DesiredPropertiesChanged,
    DeviceDeleted,
    DeviceUpdated,
    HubEvent,
    IotHub,
)
from local_azure.iot_hub.mqtt_access import Access, authenticate
from local_azure.iot_hub.mqtt_packets import (
    Connect,
    ConnectCode,
    MalformedPacket,
    Packet,
    PacketType,
    Publish,
    UnacceptableProtocol,
    decode_connect,
    decode_publish,
    decode_subscribe,
    encode_connack,
    encode_pingresp,
    encode_puback,
    encode_publish,
    encode_suback,
    read_packet,
)
from local_azure.iot_hub.throttles import Throttle
from local_azure.iot_hub.twins import JsonObject, hub_time
from local_azure.kernel import Kernel
from local_azure.kernel.calls import Call
from local_azure.kernel.faults import FaultKind

MAX_PACKET_BYTES = 257 * 1024  # a message of 256 KiB, and its topic
MAX_IDLE_SECONDS = 1767.0  # IoT Hub ends a connection after 29.45 minutes at most
KEEP_ALIVE_GRACE = 1.5
_CONNECT_SECONDS = 30.0
_MAX_UNREAD_BYTES = 1024 * 1024

_TWIN_GET = "$iothub/twin/GET/"
_TWIN_REPORT = "$iothub/twin/PATCH/properties/reported/"
_TWIN_ANSWERS = "$iothub/twin/res/#"
_DESIRED_PATCHES = "$iothub/twin/PATCH/properties/desired/#"

type Subscriptions = dict[str, int]  # topic filter to QoS


class Dropped(Exception):
    """A connection that IoT Hub ends because of an invalid request."""


class BrokenByFault(Exception):
    """A connection that a fault rule breaks."""


@dataclass(frozen=True)
class _Answer:
    """The answer to a call, before it is encoded as a packet."""

    status: int
    properties: str = ""
    payload: bytes = b""


class MqttEndpoint:
    """One hub's MQTT 3.1.1 server, in the event loop of the hub.

    The certificate of a device must be from the kernel's authority, even if it is registered by
    thumbprint: Python's TLS cannot request a certificate and accept any.
    """

    def __init__(
        self,
        kernel: Kernel,
        hub: IotHub,
        *,
        host_name: str,
        keep_alive_grace: float = KEEP_ALIVE_GRACE,
    ) -> None:
        """`host_name` is the hub's name in user names and signatures; its port is ignored."""
        self.kernel = kernel
        self.hub = hub
        self.host_name = host_name
        self.keep_alive_grace = keep_alive_grace
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: dict[str, _Connection] = {}
        self._sessions: dict[str, Subscriptions] = {}
        hub.subscribe(self._on_hub_event)

    async def start(self, host: str, port: int = 8883) -> None:
        """Listen. Device SDKs always use port 8883."""
        self._server = await asyncio.start_server(
            self._accept,
            host,
            port,
            ssl=self.kernel.certificates.server_context(ask_for_client_certificate=True),
            ssl_shutdown_timeout=1.0,
        )

    @property
    def port(self) -> int:
        """The port of a started endpoint."""
        if self._server is None:
            raise RuntimeError("not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        self._server.abort_clients()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def open_session(self, connection: _Connection, connect: Connect) -> tuple[Subscriptions, bool]:
        """Replace the earlier connection of a device.

        Returns the session's subscriptions and whether the session existed.
        """
        client_id = connect.client_id
        earlier = self._connections.get(client_id)
        if earlier is not None:
            earlier.drop()
        self._connections[client_id] = connection
        self.hub.set_connected(client_id, connected=True)
        if connect.clean_session:
            self._sessions.pop(client_id, None)
            return {}, False
        present = client_id in self._sessions
        return self._sessions.setdefault(client_id, {}), present

    def close_session(self, connection: _Connection, client_id: str) -> None:
        """Remove a connection, unless a newer one has replaced it."""
        if self._connections.get(client_id) is connection:
            del self._connections[client_id]
            self.hub.set_connected(client_id, connected=False)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        try:
            await connection.run()
        except BrokenByFault:
            writer.transport.abort()
        except (Dropped, MalformedPacket, EOFError, OSError):
            pass  # MQTT 3.1.1 has no DISCONNECT from the server
        finally:
            connection.drop()

    def _on_hub_event(self, event: HubEvent) -> None:
        match event:
            case DesiredPropertiesChanged(device_id, patch, version, module_id):
                client_id = device_id if module_id is None else f"{device_id}/{module_id}"
                if (connection := self._connections.get(client_id)) is not None:
                    connection.push_desired(patch, version)
            case DeviceDeleted(identity):
                for client_id in [c for c in self._sessions if _is_of(c, identity.device_id)]:
                    del self._sessions[client_id]
                self._drop(identity.device_id)
            case DeviceUpdated(identity) if not identity.enabled:
                self._drop(identity.device_id)

    def _drop(self, device_id: str) -> None:
        """End the connections of a device and its modules."""
        for client_id, connection in list(self._connections.items()):
            if _is_of(client_id, device_id):
                connection.drop()
                self.close_session(connection, client_id)


def _is_of(client_id: str, device_id: str) -> bool:
    return client_id == device_id or client_id.startswith(f"{device_id}/")


class _Connection:
    """The connection of one device or module."""

    def __init__(
        self,
        endpoint: MqttEndpoint,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._endpoint = endpoint
        self._kernel = endpoint.kernel
        self._hub = endpoint.hub
        self._reader = reader
        self._writer = writer
        self._open = True
        self._access = Access(device_id="")
        self._subscriptions: Subscriptions = {}
        self._packet_ids = itertools.cycle(range(1, 2**16))

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            connect = await self._read_connect()
        try:
            await self._authenticate(connect)
            idle_seconds = self._idle_seconds(connect.keep_alive)
            while True:
                async with asyncio.timeout(idle_seconds):
                    packet = await self._read()
                if packet.type is PacketType.DISCONNECT:
                    return
                self._check_access()
                await self._handle(packet)
        finally:
            self._endpoint.close_session(self, connect.client_id)

    def drop(self) -> None:
        """End the connection. Nothing that the device sent takes effect afterwards."""
        self._open = False
        self._writer.close()

    def push_desired(self, patch: JsonObject, version: int) -> None:
        """Send a change of the desired properties to a device that subscribed to them."""
        if self._access.expired(self._kernel.clock.machine_time()):
            self.drop()
            return
        body = json.dumps({**patch, "$version": version}).encode()
        self._publish(_DESIRED_PATCHES, f"?$version={version}", body)

    async def _read(self) -> Packet:
        return await read_packet(self._reader, max_bytes=MAX_PACKET_BYTES)

    async def _read_connect(self) -> Connect:
        packet = await self._read()
        if packet.type is not PacketType.CONNECT:
            raise Dropped("the first packet is not a CONNECT")
        try:
            return decode_connect(packet)
        except UnacceptableProtocol as error:
            await self._send(encode_connack(ConnectCode.UNACCEPTABLE_PROTOCOL))
            raise Dropped("not MQTT 3.1.1") from error

    async def _authenticate(self, connect: Connect) -> None:
        present = False

        def open_session() -> _Answer:
            nonlocal present
            tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
            self._access = authenticate(
                self._hub,
                connect,
                host_name=self._endpoint.host_name,
                certificate=tls.getpeercert(binary_form=True),
                now=self._kernel.clock.machine_time(),
            )
            self._subscriptions, present = self._endpoint.open_session(self, connect)
            return _Answer(200)

        path = f"/devices/{connect.client_id}"
        answer = await self._call("mqtt.connect", path, open_session)
        if answer.status != 200:
            refused_for_good = answer.status in (401, 403)
            code = (
                ConnectCode.NOT_AUTHORIZED if refused_for_good else ConnectCode.SERVER_UNAVAILABLE
            )
            await self._send(encode_connack(code))
            raise Dropped("refused")
        await self._send(encode_connack(ConnectCode.ACCEPTED, session_present=present))

    def _check_access(self) -> None:
        if not self._open or self._access.expired(self._kernel.clock.machine_time()):
            raise Dropped("ended by the hub, or the signature has expired")

    def _idle_seconds(self, keep_alive: int) -> float:
        if keep_alive == 0:
            return MAX_IDLE_SECONDS
        return min(keep_alive * self._endpoint.keep_alive_grace, MAX_IDLE_SECONDS)

    async def _handle(self, packet: Packet) -> None:
        match packet.type:
            case PacketType.PUBLISH:
                await self._on_publish(packet)
            case PacketType.SUBSCRIBE:
                await self._on_subscribe(packet)
            case PacketType.PINGREQ:
                await self._send(encode_pingresp())
            case PacketType.PUBACK:
                pass  # no message is repeated in a connection
            case _:
                raise Dropped("not a packet from a connected device")

    async def _on_subscribe(self, packet: Packet) -> None:
        subscribe = decode_subscribe(packet)
        allowed = {_TWIN_ANSWERS, _DESIRED_PATCHES}
        if any(topic_filter not in allowed for topic_filter, _ in subscribe.filters):
            raise Dropped("not a topic filter for twins")
        granted = [min(qos, 1) for _, qos in subscribe.filters]
        for (topic_filter, _), qos in zip(subscribe.filters, granted, strict=True):
            self._subscriptions[topic_filter] = qos
        await self._send(encode_suback(subscribe.packet_id, granted))

    async def _on_publish(self, packet: Packet) -> None:
        message = decode_publish(packet)
        if message.qos > 1:
            raise Dropped("IoT Hub has no QoS 2")
        act = self._action_for(message)
        if message.packet_id is not None:
            await self._send(encode_puback(message.packet_id))
        await act()

    def _action_for(self, message: Publish) -> Callable[[], Awaitable[None]]:
        path, _, query = message.topic.partition("?")
        if path in (_TWIN_GET, _TWIN_REPORT):
            request_id = _request_id(query)
            if path == _TWIN_GET:
                return lambda: self._answer_twin("mqtt.twin.get", request_id, self._read_twin)
            return lambda: self._answer_twin(
                "mqtt.twin.reported", request_id, lambda: self._report(message.payload)
            )
        raise Dropped("not a topic for twins")

    async def _answer_twin(
        self, operation: str, request_id: str, serve: Callable[[], _Answer]
    ) -> None:
        answer = await self._call(operation, f"/twins/{self._access.device_id}", serve)
        tail = f"{answer.status}/?$rid={request_id}{answer.properties}"
        self._publish(_TWIN_ANSWERS, tail, answer.payload)
        await self._drain()

    def _read_twin(self) -> _Answer:
        self._hub.throttles.spend(Throttle.TWIN_READ)
        access = self._access
        if access.module_id is None:
            twin = self._hub.twin(access.device_id)
        else:
            twin = self._hub.module_twin(access.device_id, access.module_id)
        return _Answer(200, payload=json.dumps(device_view(twin)).encode())

    def _report(self, payload: bytes) -> _Answer:
        self._hub.throttles.spend(Throttle.TWIN_UPDATE)
        reported = self._hub.report(
            self._access.device_id, parse_object(payload), module_id=self._access.module_id
        )
        return _Answer(204, properties=f"&$version={reported.version}")

    async def _call(self, operation: str, path: str, serve: Callable[[], _Answer]) -> _Answer:
        """One call with the kernel's latency, faults and call count."""
        status = 0  # if there is no answer
        try:
            async with self._kernel.latency(f"iotHub.{operation}"):
                answer = await self._serve_or_fail(operation, serve)
            status = answer.status
            return answer
        finally:
            self._kernel.calls.add(Call("iotHub", operation, "MQTT", path, status))

    async def _serve_or_fail(self, operation: str, serve: Callable[[], _Answer]) -> _Answer:
        fault = self._kernel.faults.next_for(f"iotHub.{operation}")
        if fault is not None:
            if fault.kind is FaultKind.DELAY:
                await asyncio.sleep(fault.seconds)
            elif fault.kind is FaultKind.RESET:
                raise BrokenByFault
            elif fault.kind is FaultKind.STATUS:
                kind = kind_for(status=fault.status, code=fault.code)
                return self._refused(IotHubError(kind, "A fault rule applies."))
        self._check_access()
        try:
            answer = serve()
        except IotHubError as error:
            answer = self._refused(error)
        if fault is not None and fault.kind is FaultKind.ANSWER_LOST:
            raise BrokenByFault
        return answer

    def _refused(self, error: IotHubError) -> _Answer:
        body = {
            "errorCode": error.kind.number,
            "message": error.message,
            "trackingId": f"{self._kernel.random.getrandbits(128):032x}",
            "timestampUtc": hub_time(self._kernel.clock.now()),
        }
        return _Answer(error.kind.status, payload=json.dumps(body).encode())

    def _publish(self, topic_filter: str, tail: str, payload: bytes) -> None:
        """Send to a subscription with a filter `…/#`, if there is one."""
        qos = self._subscriptions.get(topic_filter)
        if qos is None:
            return
        packet_id = next(self._packet_ids) if qos else None
        topic = topic_filter.removesuffix("#") + tail
        self._writer.write(encode_publish(Publish(topic, payload, qos, packet_id)))
        if self._writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self._writer.transport.abort()

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._drain()

    async def _drain(self) -> None:
        # A device may disconnect before it reads its answer, which is not an error.
        if not self._writer.is_closing():
            await self._writer.drain()


def _request_id(query: str) -> str:
    """The encoded `$rid`, which the answer repeats. Raises Dropped without one."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote(name) == "$rid" and value:
            return value
    raise Dropped("a twin request without $rid")
