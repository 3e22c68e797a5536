"""The worker process: Microsoft's Python worker, called as Azure's host calls it.

Only this module imports it. Its registry of functions is global to the process: one app per
process. `python -m local_azure.functions_host.python_worker N` speaks on the socket with the file
descriptor N. It outlives a host that is killed until what runs in it has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

from local_azure.functions_host import protos
from local_azure.functions_host.functions import (
    AppRejected,
    Binding,
    Failed,
    Function,
    Succeeded,
)
from local_azure.functions_host.logs import log_to_stderr
from local_azure.functions_host.process_clock import ProcessClock
from local_azure.functions_host.protos import ParameterBinding, RpcHttp, StatusResult, TypedData
from local_azure.functions_host.worker_messages import (
    Ended,
    Invoke,
    Load,
    Loaded,
    MoveClock,
    Rejected,
    read_message,
    write_message,
)


def main() -> None:
    """Serve the host until it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which drains first
    log_to_stderr()
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
    # As on Azure, where an app has no hook for clean-up: threads cannot be ended, and each open
    # connection of the app would log a warning.
    logging.shutdown()
    os._exit(0)


async def _serve(channel: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    load = await read_message(reader)
    if not isinstance(load, Load):
        return
    clock = ProcessClock()
    clock.move(load.clock_ahead)
    sys.path.insert(0, str(load.app_folder))
    try:
        functions = await _load(load.app_folder)
    except AppRejected as refusal:
        write_message(writer, Rejected(str(refusal), refusal.stack_trace))
        await writer.drain()
        return
    write_message(writer, Loaded(functions))
    running: set[asyncio.Task[None]] = set()
    while (message := await read_message(reader)) is not None:
        if isinstance(message, Invoke):
            task = asyncio.create_task(_invoke(message, writer))
            running.add(task)
            task.add_done_callback(running.discard)
        elif isinstance(message, MoveClock):
            clock.move(message.ahead)
            write_message(writer, message)
    if running:
        await asyncio.wait(running)


async def _load(app_folder: Path) -> tuple[Function, ...]:
    """Index and load the app. Raises AppRejected."""
    runtime.start_threadpool_executor()
    answer = await runtime.worker_init_request(
        _request(
            worker_init_request=SimpleNamespace(
                capabilities={}, function_app_directory=str(app_folder)
            )
        )
    )
    _raise_if_failed(answer.result)
    if "HttpUri" in answer.capabilities:
        raise AppRejected("HTTP streaming (an HTTP v2 extension) is not served by this host")
    indexed = await runtime.functions_metadata_request(_request())
    _raise_if_failed(indexed.result)
    if not indexed.function_metadata_results:
        raise AppRejected(f"no functions found in {app_folder / 'function_app.py'}")
    functions = tuple(_function(metadata) for metadata in indexed.function_metadata_results)
    for function in functions:
        load = SimpleNamespace(function_id=function.id)
        loaded = await runtime.function_load_request(_request(function_load_request=load))
        _raise_if_failed(loaded.result)
    return functions


async def _invoke(message: Invoke, writer: asyncio.StreamWriter) -> None:
    invocation = SimpleNamespace(
        invocation_id=message.invocation_id,
        function_id=message.function_id,
        input_data=[ParameterBinding(message.trigger_name, message.data)],
        trigger_metadata=message.metadata,
        trace_context=SimpleNamespace(
            trace_parent=message.trace_parent, trace_state="", attributes={}
        ),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await runtime.invocation_request(_request(invocation_request=invocation))
    result: Succeeded | Failed
    if answer.result.status != StatusResult.Success:
        raised = answer.result.exception
        result = Failed(raised.message, raised.stack_trace)
    else:
        try:
            outputs = {output.name: _plain(output.data) for output in answer.output_data}
            value = None if answer.return_value is None else _plain(answer.return_value)
            result = Succeeded(value, outputs)
        except TypeError as error:
            result = Failed(f"TypeError: {error}")
    if not writer.is_closing():
        write_message(writer, Ended(message.invocation_id, result))


def _request(**parts: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        request=SimpleNamespace(**parts), properties={"protos": protos, "host": "127.0.0.1"}
    )


def _raise_if_failed(result: StatusResult) -> None:
    if result.status == StatusResult.Success:
        return
    raised = result.exception or SimpleNamespace(message="no reason given", stack_trace="")
    raise AppRejected(raised.message, raised.stack_trace)


def _function(metadata: protos.RpcFunctionMetadata) -> Function:
    documents = [json.loads(text) for text in metadata.raw_bindings]
    return Function(
        name=metadata.name,
        id=metadata.function_id,
        bindings=tuple(Binding(d["name"], d["type"], d) for d in documents),
    )


def _plain(data: TypedData) -> TypedData:
    """The same without types of the app, as protobuf would hold it. Raises TypeError."""
    http = data.http
    return TypedData(
        string=_text(data.string),
        bytes=None if data.bytes is None else bytes(data.bytes),
        json=_text(data.json),
        http=http
        and RpcHttp(
            headers={_text(name): _text(value) for name, value in http.headers.items()},
            body=_plain(http.body),
            status_code=_text(http.status_code),
            cookies=http.cookies,  # the worker made them of its own types
        ),
    )


def _text(value: Any) -> Any:  # noqa: ANN401 - the app's
    return None if value is None else "".join((value,))


if __name__ == "__main__":
    main()
