"""The hub's HTTPS API: the identity registry and the twins, as the service side sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from local_azure.iot_hub.documents import (
    device_settings,
    identity_document,
    module_document,
    module_twin_document,
    query_text,
    twin_document,
    twin_patch,
)
from local_azure.iot_hub.exceptions import (
    ARGUMENT_INVALID,
    INVALID_PROTOCOL_VERSION,
    PRECONDITION_FAILED,
    IotHubError,
    kind_for,
    no_permission,
    unauthorized,
)
from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.query_pages import MOST_ROWS
from local_azure.iot_hub.shared_access import (
    InvalidSignature,
    Right,
    SharedAccessSignature,
    same_host,
)
from local_azure.iot_hub.throttles import Throttle
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.kernel import Kernel
from local_azure.kernel.access import Caller, data_action
from local_azure.kernel.service import create_application
from local_azure.kernel.tokens import InvalidToken

API_VERSIONS = frozenset(
    {"2018-06-30", "2020-05-31-preview", "2020-09-30", "2021-04-12", "2024-03-31"}
)
_MOST_DEVICES_LISTED = 1000
_MOST_ROWS = "x-ms-max-item-count"
_CONTINUATION = "x-ms-continuation"
_MODULES = "/devices/{device_id}/modules"
_MODULE = "/devices/{device_id}/modules/{module_id}"
_MODULE_TWIN = "/twins/{device_id}/modules/{module_id}"


@dataclass(frozen=True)
class _Needs:
    """The right of a shared access policy, or the data action below Microsoft.Devices/IotHubs.

    https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-azure-ad
    """

    right: Right
    action: str
    throttle: Throttle


_READ_REGISTRY = _Needs(Right.REGISTRY_READ, "devices/read", Throttle.IDENTITY_REGISTRY)
_WRITE_REGISTRY = _Needs(Right.REGISTRY_WRITE, "devices/write", Throttle.IDENTITY_REGISTRY)
_DELETE_DEVICE = _Needs(Right.REGISTRY_WRITE, "devices/delete", Throttle.IDENTITY_REGISTRY)
_READ_TWINS = _Needs(Right.SERVICE_CONNECT, "twins/read", Throttle.TWIN_READ)
_UPDATE_TWINS = _Needs(Right.SERVICE_CONNECT, "twins/write", Throttle.TWIN_UPDATE)
_QUERY_TWINS = _Needs(Right.SERVICE_CONNECT, "twins/read", Throttle.QUERY)


def create_iot_hub_application(
    kernel: Kernel,
    hub: IotHub,
    *,
    host_name: str,
    audiences: Collection[str] = ("https://iothubs.azure.net",),
    hub_id: str = "/",
) -> web.Application:
    """The application of one hub.

    `host_name` is what clients call the hub, with or without a port: shared access
    signatures must name it. `audiences` are those that bearer tokens may be for. `hub_id` is the
    hub's resource id, on which roles are assigned.
    """

    def render_error(*, status: int, code: str | None, message: str) -> web.Response:
        return _error_response(kernel, IotHubError(kind_for(status=status, code=code), message))

    application = create_application(
        kernel, service="iotHub", name_operation=_operation_name, render_error=render_error
    )
    door = _Door(kernel, hub, host_name=host_name, audiences=audiences, hub_id=hub_id)
    api = _Api(hub)
    for method, path, operation, needs, serve in (
        ("GET", "/devices", "devices.list", _READ_REGISTRY, api.devices),
        ("GET", "/devices/{device_id}", "devices.get", _READ_REGISTRY, api.device),
        ("PUT", "/devices/{device_id}", "devices.createOrUpdate", _WRITE_REGISTRY, api.put),
        ("DELETE", "/devices/{device_id}", "devices.delete", _DELETE_DEVICE, api.delete),
        ("GET", "/twins/{device_id}", "twins.get", _READ_TWINS, api.twin),
        ("PATCH", "/twins/{device_id}", "twins.update", _UPDATE_TWINS, api.patch_twin),
        ("PUT", "/twins/{device_id}", "twins.replace", _UPDATE_TWINS, api.replace_twin),
        ("GET", _MODULES, "modules.list", _READ_REGISTRY, api.modules),
        ("GET", _MODULE, "modules.get", _READ_REGISTRY, api.module),
        ("GET", _MODULE_TWIN, "moduleTwins.get", _READ_TWINS, api.twin),
        ("PATCH", _MODULE_TWIN, "moduleTwins.update", _UPDATE_TWINS, api.patch_twin),
        ("PUT", _MODULE_TWIN, "moduleTwins.replace", _UPDATE_TWINS, api.replace_twin),
        ("POST", "/devices/query", "twins.query", _QUERY_TWINS, api.query),
    ):
        application.router.add_route(method, path, door.guard(needs, serve), name=operation)
    return application


class _Door:
    """Who may come in, in which api-version and how often."""

    def __init__(
        self,
        kernel: Kernel,
        hub: IotHub,
        *,
        host_name: str,
        audiences: Collection[str],
        hub_id: str,
    ) -> None:
        self._kernel = kernel
        self._hub = hub
        self._host_name = host_name
        self._audiences = audiences
        self._hub_id = hub_id

    def guard(
        self, needs: _Needs, serve: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The handler, with all that comes before it, and errors as IoT Hub words them."""

        async def handler(request: web.Request) -> web.Response:
            try:
                self._authorize(request, needs)
                _check_api_version(request)
                self._hub.throttles.spend(needs.throttle)
                return await serve(request)
            except IotHubError as error:
                return _error_response(self._kernel, error)

        return handler

    def _authorize(self, request: web.Request, needs: _Needs) -> None:
        header = request.headers.get("Authorization", "")
        try:
            if header.lower().startswith("bearer "):
                token = header.partition(" ")[2]
                claims = self._kernel.tokens.verify(token, audiences=self._audiences)
                self._check_roles(request, Caller.of(claims), needs)
                return
            signature = SharedAccessSignature.parse(header)
        except (InvalidToken, InvalidSignature) as error:
            raise unauthorized() from error
        if not self._holds(signature, request, needs.right):
            raise unauthorized()

    def _check_roles(self, request: web.Request, caller: Caller, needs: _Needs) -> None:
        needed = data_action(f"Microsoft.Devices/IotHubs/{needs.action}")
        if not self._kernel.access.allows(caller, needed, scope=self._hub_id):
            raise no_permission(caller.principal_id, method=request.method, path=request.path)

    def _holds(self, signature: SharedAccessSignature, request: web.Request, right: Right) -> bool:
        policy = self._hub.policies.get(signature.policy or "")
        host, *segments = signature.resource
        return (
            policy is not None
            and right in policy.rights
            and same_host(host, self._host_name)
            and segments == _segments(request)[: len(segments)]
            and not signature.expired(self._kernel.clock.now())
            and signature.signed_with((policy.primary_key, policy.secondary_key))
        )


