"""The administrator's endpoints, all but the ping opened by the master key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from local_azure.functions_host.http_server import route_of
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import RpcHttp, TypedData
from local_azure.functions_host.settings import AppSettings
from local_azure.functions_host.timers import timer_payload
from local_azure.functions_host.worker import Function


@dataclass(frozen=True)
class HostIdentity:
    """How a host names itself. `started` is a monotonic time in seconds."""

    host_id: str
    instance_id: str
    started: float


class AdminEndpoints:
    """`/admin/…`: the host's state, the functions, and running one of them now."""

    def __init__(
        self,
        *,
        identity: HostIdentity,
        functions: tuple[Function, ...],
        route_prefix: str,
        settings: AppSettings,
        keys: HostKeys,
        invoker: Invoker,
        running: RunningTasks,
    ) -> None:
        self._identity = identity
        self._functions: Mapping[str, Function] = {f.name.lower(): f for f in functions}
        self._route_prefix = route_prefix
        self._settings = settings
        self._keys = keys
        self._invoker = invoker
        self._running = running

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request below `/admin/`."""
        path = request.path.rstrip("/").lower()
        if path == "/admin/host/ping":
            return web.Response(status=200)
        if not self._keys.allow(AuthLevel.ADMIN, request):
            return web.Response(status=401)
        area, _, name = path.removeprefix("/admin/").partition("/")
        if area == "functions" and name:
            return await self._one_function(name, request)
        if request.method == "GET" and (area, name) == ("host", "status"):
            return web.json_response(self._status())
        if request.method == "GET" and area == "functions":
            return web.json_response([self._describe(f, request) for f in self._functions.values()])
        return web.Response(status=404)

    async def _one_function(self, name: str, request: web.Request) -> web.Response:
        function = self._functions.get(name)
        if function is None or request.method not in ("GET", "POST"):
            return web.Response(status=404)
        if request.method == "POST":
            return await self._run_now(function, request)
        return web.json_response(self._describe(function, request))

    def _status(self) -> dict[str, Any]:
        uptime = time.monotonic() - self._identity.started
        return {
            "id": self._identity.host_id,
            "instanceId": self._identity.instance_id,
            "state": "Running",
            "processUptime": int(uptime * 1000),
        }

    def _describe(self, function: Function, request: web.Request) -> dict[str, Any]:
        base = f"{request.scheme}://{request.host}"
        is_http = function.trigger.type == "httpTrigger"
        return {
            "name": function.name,
            "href": f"{base}/admin/functions/{function.name}",
            "invoke_url_template": (
                f"{base}/{route_of(function, self._route_prefix)}" if is_http else None
            ),
            "language": "python",
            "isDisabled": self._settings.is_disabled(function.name),
            "config": {"bindings": [dict(b.settings) for b in function.bindings]},
        }

    async def _run_now(self, function: Function, request: web.Request) -> web.Response:
        try:
            text = (await request.json()).get("input") or ""
        except (ValueError, AttributeError):
            return web.Response(status=400)
        if not isinstance(text, str):
            text = json.dumps(text)
        data = _TRIGGER_VALUES[function.trigger.type](text)
        self._running.start(self._invoker.invoke(function, data))
        return web.Response(status=202)


_TRIGGER_VALUES: Mapping[str, Callable[[str], TypedData]] = {
    "httpTrigger": lambda text: TypedData(
        http=RpcHttp(method="POST", body=TypedData(bytes=text.encode()))
    ),
    "queueTrigger": lambda text: TypedData(string=text),
    "timerTrigger": lambda _: timer_payload(None, past_due=False),
    "eventGridTrigger": lambda text: TypedData(json=text),
}
