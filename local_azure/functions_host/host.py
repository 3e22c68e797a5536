"""A host: one app with everything around it, from start to stop."""

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
from uuid import uuid4

from aiohttp import web

from local_azure.functions_host.admin import AdminEndpoints, HostIdentity
from local_azure.functions_host.event_grid import EventGridWebhook
from local_azure.functions_host.host_json import HostJson, read_host_json
from local_azure.functions_host.host_storage import HostStorage
from local_azure.functions_host.http_server import HttpTriggers, methods_of, route_of
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import HostKeys
from local_azure.functions_host.queue_listener import QueueListener
from local_azure.functions_host.settings import HOST_STORAGE, AppSettings
from local_azure.functions_host.storage import StorageAccounts
from local_azure.functions_host.timers import Schedule, TimerListener
from local_azure.functions_host.worker import AppRejected, Function, PythonWorker
from local_azure.kernel.clock import Clock

_LOG = logging.getLogger("functions_host")
_LARGEST_BODY = 100 * 2**20  # bytes; Azure's limit of a request
_TRIGGERS = ("httpTrigger", "queueTrigger", "timerTrigger", "eventGridTrigger")
_OUTPUTS = ("http", "queue")


class Listener(Protocol):
    """Something that starts functions by itself."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until told to stop. An exception is a defect and ends the host."""
        ...


@dataclass(frozen=True)
class HostOptions:
    """Where an app is and how it is to be run."""

    app_folder: Path
    address: str
    port: int  # 0: any that is free
    instance_id: str
    grace_seconds: float


