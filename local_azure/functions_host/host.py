"""A host: one app with its listeners and endpoints, from start to stop."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol, Self

from local_azure.functions_host.admin import AdminEndpoint, DrainState
from local_azure.functions_host.event_grid import PATH as EVENT_GRID_PATH
from local_azure.functions_host.event_grid import EventGridWebhook
from local_azure.functions_host.functions import AppRejected, Function
from local_azure.functions_host.host_json import HostJson, HostJsonInvalid, read_host_json
from local_azure.functions_host.host_storage import HostStorage
from local_azure.functions_host.http_messages import Request, Response
from local_azure.functions_host.http_routes import InvalidRoute
from local_azure.functions_host.http_server import HttpServer
from local_azure.functions_host.http_triggers import HttpTriggers, methods_of, route_of
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import HostKeys
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_listener import QueueListener
from local_azure.functions_host.queue_outputs import QueueOutputs
from local_azure.functions_host.settings import HOST_STORAGE, AppSettings, SettingMissing
from local_azure.functions_host.storage import StorageAccount
from local_azure.functions_host.timers import (
    InvalidSchedule,
    Schedule,
    TimerListener,
    timer_name,
    timer_payload,
)
from local_azure.functions_host.worker import PythonWorker
from local_azure.kernel.clock import Clock

_OUTPUTS = ("http", "queue")
_BINDINGS = ("httpTrigger", "queueTrigger", "timerTrigger", "eventGridTrigger", *_OUTPUTS)
_PAGE = b"<!DOCTYPE html><title>Functions host</title><p>The function app is running.</p>\n"
_START_PAGE = Response(200, {"Content-Type": "text/html", "Content-Length": str(len(_PAGE))}, _PAGE)

# Why an app cannot be served, or not now.
REFUSALS = (AppRejected, HostJsonInvalid, InvalidRoute, InvalidSchedule, SettingMissing, OSError)


class Listener(Protocol):
    """Starts functions by itself."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set. An exception is a defect and ends the host."""
        ...


@dataclass(frozen=True)
class HostOptions:
    """Where an app is and how to run it."""

    app_folder: Path
    address: str
    port: int  # 0: any that is free
    grace_seconds: float


