"""HTTP triggers: from a request on the wire to the app and back."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal, cast

from aiohttp import web

from local_azure.functions_host.http_routes import Route, RouteTable, RouteTemplate
from local_azure.functions_host.invocations import Invoker
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import RpcHttp, RpcHttpCookie, TypedData
from local_azure.functions_host.worker import Failed, Function

_LOG = logging.getLogger("functions_host")
# What the server sets itself.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})


class HttpTriggers:
    """The HTTP functions of an app."""

    def __init__(
        self, *, functions: list[Function], route_prefix: str, keys: HostKeys, invoker: Invoker
    ) -> None:
        self._routes = RouteTable(
            Route(
                template=RouteTemplate.parse(route_of(function, route_prefix)),
                methods=methods_of(function),
                target=function,
            )
            for function in functions
        )
        self._keys = keys
        self._invoker = invoker

    async def handle(self, request: web.Request) -> web.Response:
        """404 for what no function serves, 401 without the key it asks for."""
        found = self._routes.find(request.method, request.raw_path.partition("?")[0])
        if found is None:
            return web.Response(status=404)
        function, params = found
        if not self._keys.allow(auth_level_of(function), request):
            return web.Response(status=401)
        result = await self._invoker.invoke(
            function,
            TypedData(http=await _rpc_request(request, params)),
            trace_parent=request.headers.get("traceparent"),
        )
        if isinstance(result, Failed):
            return web.Response(status=500)
        outputs = [binding.name for binding in function.outputs("http")]
        value = next((result.outputs[name] for name in outputs if name in result.outputs), None)
        try:
            return _response(value)
        except ValueError:
            _LOG.exception("%s returned what is no HTTP response", function.name)
            return web.Response(status=500)


def route_of(function: Function, route_prefix: str) -> str:
    """The template of a function's address, without a leading slash."""
    route = function.trigger.settings.get("route") or function.name
    return f"{route_prefix.strip('/')}/{route.strip('/')}".strip("/")


def methods_of(function: Function) -> frozenset[str]:
    """The methods it takes; none named means all."""
    return frozenset(str(name).upper() for name in function.trigger.settings.get("methods") or ())


def auth_level_of(function: Function) -> AuthLevel:
    """Which key a caller needs; a function key unless the app says otherwise."""
    return AuthLevel(str(function.trigger.settings.get("authLevel") or "function").lower())


async def _rpc_request(request: web.Request, params: dict[str, str]) -> RpcHttp:
    body = await request.read()
    return RpcHttp(
        method=request.method,
        url=f"{request.scheme}://{request.host}{request.raw_path}",
        headers={name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        params=params,
        query={name: ",".join(request.query.getall(name)) for name in request.query},
        body=TypedData(bytes=body) if body else TypedData(),
    )


def _response(value: TypedData | None) -> web.Response:
    if value is None:
        return web.Response(status=200)
    if value.http is None:
        text = value.string if value.string is not None else value.json
        kind = "text/plain" if value.string is not None else "application/json"
        return web.Response(text=text, content_type=kind, charset="utf-8")
    http = value.http
    headers = {
        name: text for name, text in http.headers.items() if name.lower() not in _OWN_HEADERS
    }
    response = web.Response(status=int(http.status_code), headers=headers, body=_body(http))
    for cookie in http.cookies or ():
        _set_cookie(response, cookie)
    return response


def _body(http: RpcHttp) -> bytes:
    return http.body.bytes if http.body.bytes is not None else (http.body.string or "").encode()


def _set_cookie(response: web.Response, cookie: RpcHttpCookie) -> None:
    expires = cookie.expires and datetime.fromtimestamp(cookie.expires.value.seconds, UTC)
    same_site = {1: "Lax", 2: "Strict", 3: "None"}.get(cookie.same_site)
    response.set_cookie(
        cookie.name,
        cookie.value,
        domain=cookie.domain.value if cookie.domain else None,
        path=cookie.path.value if cookie.path else "/",
        expires=format_datetime(expires, usegmt=True) if expires else None,
        max_age=int(cookie.max_age.value) if cookie.max_age else None,
        secure=bool(cookie.secure and cookie.secure.value),
        httponly=bool(cookie.http_only and cookie.http_only.value),
        samesite=cast("Literal['Lax', 'Strict', 'None'] | None", same_site),
    )