class _Api:
    """The operations. What they raise is worded by the door."""

    def __init__(self, hub: IotHub) -> None:
        self._hub = hub

    async def devices(self, request: web.Request) -> web.Response:
        most = _most(request.query.get("top", ""), limit=_MOST_DEVICES_LISTED, name="top")
        return web.json_response([identity_document(i) for i in self._hub.devices()[:most]])

    async def device(self, request: web.Request) -> web.Response:
        identity = self._hub.device(_device_id(request))
        return _answer(identity_document(identity), etag=identity.etag)

    async def put(self, request: web.Request) -> web.Response:
        device_id, body = _device_id(request), await request.read()
        if_match = request.headers.get("If-Match")
        if if_match is None:
            identity = self._hub.create_device(device_settings(body, device_id=device_id))
        else:
            scope = self._hub.device(device_id).device_scope
            settings = device_settings(body, device_id=device_id, current_scope=scope)
            identity = self._hub.update_device(settings, etag=_identity_etag(if_match))
        return _answer(identity_document(identity), etag=identity.etag)

    async def delete(self, request: web.Request) -> web.Response:
        if_match = request.headers.get("If-Match")
        if if_match is None:
            raise IotHubError(PRECONDITION_FAILED, "Etag missing")
        self._hub.delete_device(_device_id(request), etag=_identity_etag(if_match))
        return web.Response(status=204)

    async def modules(self, request: web.Request) -> web.Response:
        found = self._hub.modules(_device_id(request))
        return web.json_response([module_document(module) for module in found])

    async def module(self, request: web.Request) -> web.Response:
        _, device_id, _, module_id = _segments(request)
        module = self._hub.module(device_id, module_id)
        return _answer(module_document(module), etag=module.etag)

    async def twin(self, request: web.Request) -> web.Response:
        return self._twin_answer(*_twin_id(request))

    async def patch_twin(self, request: web.Request) -> web.Response:
        device_id, module_id = _twin_id(request)
        patch, etag = await _twin_write(request)
        self._hub.patch_twin(device_id, patch, etag=etag, module_id=module_id)
        return self._twin_answer(device_id, module_id)

    async def replace_twin(self, request: web.Request) -> web.Response:
        device_id, module_id = _twin_id(request)
        wanted, etag = await _twin_write(request)
        self._hub.replace_twin(device_id, wanted, etag=etag, module_id=module_id)
        return self._twin_answer(device_id, module_id)

    async def query(self, request: web.Request) -> web.Response:
        text, asked = query_text(await request.read()), request.headers
        page = self._hub.query(
            text,
            most=_most(asked.get(_MOST_ROWS, ""), limit=MOST_ROWS, name=_MOST_ROWS),
            continuation=asked.get(_CONTINUATION) or None,
        )
        headers = {"x-ms-item-type": page.item_type.value}
        if page.continuation is not None:
            headers[_CONTINUATION] = page.continuation
        return web.json_response(page.rows, headers=headers)

    def _twin_answer(self, device_id: str, module_id: str | None) -> web.Response:
        twin = self._hub.twin(device_id, module_id)
        if module_id is None:
            document = twin_document(self._hub.device(device_id), twin)
        else:
            document = module_twin_document(self._hub.module(device_id, module_id), twin)
        return _answer(document, etag=twin.etag)


