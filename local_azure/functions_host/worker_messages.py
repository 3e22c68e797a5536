"""What the host and its worker process say to each other, on a socket that both inherit."""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_azure.functions_host.functions import Failed, Function, Succeeded
from local_azure.functions_host.protos import TypedData

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, kw_only=True)
class Load:
    """To the worker, first: index and load an app, `clock_ahead` seconds from now."""

    app_folder: Path
    clock_ahead: float


@dataclass(frozen=True)
class Loaded:
    """From the worker: the app's functions."""

    functions: tuple[Function, ...]


@dataclass(frozen=True)
class Rejected:
    """From the worker, which then ends: why the app cannot be served."""

    message: str
    stack_trace: str


@dataclass(frozen=True, kw_only=True)
class Invoke:
    """To the worker: run a function. `data` is the trigger's value, `metadata` came with it."""

    invocation_id: str
    function_id: str
    trigger_name: str
    trace_parent: str
    data: TypedData
    metadata: Mapping[str, TypedData]


@dataclass(frozen=True)
class Ended:
    """From the worker: how an invocation ended."""

    invocation_id: str
    result: Succeeded | Failed


@dataclass(frozen=True)
class MoveClock:
    """To the worker: be so many seconds ahead. It sends the same back when it is."""

    ahead: float


type Message = Load | Loaded | Rejected | Invoke | Ended | MoveClock


def write_message(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message."""
    data = pickle.dumps(message)
    writer.write(_LENGTH.pack(len(data)) + data)


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other process has gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: Message = pickle.loads(await reader.readexactly(length))  # noqa: S301 - only the two processes have the socket
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message
