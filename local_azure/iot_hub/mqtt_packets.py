"""The MQTT 3.1.1 packets of a server for twins (OASIS, 29 October 2014)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum


class MalformedPacket(Exception):
    """Bytes that are not an MQTT 3.1.1 packet, or too large a packet."""


class UnacceptableProtocol(Exception):
    """A CONNECT of another version of MQTT, which has its own answer."""


class PacketType(IntEnum):
    """The upper half of a packet's first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ConnectCode(IntEnum):
    """Answers to CONNECT."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL = 1
    SERVER_UNAVAILABLE = 3
    NOT_AUTHORIZED = 5


@dataclass(frozen=True)
class Packet:
    """One packet before its body is read."""

    type: PacketType
    flags: int
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Connect:
    """A CONNECT. Its will is ignored: nobody could receive it."""

    client_id: str
    clean_session: bool
    keep_alive: int  # seconds; 0 means no limit
    user_name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Publish:
    """A PUBLISH of either side. It has a packet id only with QoS 1."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    packet_id: int | None = None


@dataclass(frozen=True)
class Subscribe:
    """Topic filters with the requested QoS each."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


async def read_packet(reader: asyncio.StreamReader, *, max_bytes: int) -> Packet:
    """The next packet. Raises MalformedPacket, and EOFError at the end of the stream."""
    first = (await reader.readexactly(1))[0]
    length = await _read_length(reader)
    if length > max_bytes:
        raise MalformedPacket("too large a packet")
    try:
        kind = PacketType(first >> 4)
    except ValueError as error:
        raise MalformedPacket("an unsupported packet type") from error
    flags = first & 0x0F
    if kind is not PacketType.PUBLISH and flags != _required_flags(kind):
        raise MalformedPacket("reserved flags are set")
    return Packet(kind, flags, await reader.readexactly(length))


def decode_connect(packet: Packet) -> Connect:
    """Raises MalformedPacket, and UnacceptableProtocol for anything but MQTT 3.1.1."""
    fields = _Fields(packet.body)
    if (fields.text(), fields.byte()) != ("MQTT", 4):
        raise UnacceptableProtocol("not MQTT 3.1.1")
    flags = fields.byte()
    keep_alive = fields.number()
    client_id = fields.text()
    if flags & 0x04:
        fields.text()
        fields.blob()
    connect = Connect(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keep_alive=keep_alive,
        user_name=fields.text() if flags & 0x80 else "",
        password=fields.text() if flags & 0x40 else "",
    )
    fields.end()
    return connect


def decode_publish(packet: Packet) -> Publish:
    """Raises MalformedPacket."""
    qos = packet.flags >> 1 & 0x03
    if qos == 3:
        raise MalformedPacket("there is no QoS 3")
    fields = _Fields(packet.body)
    topic = fields.text()
    if not topic or "+" in topic or "#" in topic:
        raise MalformedPacket("a topic to publish to has no wildcards")
    packet_id = fields.packet_id() if qos else None
    return Publish(topic, fields.rest(), qos, packet_id)


def decode_subscribe(packet: Packet) -> Subscribe:
    """Raises MalformedPacket."""
    fields = _Fields(packet.body)
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while not filters or fields.left:
        topic, qos = fields.text(), fields.byte()
        if qos > 2:
            raise MalformedPacket("there are QoS 0 to 2")
        filters.append((topic, qos))
    return Subscribe(packet_id, tuple(filters))


def encode_connack(code: ConnectCode, *, session_present: bool = False) -> bytes:
    """The answer to CONNECT."""
    return _encode(PacketType.CONNACK, bytes([session_present, code]))


def encode_publish(message: Publish) -> bytes:
    """A message to a device."""
    topic = message.topic.encode()
    packet_id = b"" if message.packet_id is None else message.packet_id.to_bytes(2)
    body = len(topic).to_bytes(2) + topic + packet_id + message.payload
    return _encode(PacketType.PUBLISH, body, flags=message.qos << 1)


def encode_puback(packet_id: int) -> bytes:
    """The answer to a PUBLISH with QoS 1."""
    return _encode(PacketType.PUBACK, packet_id.to_bytes(2))


def encode_suback(packet_id: int, granted: list[int]) -> bytes:
    """The answer to SUBSCRIBE: the QoS granted to each filter."""
    return _encode(PacketType.SUBACK, packet_id.to_bytes(2) + bytes(granted))


def encode_pingresp() -> bytes:
    """The answer to PINGREQ."""
    return _encode(PacketType.PINGRESP, b"")


async def _read_length(reader: asyncio.StreamReader) -> int:
    length = 0
    for place in range(4):
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << 7 * place
        if not digit & 0x80:
            return length
    raise MalformedPacket("a length has at most four digits")


def _required_flags(kind: PacketType) -> int:
    return 2 if kind is PacketType.SUBSCRIBE else 0


def _encode(kind: PacketType, body: bytes, *, flags: int = 0) -> bytes:
    digits = bytearray()
    length = len(body)
    while not digits or length:
        length, digit = length >> 7, length & 0x7F
        digits.append(digit | 0x80 if length else digit)
    return bytes([kind << 4 | flags]) + digits + body


class _Fields:
    """A body, read from its front. Everything here raises MalformedPacket where it ends."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self._take(2))

    def packet_id(self) -> int:
        packet_id = self.number()
        if packet_id == 0:
            raise MalformedPacket("a packet id is not 0")
        return packet_id

    def blob(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        try:
            text = self.blob().decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket("a text is not UTF-8") from error
        if "\0" in text:
            raise MalformedPacket("a text holds the null character")
        return text

    def rest(self) -> bytes:
        return self._take(self.left)

    def end(self) -> None:
        if self.left:
            raise MalformedPacket("bytes are left over")

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise MalformedPacket("the packet ends too early")
        taken = self._body[self._at : self._at + count]
        self._at += count
        return taken
