"""A reverse proxy for Azurite that checks roles, which Azurite itself does not.

It forwards a request with a bearer token when the token is valid and its principal's roles allow
the operation. It forwards every other request unchanged: Azurite checks the account key.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from aiohttp import ClientSession, web
from multidict import CIMultiDict
from yarl import URL

from local_azure.azurite.operations import Service, StorageRequest, required_by
from local_azure.kernel import Kernel
from local_azure.kernel import service as service_calls
from local_azure.kernel.access import Caller
from local_azure.kernel.calls import Call
from local_azure.kernel.clock import wire_time
from local_azure.kernel.service import bearer_token
from local_azure.kernel.tokens import InvalidToken

_AUDIENCES = ("https://storage.azure.com",)
_LARGEST_BODY = 64 * 2**20
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "trailer"}
)
_CODES = {500: "OperationTimedOut", 503: "ServerBusy", 412: "ConditionNotMet"}
_ADDED_BY_THE_CLIENT = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True)
class StorageUrls:
    """The URLs of the services that check roles. They end with the account, without a slash."""

    blob_url: str
    queue_url: str
    table_url: str


@dataclass(frozen=True)
class _Refusal:
    status: int
    code: str
    message: str


_NOT_AUTHENTICATED = _Refusal(
    401,
    "InvalidAuthenticationInfo",
    "Server failed to authenticate the request. Please refer to the information in the "
    "www-authenticate header.",
)
_NOT_AUTHORIZED = _Refusal(
    403,
    "AuthorizationPermissionMismatch",
    "This request is not authorized to perform this operation using this permission.",
)


def create_storage_gate(
    kernel: Kernel, session: ClientSession, *, service: Service, url: str, account_id: str
) -> web.Application:
    """The proxy of Azurite's service at `url`. Roles are assigned on `account_id`.

    `session` must trust Azurite's certificate and must not decompress.
    """
    target = urlsplit(url)
    origin = f"{target.scheme}://{target.netloc}"

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        refusal = _refusal(kernel, request, service=service, account_id=account_id)
        if refusal is not None:
            response = _render(kernel, refusal, service=service, request=request)
        else:
            response = await _forward(session, request, body, origin=origin)
        method, path = request.method, request.path
        kernel.storage_calls.add(Call(str(service), method, method, path, response.status))
        return response

    async def serve_or_fail(request: web.Request) -> web.StreamResponse:
        def render_error(*, status: int, code: str | None, message: str) -> web.Response:
            refusal = _Refusal(status, code or _CODES.get(status, "InternalError"), message)
            return _render(kernel, refusal, service=service, request=request)

        operation = f"{service}.{request.method}"
        return await service_calls.serve(kernel, operation, request, serve, render_error)

    application = web.Application(client_max_size=_LARGEST_BODY)
    application.router.add_route("*", "/{path:.*}", serve_or_fail)
    return application


def _refusal(
    kernel: Kernel, request: web.Request, *, service: Service, account_id: str
) -> _Refusal | None:
    token = bearer_token(request)
    if token is None:
        return None
    try:
        caller = Caller.of(kernel.tokens.verify(token, audiences=_AUDIENCES))
    except InvalidToken:
        return _NOT_AUTHENTICATED
    required = required_by(
        service,
        StorageRequest(
            method=request.method,
            path=request.rel_url.raw_path,
            query=_lowered(request.query),
            headers=_lowered(request.headers),
        ),
    )
    allowed = kernel.access.allows(caller, required.needs, scope=account_id + required.scope)
    return None if allowed else _NOT_AUTHORIZED


async def _forward(
    session: ClientSession, request: web.Request, body: bytes, *, origin: str
) -> web.Response:
    async with session.request(
        request.method,
        URL(origin + request.raw_path, encoded=True),
        headers=_end_to_end(request.headers),
        data=body or None,
        skip_auto_headers=_ADDED_BY_THE_CLIENT,
        allow_redirects=False,
    ) as answer:
        headers = _end_to_end(answer.headers)
        if request.method == "HEAD" and "Content-Length" in answer.headers:
            headers["Content-Length"] = answer.headers["Content-Length"]
        return web.Response(status=answer.status, headers=headers, body=await answer.read())


def _render(
    kernel: Kernel, refusal: _Refusal, *, service: Service, request: web.Request
) -> web.Response:
    request_id, at = str(uuid.uuid4()), wire_time(kernel.clock.now())
    message = f"{refusal.message}\nRequestId:{request_id}\nTime:{at}"
    headers = {"x-ms-error-code": refusal.code, "x-ms-request-id": request_id}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = (
            'Bearer authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize" '
            f'resource_id="{_AUDIENCES[0]}"'
        )
    if service is Service.TABLE:
        error = {"code": refusal.code, "message": {"lang": "en-US", "value": message}}
        text, kind = json.dumps({"odata.error": error}), "application/json"
    else:
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{refusal.code}</Code><Message>{escape(message)}</Message></Error>"
        )
        kind = "application/xml"
    if request.method == "HEAD":
        text = ""
    return web.Response(status=refusal.status, text=text, content_type=kind, headers=headers)


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP
    )


def _lowered(names: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in names.items()}
