"""Routes below `/admin/`, for a caller with the master key: run a function, drain, look."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from local_azure.functions_host.functions import Function
from local_azure.functions_host.http_messages import Request, Response
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import RpcHttp, TypedData

_PING = "/admin/host/ping"
_DRAIN = "/admin/host/drain"
_RUN = "/admin/functions/"
_JSON = re.compile(r"(?:application|text)/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_NO_STORE = {"Cache-Control": "no-store,no-cache", "Pragma": "no-cache"}


class DrainState(StrEnum):
    """Whether the host still takes messages and timers, and whether it is at any."""

    DISABLED = "Disabled"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"


class Drainable(Protocol):
    """The host, as its administrator sees it."""

    def drain(self) -> None:
        """Take no further message or timer; HTTP is served all the while."""
        ...

    @property
    def drain_state(self) -> DrainState:
        """How far that is."""
        ...

    def describe(self) -> list[dict[str, Any]]:
        """Each function with its trigger."""
        ...


class AdminEndpoint:
    """Everything below `/admin/`."""

    def __init__(
        self,
        *,
        host: Drainable,
        functions: Sequence[Function],
        keys: HostKeys,
        invoker: Invoker,
        running: RunningTasks,
        timer_value: Callable[[Function], Awaitable[TypedData]],
    ) -> None:
        self._host = host
        self._functions: Mapping[str, Function] = {f.name.lower(): f for f in functions}
        self._keys = keys
        self._invoker = invoker
        self._running = running
        self._timer_value = timer_value

    async def handle(self, request: Request) -> Response:
        """404 for what is not served. Only the ping needs no key."""
        path = request.path.lower()
        if path == _PING and request.method in ("GET", "POST"):
            return Response(headers=_NO_STORE)
        if refusal := self._keys.refusal(AuthLevel.ADMIN, request):
            return refusal
        if request.method == "POST":
            if path == _DRAIN:
                self._host.drain()
                return Response(202)
            return await self._run(path, request)
        found = self._read(path) if request.method == "GET" else None
        return Response(404) if found is None else Response.json(found)

    def _read(self, path: str) -> object:
        match path:
            case "/admin/host/drain/status":
                return {
                    "state": self._host.drain_state,
                    "outstandingInvocations": self._invoker.under_way,
                    "outstandingRetries": 0,
                }
            case "/admin/host/status":
                return {"state": "Running"}
            case "/admin/functions":
                return self._host.describe()
        return next((d for d in self._host.describe() if path == _RUN + d["name"].lower()), None)

    async def _run(self, path: str, request: Request) -> Response:
        """202 when the function was started; its end is not waited for."""
        if not path.startswith(_RUN):
            return Response(404)
        if not _JSON.fullmatch(request.headers.get("content-type", "")):
            return Response(415)
        try:
            text = json.loads(await request.read()).get("input") or ""
        except (ValueError, AttributeError):
            return Response(400)
        if not isinstance(text, str):
            return Response(400)
        function = self._functions.get(path.removeprefix(_RUN))
        if function is None:
            return Response(404)
        self._running.start(self._invoker.invoke(function, await self._value(function, text)))
        return Response(202)

    async def _value(self, function: Function, text: str) -> TypedData:
        match function.trigger.type:
            case "httpTrigger":
                body = TypedData(bytes=text.encode())
                return TypedData(http=RpcHttp(method="POST", body=body))
            case "timerTrigger":
                return await self._timer_value(function)
            case "eventGridTrigger":
                return TypedData(json=text)
            case _:
                return TypedData(string=text)