class FunctionsHost:
    """Runs one app. Start it once; a process can hold no second one."""

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
        self._random = Random()  # noqa: S311 - chance, not secrets
        self._storage = StorageAccounts(settings)
        self._running = RunningTasks()
        self._invoker = Invoker(
            worker=worker,
            storage=self._storage,
            queue_options=host_json.extensions.queues,
            new_id=lambda: str(uuid4()),
        )
        self._check_connections()
        self._listeners = self._create_listeners()
        self._listening: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            self._create_application(), shutdown_timeout=options.grace_seconds, access_log=None
        )

    @classmethod
    async def load(cls, options: HostOptions, settings: AppSettings, *, clock: Clock) -> Self:
        """Reads host.json and has the worker index the app. Nothing of it runs yet.

        Raises AppRejected, HostJsonInvalid, SettingMissing, InvalidRoute, InvalidSchedule.
        """
        host_json = read_host_json(options.app_folder, settings)
        worker = await PythonWorker.start(options.app_folder)
        for function in worker.functions:
            check_served(function)
        return cls(
            options=options, settings=settings, host_json=host_json, worker=worker, clock=clock
        )

    async def start(self) -> dict[str, Any]:
        """Serves the app. The answer is what the host prints when it is ready.

        Raises OSError when the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.address, self._options.port).start()
        self._listening = [asyncio.create_task(x.run(self._stopping)) for x in self._listeners]
        return {"listening": self._url(), "functions": self._describe()}

    async def until_a_listener_breaks(self) -> None:
        """Returns never, or raises what ended a listener."""
        if not self._listening:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._listening, return_when=asyncio.FIRST_EXCEPTION)
        for listener in done:
            listener.result()

    async def stop(self) -> bool:
        """Takes no more work and lets what runs come to its end. False when time ran out."""
        self._stopping.set()
        async with asyncio.TaskGroup() as closing:
            closing.create_task(self._runner.cleanup())
            drained = closing.create_task(self._drain())
        await self._storage.close()
        if drained.result():
            self._worker.stop()
        return drained.result()

    async def _drain(self) -> bool:
        deadline = time.monotonic() + self._options.grace_seconds
        if self._listening:
            _, late = await asyncio.wait(self._listening, timeout=self._options.grace_seconds)
            for listener in late:
                listener.cancel()
        return await self._running.drain(max(0.0, deadline - time.monotonic()))

    def _of(self, trigger_type: str) -> list[Function]:
        return [
            function
            for function in self._worker.functions
            if function.trigger.type == trigger_type
            and not self._settings.is_disabled(function.name)
        ]

    def _check_connections(self) -> None:
        """Raises SettingMissing now rather than in the first invocation."""
        for function in self._worker.functions:
            for binding in function.outputs("queue"):
                self._storage.queue(binding)

    def _create_listeners(self) -> list[Listener]:
        listeners: list[Listener] = [self._queue_listener(f) for f in self._of("queueTrigger")]
        if timers := self._of("timerTrigger"):
            storage = HostStorage(
                service=self._storage.blobs(HOST_STORAGE), host_id=self._host_id()
            )
            listeners.extend(self._timer_listener(function, storage) for function in timers)
        return listeners

    def _queue_listener(self, function: Function) -> QueueListener:
        return QueueListener(
            function=function,
            queue_name=self._storage.queue(function.trigger).queue_name,
            service=self._storage.queues(
                function.trigger.settings.get("connection") or HOST_STORAGE
            ),
            options=self._host_json.extensions.queues,
            invoker=self._invoker,
            running=self._running,
            random=self._random,
        )

    def _timer_listener(self, function: Function, storage: HostStorage) -> TimerListener:
        return TimerListener(
            function=function,
            schedule=Schedule(self._settings.resolve(function.trigger.settings["schedule"])),
            storage=storage,
            options=self._host_json.singleton,
            invoker=self._invoker,
            running=self._running,
            clock=self._clock,
        )

    def _create_application(self) -> web.Application:
        keys = HostKeys.from_settings(self._settings)
        route_prefix = self._host_json.extensions.http.route_prefix
        http = HttpTriggers(
            functions=self._of("httpTrigger"),
            route_prefix=route_prefix,
            keys=keys,
            invoker=self._invoker,
        )
        event_grid = EventGridWebhook(
            functions=self._of("eventGridTrigger"), keys=keys, invoker=self._invoker
        )
        admin = AdminEndpoints(
            identity=HostIdentity(self._host_id(), self._options.instance_id, time.monotonic()),
            functions=self._worker.functions,
            route_prefix=route_prefix,
            settings=self._settings,
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
        application.router.add_route("*", "/{path:.*}", dispatch)
        return application

    def _host_id(self) -> str:
        """Hosts with the same id share their timers. Unless it is set, one for each folder."""
        folder = hashlib.sha256(str(self._options.app_folder).encode()).hexdigest()
        given = (
            self._settings.get("AzureFunctionsWebHost__hostid")
            or self._settings.get("WEBSITE_SITE_NAME")
            or f"local-{folder[:16]}"
        )
        return re.sub(r"[^a-z0-9-]", "-", given.lower())[:32]

    def _url(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    def _describe(self) -> list[dict[str, Any]]:
        return [
            _description(function, self._host_json, self._settings)
            for function in self._worker.functions
        ]


def check_served(function: Function) -> None:
    """Refuses what this host would have to leave out silently. Raises AppRejected."""
    unknown = [
        binding.type
        for binding in function.bindings
        if binding.type not in (_OUTPUTS if binding.is_output else _TRIGGERS)
    ]
    if unknown:
        served = ", ".join((*_TRIGGERS, *_OUTPUTS))
        raise AppRejected(f"{function.name} uses {', '.join(unknown)}; this host serves {served}")
    if function.has_retry_policy:
        _LOG.warning("%s has a retry policy, which this host does not apply", function.name)


def _description(function: Function, host_json: HostJson, settings: AppSettings) -> dict[str, Any]:
    described: dict[str, Any] = {"name": function.name, "trigger": function.trigger.type}
    trigger = function.trigger.settings
    if settings.is_disabled(function.name):
        described["disabled"] = True
    if function.trigger.type == "httpTrigger":
        described["route"] = f"/{route_of(function, host_json.extensions.http.route_prefix)}"
        described["methods"] = sorted(methods_of(function)) or "any"
    if function.trigger.type == "queueTrigger":
        described["queue"] = settings.resolve(trigger["queueName"])
    if function.trigger.type == "timerTrigger":
        described["schedule"] = settings.resolve(trigger["schedule"])
    return described