class FunctionsHost:
    """Runs one app. It is started once."""

    def __init__(
        self,
        *,
        options: HostOptions,
        settings: AppSettings,
        host_json: HostJson,
        worker: PythonWorker,
        clock: Clock,
    ) -> None:
        self._options = options
        self._settings = settings
        self._host_json = host_json
        self._worker = worker
        self._clock = clock
        self._storage = StorageAccount(settings)
        self._running = RunningTasks()
        self._invoker = Invoker(
            worker,
            outputs=QueueOutputs(self._storage),
            function_timeout=host_json.function_timeout,
        )
        self._listeners = self._create_listeners()
        self._listening: list[asyncio.Task[None]] = []
        self._keeping_worker: asyncio.Task[None]
        self._draining = asyncio.Event()
        self._server = HttpServer(self._create_dispatcher())

    @classmethod
    async def load(
        cls, options: HostOptions, settings: AppSettings, worker: PythonWorker, *, clock: Clock
    ) -> Self:
        """Read host.json and wait for the worker, which indexes the app. Nothing of it runs yet.

        Raises one of REFUSALS.
        """
        host_json = read_host_json(options.app_folder, settings)
        await worker.load()
        for function in worker.functions:
            check_served(function)
        return cls(
            options=options, settings=settings, host_json=host_json, worker=worker, clock=clock
        )

    async def start(self) -> str:
        """Serve the app; the address. Raises OSError when the port is taken."""
        host, port = await self._server.start(self._options.address, self._options.port)
        self._keeping_worker = asyncio.create_task(self._worker.keep_running())
        self._listening = [asyncio.create_task(x.run(self._draining)) for x in self._listeners]
        return f"http://{host}:{port}"

    async def until_broken(self) -> None:
        """Never return, or raise what ended a listener or keeps the worker from coming back."""
        tasks = (*self._listening, self._keeping_worker)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def drain(self) -> None:
        """Take no further message or timer; HTTP is served all the while."""
        self._draining.set()

    @property
    def drain_state(self) -> DrainState:
        """Whether it drains, and whether what ran has ended."""
        if not self._draining.is_set():
            return DrainState.DISABLED
        return DrainState.IN_PROGRESS if self._invoker.under_way else DrainState.COMPLETED

    async def stop(self) -> bool:
        """Drain, and take no more requests. False when the grace time was too short."""
        self.drain()
        async with asyncio.TaskGroup() as closing:
            served = closing.create_task(self._server.stop(self._options.grace_seconds))
            drained = closing.create_task(self._until_drained())
        self._keeping_worker.cancel()
        await self._storage.close()
        return served.result() and drained.result()

    def describe(self) -> list[dict[str, Any]]:
        """Each function with its trigger and, for HTTP, its route and methods."""
        described: list[dict[str, Any]] = []
        for function in self._worker.functions:
            one: dict[str, Any] = {"name": function.name, "trigger": function.trigger.type}
            if function.trigger.type == "httpTrigger":
                one["route"] = f"/{route_of(function, self._route_prefix)}"
                one["methods"] = sorted(methods_of(function)) or "any"
            described.append(one)
        return described

    async def _until_drained(self) -> bool:
        deadline = time.monotonic() + self._options.grace_seconds
        if self._listening:
            _, late = await asyncio.wait(self._listening, timeout=self._options.grace_seconds)
            for listener in late:
                listener.cancel()
        return await self._running.drain(max(0.0, deadline - time.monotonic()))

    @property
    def _route_prefix(self) -> str:
        return self._host_json.extensions.http.route_prefix

    def _of(self, trigger_type: str) -> list[Function]:
        return [
            function
            for function in self._worker.functions
            if function.trigger.type == trigger_type
            and not self._settings.is_disabled(function.name)
        ]

    def _create_listeners(self) -> list[Listener]:
        chance = Random()  # noqa: S311 - chance, not secrets
        listeners: list[Listener] = [
            QueueListener(
                function=function,
                queue_name=function.trigger.settings["queueName"],
                service=self._storage.queues,
                options=self._host_json.extensions.queues,
                invoker=self._invoker,
                running=self._running,
                random=chance,
            )
            for function in self._of("queueTrigger")
        ]
        if timers := self._of("timerTrigger"):
            storage = self._host_storage()
            listeners.extend(
                TimerListener(
                    function=function,
                    schedule=Schedule(function.trigger.settings["schedule"]),
                    storage=storage,
                    options=self._host_json.singleton,
                    invoker=self._invoker,
                    running=self._running,
                    clock=self._clock,
                )
                for function in timers
            )
        return listeners

    def _create_dispatcher(self) -> Callable[[Request], Awaitable[Response]]:
        keys = HostKeys.from_settings(self._settings)
        http = HttpTriggers(
            functions=self._of("httpTrigger"),
            route_prefix=self._route_prefix,
            keys=keys,
            invoker=self._invoker,
        )
        event_grid = EventGridWebhook(
            functions=self._of("eventGridTrigger"), keys=keys, invoker=self._invoker
        )
        admin = AdminEndpoint(
            host=self,
            functions=self._worker.functions,
            keys=keys,
            invoker=self._invoker,
            running=self._running,
            timer_value=self._timer_value,
        )

        async def dispatch(request: Request) -> Response:
            path = request.path.lower()
            if path.startswith("/admin/"):
                return await admin.handle(request)
            if path == EVENT_GRID_PATH:
                return await event_grid.handle(request)
            if path == "/" and request.method in ("GET", "HEAD"):
                return _START_PAGE
            return await http.handle(request)

        return dispatch

    async def _timer_value(self, function: Function) -> TypedData:
        """What a timer gets that an administrator runs: its schedule as recorded."""
        status = await self._host_storage().read_status(timer_name(function))
        return timer_payload(status, past_due=False)

    def _host_storage(self) -> HostStorage:
        return HostStorage(service=self._storage.blobs, host_id=self._host_id())

    def _host_id(self) -> str:
        """Hosts with the same id share their timers. Unless it is set, one for each folder."""
        folder = hashlib.sha256(str(self._options.app_folder).encode()).hexdigest()
        given = self._settings.get("AzureFunctionsWebHost__hostid") or f"local-{folder[:16]}"
        return re.sub(r"[^a-z0-9-]", "-", given.lower())[:32]


def check_served(function: Function) -> None:
    """Refuse what this host would have to leave out silently. Raises AppRejected."""
    for binding in function.bindings:
        is_output = str(binding.settings.get("direction", "OUT")).upper() == "OUT"
        if binding.type not in _BINDINGS or (binding.type in _OUTPUTS and not is_output):
            served = ", ".join(_BINDINGS)
            raise AppRejected(f"{function.name} uses {binding.type}; this host serves {served}")
        if (connection := binding.settings.get("connection", HOST_STORAGE)) != HOST_STORAGE:
            raise AppRejected(
                f"{function.name} uses the connection {connection}; this host serves {HOST_STORAGE}"
            )
        if any("%" in str(binding.settings.get(name)) for name in ("queueName", "schedule")):
            raise AppRejected(f"{function.name} has a placeholder, which this host does not fill")
