"""A TCP proxy that cuts answers and requests in the middle, stalls, and drips.

Toxiproxy is a server in Go, and PyPI has only clients of it; the proxies there cannot do harm.
This one works below TLS, so clients see what a broken network shows them: half a record.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.hostile import in_weather
from tests.chaos.lab import Lab
from tests.chaos.real_crashes import own_lab
from tests.chaos.tally import Chaos

CASES = 60
_SHARES = (0.03, 0.1, 0.25)
_CHUNK = 64 * 1024
_STALLS = (0.2, 1.5)
_DRIPS = (1, 40)
_DRIPPED = 400
"""Bytes that come in drips; the rest of an answer comes at once, or a run has no end."""


class Toxic(StrEnum):
    """What becomes of an exchange."""

    CUT_REQUEST = "cut in the request"
    CUT_ANSWER = "cut in the answer"
    CLOSED_ANSWER = "closed in the answer"
    STALL = "stalled answer"
    DRIP = "dripping answer"


@dataclass
class ToxicWire:
    """Whatever passes through it meets trouble at a share of the exchanges, by chance."""

    chance: random.Random
    share: float = 0.0
    met: Counter[str] = field(default_factory=Counter)

    def next(self) -> Toxic | None:
        """What the next exchange meets, if anything."""
        if self.chance.random() >= self.share:
            return None
        toxic = self.chance.choice(tuple(Toxic))
        self.met[toxic.value] += 1
        return toxic

    @asynccontextmanager
    async def between(
        self, listening: socket.socket, address: str, port: int
    ) -> AsyncIterator[None]:
        """Pass what comes to a listening socket on to a port, and back."""
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                with suppress(OSError):
                    service = await asyncio.open_connection(address, port)
                    await _Connection(self, (reader, writer), service).run()
            finally:
                connections.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(accept, sock=listening)
        try:
            yield
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


type _Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One connection. Bytes after those of the other side begin another exchange."""

    def __init__(self, wire: ToxicWire, client: _Ends, service: _Ends) -> None:
        self._wire = wire
        self._client = client
        self._service = service
        self._toxic: Toxic | None = None
        self._answering = True

    async def run(self) -> None:
        """Pass on both ways until one side has ended."""
        there = asyncio.create_task(self._requests())
        back = asyncio.create_task(self._answers())
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            self._service[1].transport.abort()

    async def _requests(self) -> None:
        reader, writer = self._client[0], self._service[1]
        while data := await reader.read(_CHUNK):
            if self._answering:
                self._answering, self._toxic = False, self._wire.next()
            if self._toxic is Toxic.CUT_REQUEST:
                writer.write(data[: self._wire.chance.randrange(len(data))])
                await writer.drain()
                self._reset()
                return
            writer.write(data)
            await writer.drain()

    async def _answers(self) -> None:
        reader, writer = self._service[0], self._client[1]
        while data := await reader.read(_CHUNK):
            self._answering = True
            toxic, self._toxic = self._toxic, None
            sent = await self._harmed(toxic, data, writer)
            if toxic in (Toxic.CUT_ANSWER, Toxic.CLOSED_ANSWER):
                return
            writer.write(data[sent:])
            await writer.drain()

    async def _harmed(self, toxic: Toxic | None, data: bytes, writer: asyncio.StreamWriter) -> int:
        """Do harm to an answer; returns how many of its bytes were sent."""
        chance = self._wire.chance
        match toxic:
            case Toxic.CUT_ANSWER | Toxic.CLOSED_ANSWER:
                writer.write(data[: chance.randrange(len(data))])
                await writer.drain()
                if toxic is Toxic.CUT_ANSWER:
                    self._reset()
                else:
                    writer.close()
                return len(data)
            case Toxic.STALL:
                half = chance.randrange(len(data))
                writer.write(data[:half])
                await asyncio.sleep(chance.uniform(*_STALLS))
                return half
            case Toxic.DRIP:
                sent = 0
                while sent < min(len(data), _DRIPPED):
                    drop = data[sent : sent + chance.randint(*_DRIPS)]
                    writer.write(drop)
                    await writer.drain()
                    await asyncio.sleep(0)
                    sent += len(drop)
                return sent
            case _:
                return 0

    def _reset(self) -> None:
        """Close the client's side with RST."""
        found = self._client[1].get_extra_info("socket")
        if found is not None:
            with suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client[1].transport.abort()


async def toxic_wire(chaos: Chaos) -> None:
    """Each scenario again and again, over a wire that does harm."""
    wire = ToxicWire(chaos.chance("wire"))

    @contextmanager
    def rough(_: Lab, chance: random.Random) -> Iterator[Counter[str]]:
        wire.chance, wire.share, wire.met = chance, chance.choice(_SHARES), Counter()
        try:
            yield wire.met
        finally:
            wire.share = 0.0

    async with own_lab(chaos, wire=wire) as lab:
        await in_weather(chaos, lab, chaos.some(range(CASES), name="wire"), rough)
