"""A host: one app with its listeners and endpoints, from start to stop."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol, Self

from aiohttp import web

from local_azure.functions_host.admin import AdminEndpoint
from local_azure.functions_host.event_grid import EventGridWebhook
from local_azure.functions_host.host_json import HostJson, read_host_json
from local_azure.functions_host.host_storage import HostStorage
from local_azure.functions_host.http_server import HttpTriggers, methods_of, route_of
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import HostKeys
from local_azure.functions_host.queue_listener import QueueListener
from local_azure.functions_host.settings import HOST_STORAGE, AppSettings
from local_azure.functions_host.storage import StorageAccount
from local_azure.functions_host.timers import Schedule, TimerListener
from local_azure.functions_host.worker import AppRejected, Function, PythonWorker
from local_azure.kernel.clock import Clock

_LOG = logging.getLogger("functions_host")
_LARGEST_BODY = 100 * 2**20  # bytes; Azure's limit of a request
_BINDINGS = ("httpTrigger", "queueTrigger", "timerTrigger", "eventGridTrigger", "http")


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
    instance_id: str
    grace_seconds: float


class FunctionsHost:
    """Runs one app. It is started once; a process can hold no second one."""

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
        self._invoker = Invoker(worker)
        self._listeners = self._create_listeners()
        self._listening: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            self._create_application(), shutdown_timeout=options.grace_seconds, access_log=None
        )

    @classmethod
    async def load(cls, options: HostOptions, settings: AppSettings, *, clock: Clock) -> Self:
        """Read host.json and have the worker index the app. Nothing of it runs yet.

        Raises AppRejected, HostJsonInvalid, SettingMissing, InvalidRoute, InvalidSchedule.
        """
        host_json = read_host_json(options.app_folder, settings)
        worker = await PythonWorker.start(options.app_folder)
        for function in worker.functions:
            check_served(function)
        return cls(
            options=options, settings=settings, host_json=host_json, worker=worker, clock=clock
        )

    async def start(self) -> str:
        """Serve the app; the address. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.address, self._options.port).start()
        self._listening = [asyncio.create_task(x.run(self._stopping)) for x in self._listeners]
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def until_a_listener_breaks(self) -> None:
        """Never return, or raise what ended a listener."""
        if not self._listening:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._listening, return_when=asyncio.FIRST_EXCEPTION)
        for listener in done:
            listener.result()

    async def stop(self) -> bool:
        """Take no more work and let what runs end. False when the grace time was too short."""
        self._stopping.set()
        async with asyncio.TaskGroup() as closing:
            closing.create_task(self._runner.cleanup())
            drained = closing.create_task(self._drain())
        await self._storage.close()
        if drained.result():
            self._worker.stop()
        return drained.result()

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

    async def _drain(self) -> bool:
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
            storage = HostStorage(service=self._storage.blobs, host_id=self._host_id())
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

    def _create_application(self) -> web.Application:
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
            functions=self._worker.functions,
            keys=keys,
            invoker=self._invoker,
            running=self._running,
        )

        async def dispatch(request: web.Request) -> web.Response:
            path = request.path.lower()
            if path.startswith("/admin/"):
                return await admin.handle(request)
            if path == "/runtime/webhooks/eventgrid":
                return await event_grid.handle(request)
            return await http.handle(request)

        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", r"/{path:[\s\S]*}", dispatch)
        return application

    def _host_id(self) -> str:
        """Hosts with the same id share their timers. Unless it is set, one for each folder."""
        folder = hashlib.sha256(str(self._options.app_folder).encode()).hexdigest()
        given = self._settings.get("AzureFunctionsWebHost__hostid") or f"local-{folder[:16]}"
        return re.sub(r"[^a-z0-9-]", "-", given.lower())[:32]


def check_served(function: Function) -> None:
    """Refuse what this host would have to leave out silently. Raises AppRejected."""
    for binding in function.bindings:
        if binding.type not in _BINDINGS:
            served = ", ".join(_BINDINGS)
            raise AppRejected(f"{function.name} uses {binding.type}; this host serves {served}")
        if (connection := binding.settings.get("connection", HOST_STORAGE)) != HOST_STORAGE:
            raise AppRejected(
                f"{function.name} uses the connection {connection}; this host serves {HOST_STORAGE}"
            )
        if any("%" in str(binding.settings.get(name)) for name in ("queueName", "schedule")):
            raise AppRejected(f"{function.name} has a placeholder, which this host does not fill")
