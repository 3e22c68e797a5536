"""Azure Resource Manager for container registries, as an aiohttp application."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from local_azure.container_registry.bodies import (
    ConnectedRegistryBody,
    ConnectedRegistryUpdateBody,
    GenerateCredentialsBody,
    ScopeMapBody,
    ScopeMapUpdateBody,
    TokenBody,
    TokenUpdateBody,
    parse,
)
from local_azure.container_registry.documents import (
    Document,
    connected_registry_document,
    credentials_document,
    registry_document,
    scope_map_document,
    token_document,
    usages_document,
)
from local_azure.container_registry.exceptions import ArmError, InvalidQueryParameter
from local_azure.container_registry.gate import (
    Gate,
    add_headers,
    render_error,
    render_refusal,
)
from local_azure.container_registry.models import ContainerRegistryCloud
from local_azure.container_registry.operations import Operation, Operations
from local_azure.container_registry.resources import ConnectedRegistrySettings, Provisioning
from local_azure.container_registry.routing import ArmCall, Route, Router
from local_azure.container_registry.throttling import RateLimits, Throttle
from local_azure.kernel import Kernel
from local_azure.kernel.service import create_application

_ASYNC_OPERATION = "Azure-AsyncOperation"
_RETRY_AFTER_SECONDS = "1"  # of a 202; token creation sends none, as on Azure
_PAGED = frozenset({"$skiptoken"})
_FILTERED = _PAGED | {"$filter"}
_SIGNED = frozenset("tcsh")
_FILTER = re.compile(r"(mode|connectionState) eq '([^']*)'")


def create_arm_application(
    kernel: Kernel,
    cloud: ContainerRegistryCloud,
    *,
    audiences: Collection[str],
    endpoint: str,
    authority: str = "https://login.windows.net/common",
    page_size: int = 20,
    throttle: Throttle | None = None,
) -> web.Application:
    """The service `arm`.

    `audiences` are those of the bearer tokens it takes, `endpoint` the address that the links in
    its answers begin with (`https://127.0.0.1:8443`), `authority` where a 401 sends for a token.
    Without `throttle` the documented rate limits hold.
    """
    service = ContainerRegistryService(kernel, cloud, endpoint=endpoint, page_size=page_size)
    router = Router(service.routes())
    gate = Gate(
        cloud=cloud,
        tokens=kernel.tokens,
        audiences=audiences,
        throttle=throttle or Throttle(clock=kernel.clock, limits=RateLimits()),
        router=router,
    )

    def name_operation(request: web.Request) -> str:
        match = router.match(request.method, request.rel_url.raw_path)
        return match.route.operation if match else "unknown"

    async def serve(request: web.Request) -> web.Response:
        try:
            route, call = await gate.admit(request)
            return await route.handler(call)
        except ArmError as error:
            return render_refusal(error, authority=authority)

    application = create_application(
        kernel, service="arm", name_operation=name_operation, render_error=render_error
    )
    application.on_response_prepare.append(add_headers)
    application.router.add_route("*", "/{path:.*}", serve)
    return application


class ContainerRegistryService:
    """The operations of Microsoft.ContainerRegistry that are served here."""

    def __init__(
        self, kernel: Kernel, cloud: ContainerRegistryCloud, *, endpoint: str, page_size: int
    ) -> None:
        self._cloud = cloud
        self._clock = kernel.clock
        self._endpoint = endpoint.rstrip("/")
        self._page_size = page_size
        self._operations = Operations(clock=kernel.clock, random=kernel.random)

    def routes(self) -> list[Route]:
        """Method, path below the registry, name below the resource type, handler, query."""
        scope_map, token = "/scopeMaps/{name}", "/tokens/{name}"
        connected, status = "/connectedRegistries/{name}", "/operationStatuses/{operation}"
        registries = [
            Route("GET", "", "get", self.get_registry),
            Route("GET", "/listUsages", "listUsages", self.list_usages),
            Route("POST", "/generateCredentials", "generateCredentials", self.generate_credentials),
            Route("GET", status, "operationStatus", self.operation_result, _SIGNED),
        ]
        scope_maps = [
            Route("GET", "/scopeMaps", "list", self.list_scope_maps, _PAGED),
            Route("GET", scope_map, "get", self.get_scope_map),
            Route("PUT", scope_map, "createOrUpdate", self.put_scope_map),
            Route("PATCH", scope_map, "update", self.update_scope_map),
            Route("DELETE", scope_map, "delete", self.delete_scope_map),
        ]
        tokens = [
            Route("GET", "/tokens", "list", self.list_tokens, _PAGED),
            Route("GET", token, "get", self.get_token),
            Route("PUT", token, "createOrUpdate", self.put_token),
            Route("PATCH", token, "update", self.update_token),
            Route("DELETE", token, "delete", self.delete_token),
            Route("GET", token + status, "operationStatus", self.operation_status, _SIGNED),
        ]
        connected_registries = [
            Route("GET", "/connectedRegistries", "list", self.list_connected_registries, _FILTERED),
            Route("GET", connected, "get", self.get_connected_registry),
            Route("PUT", connected, "createOrUpdate", self.put_connected_registry),
            Route("PATCH", connected, "update", self.update_connected_registry),
            Route("DELETE", connected, "delete", self.delete_connected_registry),
            Route("POST", f"{connected}/deactivate", "deactivate", self.deactivate),
            Route("GET", connected + status, "operationStatus", self.operation_result, _SIGNED),
        ]
        return [*registries, *scope_maps, *tokens, *connected_registries]

    # Registries

    async def get_registry(self, call: ArmCall) -> web.Response:
        """The registry itself."""
        return web.json_response(registry_document(call.registry))

    async def list_usages(self, call: ArmCall) -> web.Response:
        """Counts and limits."""
        return web.json_response(usages_document(call.registry))

    async def generate_credentials(self, call: ArmCall) -> web.Response:
        """200 with the credentials, or 202 with the address where they will be."""
        body = parse(GenerateCredentialsBody, call.content)
        credentials = call.registry.generate_credentials(
            body.token_id, name=body.name, expiry=body.expiry
        )
        if not self._cloud.settings.generate_credentials_asynchronously:
            return web.json_response(credentials_document(credentials))
        operation = self._operations.start(
            "registries",
            parent_id=str(call.registry.registry_id),
            provisioning=self._provisioning(call),
            result=credentials,
        )
        return self._accepted(operation, call)

    # Scope maps

    async def list_scope_maps(self, call: ArmCall) -> web.Response:
        """One page."""
        registry = call.registry
        return self._page(call, [scope_map_document(registry, s) for s in registry.scope_maps()])

    async def get_scope_map(self, call: ArmCall) -> web.Response:
        """One scope map."""
        scope_map = call.registry.scope_map(call.name)
        return web.json_response(scope_map_document(call.registry, scope_map))

    async def put_scope_map(self, call: ArmCall) -> web.Response:
        """Create or replace, at once."""
        given = parse(ScopeMapBody, call.content).properties
        scope_map = call.registry.put_scope_map(
            call.name, actions=given.actions, description=given.description, caller=call.caller
        )
        return web.json_response(scope_map_document(call.registry, scope_map))

    async def update_scope_map(self, call: ArmCall) -> web.Response:
        """Replace what is given."""
        given = parse(ScopeMapUpdateBody, call.content).properties
        scope_map = call.registry.update_scope_map(
            call.name, actions=given.actions, description=given.description, caller=call.caller
        )
        return web.json_response(scope_map_document(call.registry, scope_map))

    async def delete_scope_map(self, call: ArmCall) -> web.Response:
        """200, or 204 when there is none."""
        return _deleted(existed=call.registry.delete_scope_map(call.name))

    # Tokens

    async def list_tokens(self, call: ArmCall) -> web.Response:
        """One page."""
        registry = call.registry
        return self._page(call, [token_document(registry, t) for t in registry.tokens()])

    async def get_token(self, call: ArmCall) -> web.Response:
        """One token."""
        token = call.registry.token(call.name)
        return web.json_response(token_document(call.registry, token))

    async def put_token(self, call: ArmCall) -> web.Response:
        """201 with the address where the end of the creation can be seen; no Retry-After."""
        given = parse(TokenBody, call.content).properties
        token = call.registry.put_token(
            call.name,
            scope_map_id=given.scope_map_id,
            status=given.status,
            keep_passwords=(given.credentials and given.credentials.names()) or (),
            caller=call.caller,
        )
        operation = self._operations.start(
            "token",
            parent_id=call.registry.registry_id.child("tokens", token.name),
            provisioning=token.provisioning,
        )
        return web.json_response(
            token_document(call.registry, token),
            status=201,
            headers={_ASYNC_OPERATION: self._operation_url(operation, call)},
        )

    async def update_token(self, call: ArmCall) -> web.Response:
        """Replace what is given; passwords that are not named are dropped."""
        given = parse(TokenUpdateBody, call.content).properties
        token = call.registry.update_token(
            call.name,
            scope_map_id=given.scope_map_id,
            status=given.status,
            keep_passwords=given.credentials.names() if given.credentials else None,
            caller=call.caller,
        )
        return web.json_response(token_document(call.registry, token))

    async def delete_token(self, call: ArmCall) -> web.Response:
        """200, or 204 when there is none."""
        return _deleted(existed=call.registry.delete_token(call.name))

    # Connected registries

    async def list_connected_registries(self, call: ArmCall) -> web.Response:
        """One page of those that the filter lets through."""
        passes = _filter(call.query.get("$filter"))
        registry = call.registry
        documents = [
            connected_registry_document(registry, c) for c in registry.connected_registries()
        ]
        return self._page(call, [document for document in documents if passes(document)])

    async def get_connected_registry(self, call: ArmCall) -> web.Response:
        """One connected registry."""
        connected = call.registry.connected_registry(call.name)
        return web.json_response(connected_registry_document(call.registry, connected))

    async def put_connected_registry(self, call: ArmCall) -> web.Response:
        """Create, or replace what can be updated, at once."""
        given = parse(ConnectedRegistryBody, call.content).properties
        sync = given.parent.sync_properties
        connected = call.registry.put_connected_registry(
            call.name,
            sync_token_id=sync.token_id,
            mode=given.mode,
            settings=given.changes_with(sync).applied_to(ConnectedRegistrySettings()),
            caller=call.caller,
        )
        return web.json_response(connected_registry_document(call.registry, connected))

    async def update_connected_registry(self, call: ArmCall) -> web.Response:
        """Replace what is given, the client tokens as a whole list; If-Match means nothing."""
        given = parse(ConnectedRegistryUpdateBody, call.content).properties
        connected = call.registry.update_connected_registry(
            call.name, given.changes_with(given.sync_properties), caller=call.caller
        )
        return web.json_response(connected_registry_document(call.registry, connected))

    async def delete_connected_registry(self, call: ArmCall) -> web.Response:
        """200, or 204 when there is none."""
        return _deleted(existed=call.registry.delete_connected_registry(call.name))

    async def deactivate(self, call: ArmCall) -> web.Response:
        """202; done when its operation is."""
        call.registry.deactivate_connected_registry(call.name)
        operation = self._operations.start(
            "connectedregistries",
            parent_id=call.registry.registry_id.child("connectedRegistries", call.name),
            provisioning=self._provisioning(call),
        )
        return self._accepted(operation, call)

    # Asynchronous operations

    async def operation_status(self, call: ArmCall) -> web.Response:
        """An Azure-AsyncOperation: 200 with its state."""
        operation = self._operations.find(call.path, call.query)
        return web.json_response(
            {"status": operation.provisioning.state(self._clock.now())},
            headers={_ASYNC_OPERATION: self._operation_url(operation, call)},
        )

    async def operation_result(self, call: ArmCall) -> web.Response:
        """A Location: 202 until it has ended, then 200 with its result."""
        operation = self._operations.find(call.path, call.query)
        if not operation.provisioning.has_succeeded(self._clock.now()):
            return self._accepted(operation, call)
        if operation.result is None:
            return web.Response(status=200)
        return web.json_response(credentials_document(operation.result))

    def _provisioning(self, call: ArmCall) -> Provisioning:
        ends = call.registry.surroundings.activation_time()
        return Provisioning.creating(since=self._clock.now(), until=ends)

    def _accepted(self, operation: Operation, call: ArmCall) -> web.Response:
        headers = {
            "Location": self._operation_url(operation, call),
            "Retry-After": _RETRY_AFTER_SECONDS,
        }
        return web.Response(status=202, headers=headers)

    def _operation_url(self, operation: Operation, call: ArmCall) -> str:
        return self._link(operation.path, call, operation.signature)

    # Lists

    def _page(self, call: ArmCall, documents: list[Document]) -> web.Response:
        # Pages go on after a name and not at a number, so that a resource that is removed
        # meanwhile makes no other one skipped.
        after = call.query.get("$skiptoken", "")
        rest = [document for document in documents if document["name"].lower() > after]
        page = rest[: self._page_size]
        body: dict[str, Any] = {"value": page}
        if len(rest) > len(page):
            query = {k: v for k, v in call.query.items() if k == "$filter"}
            body["nextLink"] = self._link(
                call.path, call, {**query, "$skiptoken": page[-1]["name"].lower()}
            )
        return web.json_response(body)

    def _link(self, path: str, call: ArmCall, query: Mapping[str, str]) -> str:
        query = {"api-version": call.query["api-version"], **query}
        return f"{self._endpoint}{quote(path)}?{urlencode(query)}"


def _deleted(*, existed: bool) -> web.Response:
    return web.Response(status=200 if existed else 204)


def _filter(expression: str | None) -> Callable[[Document], bool]:
    if expression is None:
        return lambda _: True
    match = _FILTER.fullmatch(expression)
    if match is None:
        raise InvalidQueryParameter(f"The filter '{expression}' is not supported.")
    name, wanted = match[1], match[2]
    return lambda document: bool(document["properties"][name] == wanted)
