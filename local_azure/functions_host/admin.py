"""`POST /admin/functions/NAME`: runs a function now, for a caller with the master key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from aiohttp import web

from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import RpcHttp, TypedData
from local_azure.functions_host.timers import timer_payload
from local_azure.functions_host.worker import Function


class AdminEndpoint:
    """Below `/admin/`, this is the only route that is served."""

    def __init__(
        self,
        *,
        functions: tuple[Function, ...],
        keys: HostKeys,
        invoker: Invoker,
        running: RunningTasks,
    ) -> None:
        self._functions: Mapping[str, Function] = {f.name.lower(): f for f in functions}
        self._keys = keys
        self._invoker = invoker
        self._running = running

    async def handle(self, request: web.Request) -> web.Response:
        """202 when the function was started; its end is not waited for."""
        if not self._keys.allow(AuthLevel.ADMIN, request):
            return web.Response(status=401)
        name = request.path.lower().removeprefix("/admin/functions/")
        function = self._functions.get(name)
        if function is None or request.method != "POST":
            return web.Response(status=404)
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
