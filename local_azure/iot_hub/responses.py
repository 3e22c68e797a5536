"""The hub's HTTPS API for services: device identities, twins and queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from local_azure.iot_hub.documents import (
    device_settings,
    identity_document,
    module_document,
    module_settings,
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
from local_azure.iot_hub.queries import MAX_ROWS
from local_azure.iot_hub.shared_access import InvalidSignature, SharedAccessSignature, same_host
from local_azure.iot_hub.throttles import Throttle
from local_azure.iot_hub.twins import JsonObject
from local_azure.kernel import Kernel
from local_azure.kernel.access import Caller, data_action
from local_azure.kernel.service import bearer_token, create_application
from local_azure.kernel.tokens import InvalidToken

API_VERSION = "2021-04-12"  # azure-iot-hub's
_AUDIENCES = ("https://iothubs.azure.net",)
_MAX_ITEM_COUNT = "x-ms-max-item-count"
_CONTINUATION = "x-ms-continuation"

_MODULES = "/devices/{device_id}/modules"
_MODULE = f"{_MODULES}/{{module_id}}"
_MODULE_TWIN = "/twins/{device_id}/modules/{module_id}"

type Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class _Needs:
    """The data action below Microsoft.Devices/IotHubs, and the throttle that counts the call.

    https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-azure-ad
    """

    action: str
    throttle: Throttle


_READ_REGISTRY = _Needs("devices/read", Throttle.IDENTITY_REGISTRY)
_WRITE_REGISTRY = _Needs("devices/write", Throttle.IDENTITY_REGISTRY)
_DELETE_DEVICE = _Needs("devices/delete", Throttle.IDENTITY_REGISTRY)
_READ_TWINS = _Needs("twins/read", Throttle.TWIN_READ)
_UPDATE_TWINS = _Needs("twins/write", Throttle.TWIN_UPDATE)
_QUERY_TWINS = _Needs("twins/read", Throttle.QUERY)


def create_iot_hub_application(
    kernel: Kernel, hub: IotHub, *, host_name: str, hub_id: str = "/"
) -> web.Application:
    """The application of one hub.

    Shared access signatures must name `host_name`; its port is ignored. Roles are assigned on
    `hub_id`.
    """

    def render_error(*, status: int, code: str | None, message: str) -> web.Response:
        return _error_response(kernel, IotHubError(kind_for(status=status, code=code), message))

    application = create_application(kernel, service="iotHub", render_error=render_error)
    authorization = _Authorization(kernel, hub, host_name=host_name, hub_id=hub_id)
    api = _Api(hub)
    for method, path, operation, needs, serve in (
        ("GET", "/devices/{device_id}", "devices.get", _READ_REGISTRY, api.device),
        ("PUT", "/devices/{device_id}", "devices.createOrUpdate", _WRITE_REGISTRY, api.put),
        ("DELETE", "/devices/{device_id}", "devices.delete", _DELETE_DEVICE, api.delete),
        ("GET", "/twins/{device_id}", "twins.get", _READ_TWINS, api.twin),
        ("PATCH", "/twins/{device_id}", "twins.update", _UPDATE_TWINS, api.patch_twin),
        ("POST", "/devices/query", "twins.query", _QUERY_TWINS, api.query),
        ("GET", _MODULES, "modules.list", _READ_REGISTRY, api.modules),
        ("GET", _MODULE, "modules.get", _READ_REGISTRY, api.module),
        ("PUT", _MODULE, "modules.createOrUpdate", _WRITE_REGISTRY, api.put_module),
        ("DELETE", _MODULE, "modules.delete", _DELETE_DEVICE, api.delete_module),
        ("GET", _MODULE_TWIN, "moduleTwins.get", _READ_TWINS, api.module_twin),
        ("PATCH", _MODULE_TWIN, "moduleTwins.update", _UPDATE_TWINS, api.patch_module_twin),
    ):
        handler = _checked(kernel, hub, authorization, needs, serve)
        application.router.add_route(method, path, handler, name=operation)
    return application


def _checked(
    kernel: Kernel, hub: IotHub, authorization: _Authorization, needs: _Needs, serve: Handler
) -> Handler:
    """The handler behind the checks of every request, with IoT Hub's error bodies."""

    async def handler(request: web.Request) -> web.Response:
        try:
            authorization.check(request, needs)
            _check_api_version(request)
            hub.throttles.spend(needs.throttle)
            return await serve(request)
        except IotHubError as error:
            return _error_response(kernel, error)

    return handler


class _Authorization:
    """Accepts bearer tokens with the roles, and signatures of the owner's policy."""

    def __init__(self, kernel: Kernel, hub: IotHub, *, host_name: str, hub_id: str) -> None:
        self._kernel = kernel
        self._hub = hub
        self._host_name = host_name
        self._hub_id = hub_id

    def check(self, request: web.Request, needs: _Needs) -> None:
        """Raises IotHubError 401."""
        token = bearer_token(request)
        try:
            if token is not None:
                claims = self._kernel.tokens.verify(token, audiences=_AUDIENCES)
                self._check_roles(request, Caller.of(claims), needs)
            elif not self._is_owners(request):
                raise unauthorized()
        except (InvalidToken, InvalidSignature) as error:
            raise unauthorized() from error

    def _check_roles(self, request: web.Request, caller: Caller, needs: _Needs) -> None:
        needed = data_action(f"Microsoft.Devices/IotHubs/{needs.action}")
        if not self._kernel.access.allows(caller, needed, scope=self._hub_id):
            raise no_permission(caller.principal_id, method=request.method, path=request.path)

    def _is_owners(self, request: web.Request) -> bool:
        signature = SharedAccessSignature.parse(request.headers.get("Authorization", ""))
        policy = self._hub.policies.get(signature.policy or "")
        host, *segments = signature.resource
        return (
            policy is not None
            and same_host(host, self._host_name)
            and segments == _segments(request)[: len(segments)]
            and not signature.expired(self._kernel.clock.machine_time())
            and signature.signed_with((policy.key,))
        )


