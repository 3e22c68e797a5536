"""Microsoft's Python worker, called as Azure's host calls it. Only this module imports it.

The worker's registry of functions is global to the process: one app per process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import azure_functions_runtime as runtime

from local_azure.functions_host import protos
from local_azure.functions_host.protos import ParameterBinding, StatusResult, TypedData


class AppRejected(Exception):
    """An app that cannot be served, with the stack trace where the worker gave one."""

    def __init__(self, message: str, stack_trace: str = "") -> None:
        super().__init__(message)
        self.stack_trace = stack_trace


@dataclass(frozen=True)
class Binding:
    """A trigger, input or output of a function. `settings` are its properties as declared."""

    name: str
    type: str
    settings: Mapping[str, Any]

    @property
    def is_trigger(self) -> bool:
        """Whether this starts the function."""
        return self.type.lower().endswith("trigger")


@dataclass(frozen=True)
class Function:
    """A function of the app."""

    name: str
    id: str
    bindings: tuple[Binding, ...]

    @property
    def trigger(self) -> Binding:
        """What starts it. The programming model lets no function have none or two."""
        return next(binding for binding in self.bindings if binding.is_trigger)


@dataclass(frozen=True)
class Succeeded:
    """The return value of a function, None without one."""

    value: TypedData | None = None


@dataclass(frozen=True)
class Failed:
    """The exception that ended an invocation: `Type: text`, and its stack."""

    message: str
    stack_trace: str


class PythonWorker:
    """An app that was indexed and can be invoked."""

    def __init__(self, functions: tuple[Function, ...]) -> None:
        self.functions = functions

    @classmethod
    async def start(cls, app_folder: Path) -> Self:
        """Index and load the app, whose folder must be on sys.path. Raises AppRejected."""
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
        return cls(functions)

    async def invoke(
        self,
        function: Function,
        *,
        invocation_id: str,
        trace_parent: str,
        data: TypedData,
        metadata: Mapping[str, TypedData],
    ) -> Succeeded | Failed:
        """Run a function once. `data` is the trigger's value, `metadata` what came with it."""
        invocation = SimpleNamespace(
            invocation_id=invocation_id,
            function_id=function.id,
            input_data=[ParameterBinding(function.trigger.name, data)],
            trigger_metadata=metadata,
            trace_context=SimpleNamespace(trace_parent=trace_parent, trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        answer = await runtime.invocation_request(_request(invocation_request=invocation))
        if answer.result.status != StatusResult.Success:
            raised = answer.result.exception
            return Failed(raised.message, raised.stack_trace)
        return Succeeded(answer.return_value)

    def stop(self) -> None:
        """End the threads of functions that are not coroutines, after what they are doing."""
        runtime.stop_threadpool_executor()


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
