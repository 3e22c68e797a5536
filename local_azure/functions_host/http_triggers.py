"""HTTP triggers: from a request on the wire to the app and back."""

from __future__ import annotations

import logging
import re
from urllib.parse import quote

from local_azure.functions_host.functions import Failed, Function
from local_azure.functions_host.http_address import encode_path, read_query
from local_azure.functions_host.http_messages import Request, Response
from local_azure.functions_host.http_routes import Route, RouteTable
from local_azure.functions_host.invocations import Invoker
from local_azure.functions_host.keys import AuthLevel, HostKeys
from local_azure.functions_host.protos import RpcHttp, RpcHttpCookie, TypedData

_LOG = logging.getLogger("functions_host")
# The server alone decides when a connection ends, and what goes in chunks.
_OWN_HEADERS = frozenset({"transfer-encoding", "connection"})
_NOT_IN_A_HEADER = re.compile(r"[\0\r\n]|[^\0-\xff]")


class HttpTriggers:
    """The HTTP functions of an app."""

    def __init__(
        self, *, functions: list[Function], route_prefix: str, keys: HostKeys, invoker: Invoker
    ) -> None:
        self._routes = RouteTable(
            Route(route_of(function, route_prefix), methods_of(function), function)
            for function in functions
        )
        self._keys = keys
        self._invoker = invoker

    async def handle(self, request: Request) -> Response:
        """404 where no function has the route, 401 without the key that the function asks for."""
        found = self._routes.find(request.method, request.path)
        if found is None:
            return Response(404)
        function, params = found
        if not self._keys.allow(_auth_level(function), request):
            return Response(401)
        result = await self._invoker.invoke(
            function,
            TypedData(http=await _rpc_request(request, params)),
            trace_parent=request.headers.get("traceparent"),
        )
        if isinstance(result, Failed):
            return Response(500)
        try:
            return _response(result.value)
        except ValueError:
            _LOG.exception("%s returned what is no HTTP response", function.name)
            return Response(500)


def route_of(function: Function, route_prefix: str) -> str:
    """The template of a function's address, without a leading slash."""
    route = function.trigger.settings.get("route") or function.name
    return f"{route_prefix.strip('/')}/{route.strip('/')}".strip("/")


def methods_of(function: Function) -> frozenset[str]:
    """The methods it takes; none named means all."""
    return frozenset(str(name).upper() for name in function.trigger.settings.get("methods") or ())


def _auth_level(function: Function) -> AuthLevel:
    """A function key unless the app says otherwise."""
    return AuthLevel(str(function.trigger.settings.get("authLevel") or "function").lower())


async def _rpc_request(request: Request, params: dict[str, str]) -> RpcHttp:
    # Only a body with a length is passed on: one in chunks reaches no function.
    body = await request.read() if request.content_length else b""
    host = request.headers.get("host", "")
    return RpcHttp(
        method=request.method,
        url=f"http://{host}{encode_path(request.path)}{request.query}",
        headers=request.headers,
        params=params,
        query=read_query(request.raw_query),
        body=TypedData(bytes=body) if body else TypedData(),
    )


def _response(value: TypedData | None) -> Response:
    """Raises ValueError for anything but an HttpResponse with a number as its status."""
    http = value.http if value is not None else None
    if http is None:
        raise ValueError("not an HttpResponse")
    headers = {n: text for n, text in http.headers.items() if n.lower() not in _OWN_HEADERS}
    if http.cookies:
        (cookie,) = http.cookies  # one at most: `Response` has each header once
        headers["Set-Cookie"] = _set_cookie(cookie)
    if any(map(_NOT_IN_A_HEADER.search, headers.values())):
        raise ValueError("a header that cannot be sent")
    body = http.body.bytes if http.body.bytes is not None else (http.body.string or "").encode()
    return Response(int(http.status_code), headers, body)


def _set_cookie(cookie: RpcHttpCookie) -> str:
    """The header, as ASP.NET Core writes a cookie: its value is encoded."""
    parts = [f"{cookie.name}={quote(cookie.value, safe='')}"]
    if cookie.max_age is not None:
        parts.append(f"max-age={cookie.max_age.value:.0f}")
    if cookie.domain is not None and cookie.domain.value:
        parts.append(f"domain={cookie.domain.value}")
    if cookie.path is not None and cookie.path.value:
        parts.append(f"path={cookie.path.value}")
    if cookie.secure is not None and cookie.secure.value:
        parts.append("secure")
    if cookie.same_site is not RpcHttpCookie.SameSite.Unset:
        parts.append(f"samesite={cookie.same_site.name.removeprefix('Explicit').lower()}")
    if cookie.http_only is not None and cookie.http_only.value:
        parts.append("httponly")
    return "; ".join(parts)