class _Api:
    """The operations. They raise IotHubError."""

    def __init__(self, hub: IotHub) -> None:
        self._hub = hub

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

    async def twin(self, request: web.Request) -> web.Response:
        return self._twin_answer(_device_id(request))

    async def patch_twin(self, request: web.Request) -> web.Response:
        device_id = _device_id(request)
        patch = twin_patch(await request.read(), device_id=device_id)
        etag = _twin_etag(request.headers.get("If-Match", "*"))
        self._hub.patch_twin(device_id, patch, etag=etag)
        return self._twin_answer(device_id)

    async def modules(self, request: web.Request) -> web.Response:
        identity = self._hub.device(_device_id(request))
        found = self._hub.modules(identity.device_id)
        return web.json_response([module_document(identity, module) for module in found])

    async def module(self, request: web.Request) -> web.Response:
        return self._module_answer(request)

    async def put_module(self, request: web.Request) -> web.Response:
        """Create a module; nothing here changes one."""
        device_id, module_id = _device_id(request), _module_id(request)
        wanted = module_settings(await request.read(), device_id=device_id, module_id=module_id)
        if request.headers.get("If-Match") is not None:
            raise IotHubError(ARGUMENT_INVALID, "A module's identity cannot be changed here.")
        self._hub.create_module(device_id, module_id, wanted)
        return self._module_answer(request)

    async def delete_module(self, request: web.Request) -> web.Response:
        if request.headers.get("If-Match") is None:
            raise IotHubError(PRECONDITION_FAILED, "Etag missing")
        self._hub.delete_module(_device_id(request), _module_id(request))
        return web.Response(status=204)

    async def module_twin(self, request: web.Request) -> web.Response:
        return self._module_twin_answer(request)

    async def patch_module_twin(self, request: web.Request) -> web.Response:
        device_id, module_id = _device_id(request), _module_id(request)
        patch = twin_patch(await request.read(), device_id=device_id, module_id=module_id)
        etag = _twin_etag(request.headers.get("If-Match", "*"))
        self._hub.patch_twin(device_id, patch, etag=etag, module_id=module_id)
        return self._module_twin_answer(request)

    def _module_answer(self, request: web.Request) -> web.Response:
        identity = self._hub.device(_device_id(request))
        module = self._hub.module(identity.device_id, _module_id(request))
        return _answer(module_document(identity, module), etag=module.etag)

    def _module_twin_answer(self, request: web.Request) -> web.Response:
        identity = self._hub.device(_device_id(request))
        module = self._hub.module(identity.device_id, _module_id(request))
        twin = self._hub.module_twin(identity.device_id, module.module_id)
        return web.json_response(module_twin_document(identity, module, twin))

    async def query(self, request: web.Request) -> web.Response:
        headers = request.headers
        page = self._hub.query(
            query_text(await request.read()),
            most=_page_size(headers.get(_MAX_ITEM_COUNT, "")),
            continuation=headers.get(_CONTINUATION) or None,
        )
        answer = web.json_response(page.rows, headers={"x-ms-item-type": "Twin"})
        if page.continuation is not None:
            answer.headers[_CONTINUATION] = page.continuation
        return answer

    def _twin_answer(self, device_id: str) -> web.Response:
        """Without an ETag header, which only identities have (azure-iot-cli-extension, 2021)."""
        document = twin_document(self._hub.device(device_id), self._hub.twin(device_id))
        return web.json_response(document)


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


def _check_api_version(request: web.Request) -> None:
    if request.query.get("api-version") != API_VERSION:
        raise IotHubError(INVALID_PROTOCOL_VERSION, f"api-version is missing or not {API_VERSION}")


def _segments(request: web.Request) -> list[str]:
    """The decoded segments of the path, because an id may contain any character."""
    path = request.raw_path.partition("?")[0]
    return [unquote(segment) for segment in path.removeprefix("/").split("/")]


def _device_id(request: web.Request) -> str:
    return _segments(request)[1]


def _module_id(request: web.Request) -> str:
    return _segments(request)[3]


def _page_size(wanted: str) -> int:
    """A number out of bounds means the limit."""
    try:
        number = int(wanted or MAX_ROWS)
    except ValueError as error:
        raise IotHubError(ARGUMENT_INVALID, f"{_MAX_ITEM_COUNT} is not a number") from error
    return number if 1 <= number <= MAX_ROWS else MAX_ROWS


def _identity_etag(if_match: str) -> str | None:
    """The ETag; the identity registry accepts it with and without quotes. None matches any."""
    etag = if_match.strip().strip('"')
    return None if etag == "*" else etag


def _twin_etag(if_match: str) -> str | None:
    """The ETag in quotes; twins ignore one without quotes, as in Azure."""
    text = if_match.strip()
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return None if not quoted or text == '"*"' else text[1:-1]
