"""Event Grid's webhook: handshake, then one invocation per event.

`/runtime/webhooks/eventgrid?functionName=…`, opened by the system key. Takes the Event Grid
schema and CloudEvents 1.0.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from local_azure.functions_host.invocations import Invoker
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.worker import Failed, Function


class EventGridWebhook:
    """The Event Grid functions of an app."""

    def __init__(self, *, functions: list[Function], keys: HostKeys, invoker: Invoker) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._keys = keys
        self._invoker = invoker

    async def handle(self, request: web.Request) -> web.Response:
        """202 when the function took every event, 500 when it failed: Event Grid sends again."""
        if not self._keys.allow(AuthLevel.SYSTEM, request):
            return web.Response(status=401)
        function = self._functions.get(request.query.get("functionName", "").lower())
        if function is None:
            return web.Response(status=404)
        if request.method == "OPTIONS":  # the handshake of CloudEvents
            origin = request.headers.get("WebHook-Request-Origin", "")
            return web.Response(headers={"WebHook-Allowed-Origin": origin})
        try:
            return await self._take(function, request)
        except ValueError:
            return web.Response(status=400)

    async def _take(self, function: Function, request: web.Request) -> web.Response:
        events = _events(await request.json())
        kind = request.headers.get("aeg-event-type")
        if kind == "SubscriptionValidation":
            return web.json_response({"validationResponse": _validation_code(events)})
        if kind == "Unsubscribe":
            return web.Response(status=202)
        if kind != "Notification" and not request.content_type.startswith("application/cloudev"):
            raise ValueError("neither Event Grid's schema nor CloudEvents")
        return await self._deliver(function, events)

    async def _deliver(self, function: Function, events: list[dict[str, Any]]) -> web.Response:
        results = await asyncio.gather(
            *(self._invoker.invoke(function, TypedData(json=json.dumps(event))) for event in events)
        )
        failed = any(isinstance(result, Failed) for result in results)
        return web.Response(status=500 if failed else 202)


def _events(document: object) -> list[dict[str, Any]]:
    found = document if isinstance(document, list) else [document]
    events = [event for event in found if isinstance(event, dict)]
    if len(events) < len(found):
        raise ValueError("an event is a JSON object")
    return events


def _validation_code(events: list[dict[str, Any]]) -> str:
    data = events[0].get("data") if events else None
    if not isinstance(data, dict) or "validationCode" not in data:
        raise ValueError("no validation code")
    return str(data["validationCode"])