def _answer(document: JsonObject, *, etag: str) -> web.Response:
    return web.json_response(document, headers={"ETag": f'"{etag}"'})


def _error_response(kernel: Kernel, error: IotHubError) -> web.Response:
    tracking_id = f"{kernel.random.getrandbits(128):032x}"
    at = kernel.clock.now().strftime("%m/%d/%Y %H:%M:%S")
    response = web.json_response(
        {
            "Message": f"ErrorCode:{error.kind.code};{error.message}",
            "ExceptionMessage": f"Tracking ID:{tracking_id}-G:0-TimeStamp:{at}",
        },
        status=error.kind.status,
        headers={"iothub-errorcode": error.kind.code},
    )
    if error.kind.status == 429:
        response.force_close()
    return response


def _operation_name(request: web.Request) -> str:
    return request.match_info.route.name or "unknown"


def _check_api_version(request: web.Request) -> None:
    if request.query.get("api-version") not in API_VERSIONS:
        raise IotHubError(
            INVALID_PROTOCOL_VERSION,
            f"api-version is missing or not one of {', '.join(sorted(API_VERSIONS))}",
        )


def _segments(request: web.Request) -> list[str]:
    """The path's segments as the client meant them: an id may hold any character, encoded."""
    path = request.raw_path.partition("?")[0]
    return [unquote(segment) for segment in path.removeprefix("/").split("/")]


def _device_id(request: web.Request) -> str:
    return _segments(request)[1]


def _twin_id(request: web.Request) -> tuple[str, str | None]:
    """The device's id, and the module's where the path names one."""
    _, device_id, *module = _segments(request)
    return device_id, module[1] if module else None


def _most(asked: str, *, limit: int, name: str) -> int:
    """Whatever is out of bounds means the limit."""
    if not asked:
        return limit
    try:
        wanted = int(asked)
    except ValueError as error:
        raise IotHubError(ARGUMENT_INVALID, f"{name} is not a number") from error
    return wanted if 1 <= wanted <= limit else limit


async def _twin_write(request: web.Request) -> tuple[TwinPatch, str | None]:
    device_id, module_id = _twin_id(request)
    patch = twin_patch(await request.read(), device_id=device_id, module_id=module_id)
    return patch, _twin_etag(request.headers.get("If-Match", "*"))


def _identity_etag(if_match: str) -> str | None:
    """The registry takes ETags with and without quotes. None is any."""
    etag = if_match.strip().strip('"')
    return None if etag == "*" else etag


def _twin_etag(if_match: str) -> str | None:
    """Twins heed ETags in quotes only: without them the write goes through, as on Azure."""
    text = if_match.strip()
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return None if not quoted or text == '"*"' else text[1:-1]
