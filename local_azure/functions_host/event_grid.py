"""Event Grid's webhook: handshake, then one invocation per event.

`/runtime/webhooks/eventgrid?functionName=…`, opened by the system key. Takes the Event Grid
schema and CloudEvents 1.0, both with the header that says what a request is.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from local_azure.functions_host.functions import Failed, Function
from local_azure.functions_host.http_address import read_query
from local_azure.functions_host.http_messages import Request, Response
from local_azure.functions_host.invocations import Invoker
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import TypedData

PATH = "/runtime/webhooks/eventgrid"
_ORIGIN = "eventgrid.azure.net"


class EventGridWebhook:
    """The Event Grid functions of an app."""

    def __init__(self, *, functions: list[Function], keys: HostKeys, invoker: Invoker) -> None:
        self._functions = {function.name: function for function in functions}
        self._keys = keys
        self._invoker = invoker

    async def handle(self, request: Request) -> Response:
        """202 when the function took every event. After 500, Event Grid sends again."""
        if refusal := self._keys.refusal(AuthLevel.SYSTEM, request):
            return refusal
        name = read_query(request.raw_query).get("functionName", "")
        function = self._functions.get(name)
        if function is None:
            return Response.text(404, f"cannot find function: '{name}'")
        if request.method == "OPTIONS":  # the handshake of CloudEvents, whatever the origin
            return Response(headers={"Webhook-Allowed-Origin": _ORIGIN})
        try:
            return await self._answer(function, request)
        except ValueError:
            return Response(500)

    async def _answer(self, function: Function, request: Request) -> Response:
        """Raises ValueError."""
        match request.headers.get("aeg-event-type"):
            case "Notification":
                return await self._deliver(function, _events(await request.read()))
            case "SubscriptionValidation":
                code = _validation_code(_events(await request.read()))
                answer = json.dumps({"validationResponse": code}, separators=(",", ":"))
                return Response.text(200, answer)
            case "Unsubscribe":
                return Response(202)
        return Response(400)

    async def _deliver(self, function: Function, events: list[dict[str, Any]]) -> Response:
        results = await asyncio.gather(
            *(self._invoker.invoke(function, TypedData(json=json.dumps(event))) for event in events)
        )
        if any(isinstance(result, Failed) for result in results):
            return Response.text(
                500, f"Exception while executing function: Functions.{function.name}"
            )
        return Response(202)


def _events(body: bytes) -> list[dict[str, Any]]:
    """Raises ValueError."""
    document = json.loads(body)
    found = document if isinstance(document, list) else [document]
    events = [event for event in found if isinstance(event, dict)]
    if len(events) < len(found):
        raise ValueError("an event is a JSON object")
    return events


def _validation_code(events: list[dict[str, Any]]) -> str:
    """Raises ValueError."""
    data = events[0].get("data") if events else None
    if not isinstance(data, dict) or "validationCode" not in data:
        raise ValueError("no validation code")
    return str(data["validationCode"])
