"""Microsoft.ContainerRegistry as Azure Resource Manager serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from local_azure.container_registry.documents import (
    connected_registry_document,
    credentials_document,
    registry_document,
    scope_map_document,
    token_document,
)
from local_azure.container_registry.json_input import (
    ConnectedRegistryBody,
    ConnectedRegistryUpdateBody,
    GenerateCredentialsBody,
    RegistryUpdateBody,
    ScopeMapBody,
    ScopeMapUpdateBody,
    TokenBody,
    TokenUpdateBody,
    parse,
)
from local_azure.container_registry.models import ContainerRegistryCloud, Registry
from local_azure.container_registry.operations import Operation, Operations
from local_azure.container_registry.resource_ids import PROVIDER, RegistryId
from local_azure.container_registry.resources import (
    ConnectedRegistry,
    ConnectedRegistrySettings,
    Provisioning,
    ScopeMap,
    Token,
)
from local_azure.container_registry.versions import SERVED_API_VERSIONS
from local_azure.kernel import Kernel
from local_azure.resource_manager.directory import LOCATION
from local_azure.resource_manager.exceptions import (
    NotFoundInResourceManager,
    ParentResourceNotFound,
)
from local_azure.resource_manager.links import PAGED, Document, Links
from local_azure.resource_manager.routing import ArmCall, Handler, Route

_ASYNC_OPERATION: Final = "Azure-AsyncOperation"
_LOCATION: Final = "Location"
_RETRY_AFTER_SECONDS = "10"  # azure-powershell's recordings, however short the operation is
_SIGNED = frozenset("tcsh")
_NONE: frozenset[str] = frozenset()

_IN_SUBSCRIPTION = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/registries"
_IN_GROUP = (
    f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{PROVIDER}/registries"
)
_REGISTRY = f"{_IN_GROUP}/{{registry}}"
_OPERATION_RESULTS = (
    f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{LOCATION.upper()}"
    "/operationResults"
)
_CHILDREN = frozenset({"scopeMaps", "tokens", "connectedRegistries"})
# The permission of each verb, https://learn.microsoft.com/azure/role-based-access-control/permissions/containers
_ACTION_VERBS = {
    "get": "read",
    "list": "read",
    "createOrUpdate": "write",
    "update": "write",
    "delete": "delete",
    "generateCredentials": "generateCredentials/action",
    "operationStatus": "operationStatuses/read",
}


@dataclass(frozen=True)
class RegistryCall(ArmCall):
    """A call for a registry that exists, or for a child of it."""

    registry: Registry

    @property
    def name(self) -> str:
        """The name of the child in the path, empty for the registry itself."""
        return self.variables.get("name", "")


RegistryHandler = Callable[[RegistryCall], Awaitable[web.Response]]


class ContainerRegistryService:
    """The operations of Microsoft.ContainerRegistry that clients here use."""

    def __init__(self, kernel: Kernel, cloud: ContainerRegistryCloud, links: Links) -> None:
        self._cloud = cloud
        self._clock = kernel.clock
        self._links = links
        self._operations = Operations(clock=kernel.clock, random=kernel.random)

    def routes(self) -> list[Route]:
        """All routes. `_below` takes: method, path, verb, handler, query parameters."""
        scope_map, token = "/scopeMaps/{name}", "/tokens/{name}"
        connected, status = "/connectedRegistries/{name}", "/operationStatuses/{operation}"
        return [
            _route("GET", _IN_SUBSCRIPTION, "registries.list", self.list_registries, PAGED),
            _route("GET", _IN_GROUP, "registries.list", self.list_registries, PAGED),
            self._below("GET", "", "get", self.get_registry),
            self._below("PATCH", "", "update", self.update_registry),
            self._below(
                "POST", "/generateCredentials", "generateCredentials", self.generate_credentials
            ),
            self._below("GET", status, "operationStatus", self.show_operation, _SIGNED),
            self._below("GET", "/scopeMaps", "list", self.list_scope_maps, PAGED),
            self._below("GET", scope_map, "get", self.get_scope_map),
            self._below("PUT", scope_map, "createOrUpdate", self.put_scope_map),
            self._below("PATCH", scope_map, "update", self.update_scope_map),
            self._below("DELETE", scope_map, "delete", self.delete_scope_map),
            self._below("GET", scope_map + status, "operationStatus", self.show_operation, _SIGNED),
            self._below("GET", "/tokens", "list", self.list_tokens, PAGED),
            self._below("GET", token, "get", self.get_token),
            self._below("PUT", token, "createOrUpdate", self.put_token),
            self._below("PATCH", token, "update", self.update_token),
            self._below("DELETE", token, "delete", self.delete_token),
            self._below("GET", token + status, "operationStatus", self.show_operation, _SIGNED),
            self._below(
                "GET", "/connectedRegistries", "list", self.list_connected_registries, PAGED
            ),
            self._below("GET", connected, "get", self.get_connected_registry),
            self._below("PUT", connected, "createOrUpdate", self.put_connected_registry),
            self._below("PATCH", connected, "update", self.update_connected_registry),
            self._below("DELETE", connected, "delete", self.delete_connected_registry),
            self._below("GET", connected + status, "operationStatus", self.show_operation, _SIGNED),
            Route(
                method="GET",
                path=f"{_OPERATION_RESULTS}/{{operation}}",
                operation="locations.operationResult",
                handler=self.show_operation,
                api_versions=SERVED_API_VERSIONS,
                namespace=PROVIDER,
                resource_type="locations/operationResults",
                # Not below the registry: a role on the registry does not reach it.
                action=f"{PROVIDER}/locations/operationResults/read",
                query=_SIGNED,
            ),
        ]

    def _below(
        self,
        method: str,
        path: str,
        verb: str,
        handler: RegistryHandler,
        query: frozenset[str] = _NONE,
    ) -> Route:
        """The route of an operation on a registry or its child. The registry may be missing."""
        kind = path.split("/")[1] if path else ""
        child = kind if kind in _CHILDREN else ""
        operation = f"{child or 'registries'}.{verb}"

        async def serve(call: ArmCall) -> web.Response:
            registry = self._registry(call, operation=operation, child=child, is_parent=bool(path))
            return await handler(RegistryCall(**vars(call), registry=registry))

        return _route(method, _REGISTRY + path, operation, serve, query, child=child)

    def _registry(self, call: ArmCall, *, operation: str, child: str, is_parent: bool) -> Registry:
        names = call.variables
        registry_id = RegistryId(names["subscription"], names["group"], names["registry"])
        registry = self._cloud.registry(registry_id)
        if registry is not None:
            return registry
        if is_parent:
            raise ParentResourceNotFound(
                f"Failed to perform '{operation}' on resource(s) of type '{_type(child)}', because "
                f"the parent resource '{registry_id}' could not be found."
            )
        raise NotFoundInResourceManager(
            f"The Resource '{PROVIDER}/registries/{registry_id.name}' under resource group "
            f"'{registry_id.resource_group}' was not found."
        )

    # Registries

    async def list_registries(self, call: ArmCall) -> web.Response:
        """One page of the registries in a subscription or a resource group."""
        wanted = {name: value.lower() for name, value in call.variables.items()}
        keys = ((registry, registry.registry_id.key) for registry in self._cloud.registries())
        found = [
            registry
            for registry, key in keys
            if key.subscription_id == wanted["subscription"]
            and key.resource_group == wanted.get("group", key.resource_group)
        ]
        return self._page(call, map(registry_document, found))

    async def get_registry(self, call: RegistryCall) -> web.Response:
        """The registry itself."""
        return web.json_response(registry_document(call.registry))

    async def update_registry(self, call: RegistryCall) -> web.Response:
        """200. Replaces the tier, or whether there is a data endpoint."""
        given = parse(RegistryUpdateBody, call.content)
        if given.sku is not None:
            call.registry.tier = given.sku.name
        if given.properties.data_endpoint_enabled is not None:
            call.registry.has_data_endpoint = given.properties.data_endpoint_enabled
        return web.json_response(registry_document(call.registry))

    async def generate_credentials(self, call: RegistryCall) -> web.Response:
        """200 with the credentials, or 202 with the address of the operation."""
        body = parse(GenerateCredentialsBody, call.content)
        credentials = call.registry.generate_credentials(
            body.token_id, name=body.name, expiry=body.expiry
        )
        if not self._cloud.settings.generate_credentials_asynchronously:
            return web.json_response(credentials_document(credentials))
        operation = self._operations.start(
            "registries",
            below=f"{call.registry.registry_id}/operationStatuses",
            polled_by=_LOCATION,
            provisioning=call.registry.surroundings.begin("Updating"),
            result=credentials,
        )
        return self._accepted(operation, call)

    # Scope maps

    async def list_scope_maps(self, call: RegistryCall) -> web.Response:
        """One page."""
        registry = call.registry
        return self._page(call, [scope_map_document(registry, s) for s in registry.scope_maps()])

    async def get_scope_map(self, call: RegistryCall) -> web.Response:
        """One scope map."""
        scope_map = call.registry.scope_map(call.name)
        return web.json_response(scope_map_document(call.registry, scope_map))

    async def put_scope_map(self, call: RegistryCall) -> web.Response:
        """200 for a new one; 201 with the address of the operation where it replaces one."""
        given = parse(ScopeMapBody, call.content).properties
        scope_map = call.registry.put_scope_map(
            call.name, actions=given.actions, description=given.description, caller=call.caller
        )
        if scope_map.provisioning.progress == "Creating":
            return web.json_response(scope_map_document(call.registry, scope_map))
        return self._scope_map_changed(call, scope_map)

    async def update_scope_map(self, call: RegistryCall) -> web.Response:
        """201 with the address of the operation. Replaces what is given."""
        given = parse(ScopeMapUpdateBody, call.content).properties
        scope_map = call.registry.update_scope_map(
            call.name, actions=given.actions, description=given.description, caller=call.caller
        )
        return self._scope_map_changed(call, scope_map)

    async def delete_scope_map(self, call: RegistryCall) -> web.Response:
        """202; 204 when there is nothing to delete."""
        return self._deleted("scopeMap", call, call.registry.delete_scope_map(call.name))

    # Tokens

    async def list_tokens(self, call: RegistryCall) -> web.Response:
        """One page."""
        registry, size = call.registry, self._cloud.settings.page_size
        tokens = {registry.registry_id.child("tokens", t.name): t for t in registry.tokens()}
        return self._links.page_of(call, tokens, partial(token_document, registry), size=size)

    async def get_token(self, call: RegistryCall) -> web.Response:
        """One token."""
        token = call.registry.token(call.name)
        return web.json_response(token_document(call.registry, token))

    async def put_token(self, call: RegistryCall) -> web.Response:
        """201 with the address of the operation."""
        given = parse(TokenBody, call.content).properties
        token = call.registry.put_token(
            call.name,
            scope_map_id=given.scope_map_id,
            status=given.status,
            keep_passwords=(given.credentials and given.credentials.names()) or (),
            caller=call.caller,
        )
        return self._token_changed(call, token)

    async def update_token(self, call: RegistryCall) -> web.Response:
        """201 with the address of the operation. Passwords that the body does not name go."""
        given = parse(TokenUpdateBody, call.content).properties
        token = call.registry.update_token(
            call.name,
            scope_map_id=given.scope_map_id,
            status=given.status,
            keep_passwords=given.credentials.names() if given.credentials else None,
            caller=call.caller,
        )
        return self._token_changed(call, token)

    async def delete_token(self, call: RegistryCall) -> web.Response:
        """202; 204 when there is nothing to delete."""
        return self._deleted("token", call, call.registry.delete_token(call.name))

    # Connected registries

    async def list_connected_registries(self, call: RegistryCall) -> web.Response:
        """One page."""
        registry = call.registry
        documents = [
            connected_registry_document(registry, each, api_version=call.api_version)
            for each in registry.connected_registries()
        ]
        return self._page(call, documents)

    async def get_connected_registry(self, call: RegistryCall) -> web.Response:
        """One connected registry."""
        connected = call.registry.connected_registry(call.name)
        return _connected_registry(call, connected)

    async def put_connected_registry(self, call: RegistryCall) -> web.Response:
        """Create, or replace what can be updated, at once."""
        given = parse(ConnectedRegistryBody, call.content, api_version=call.api_version).properties
        sync = given.parent.sync_properties
        connected = call.registry.put_connected_registry(
            call.name,
            sync_token_id=sync.token_id,
            settings=given.changes_with(sync).applied_to(ConnectedRegistrySettings()),
            caller=call.caller,
        )
        return _connected_registry(call, connected)

    async def update_connected_registry(self, call: RegistryCall) -> web.Response:
        """Replace what is given, the client tokens as a whole list. If-Match is ignored."""
        given = parse(
            ConnectedRegistryUpdateBody, call.content, api_version=call.api_version
        ).properties
        connected = call.registry.update_connected_registry(
            call.name, given.changes_with(given.sync_properties), caller=call.caller
        )
        return _connected_registry(call, connected)

    async def delete_connected_registry(self, call: RegistryCall) -> web.Response:
        """200; 204 when there is nothing to delete."""
        existed = call.registry.delete_connected_registry(call.name)
        return web.Response(status=200 if existed else 204)

    # Asynchronous operations

    async def show_operation(self, call: ArmCall) -> web.Response:
        """200 with the state for Azure-AsyncOperation; 202 and then 200 for Location."""
        operation = self._operations.find(call.path, call.query)
        if operation.polled_by == _ASYNC_OPERATION:
            status = operation.provisioning.state(self._clock.now())
            return self._in_progress({"status": status}, operation, call, status=200)
        if not operation.provisioning.has_succeeded(self._clock.now()):
            return self._accepted(operation, call)
        if operation.result is None:
            return web.Response(status=200)
        return web.json_response(credentials_document(operation.result))

    def _scope_map_changed(self, call: RegistryCall, scope_map: ScopeMap) -> web.Response:
        document = scope_map_document(call.registry, scope_map, has_begun=True)
        return self._changed("scopeMap", call, scope_map.provisioning, document)

    def _token_changed(self, call: RegistryCall, token: Token) -> web.Response:
        document = token_document(call.registry, token, has_begun=True)
        return self._changed("token", call, token.provisioning, document)

    def _changed(
        self, prefix: str, call: RegistryCall, provisioning: Provisioning, document: Document
    ) -> web.Response:
        operation = self._operations.start(
            prefix,
            below=f"{document['id']}/operationStatuses",
            polled_by=_ASYNC_OPERATION,
            provisioning=provisioning,
        )
        return self._in_progress(document, operation, call, status=201)

    def _deleted(
        self, prefix: str, call: RegistryCall, provisioning: Provisioning | None
    ) -> web.Response:
        if provisioning is None:
            return web.Response(status=204)
        operation = self._operations.start(
            prefix,
            below=_OPERATION_RESULTS.format(subscription=call.variables["subscription"]),
            polled_by=_LOCATION,
            provisioning=provisioning,
        )
        return self._accepted(operation, call)

    def _page(self, call: ArmCall, documents: Iterable[Document]) -> web.Response:
        return self._links.page(call, documents, size=self._cloud.settings.page_size)

    def _in_progress(
        self, document: Document, operation: Operation, call: ArmCall, *, status: int
    ) -> web.Response:
        headers = self._poll_headers(operation, call)
        return web.json_response(document, status=status, headers=headers)

    def _accepted(self, operation: Operation, call: ArmCall) -> web.Response:
        return web.Response(status=202, headers=self._poll_headers(operation, call))

    def _poll_headers(self, operation: Operation, call: ArmCall) -> dict[str, str]:
        address = self._links.link(operation.path, call, operation.signature())
        return {operation.polled_by: address, "Retry-After": _RETRY_AFTER_SECONDS}


def _route(
    method: str,
    path: str,
    operation: str,
    handler: Handler,
    query: frozenset[str],
    *,
    child: str = "",
) -> Route:
    return Route(
        method=method,
        path=path,
        operation=operation,
        handler=handler,
        api_versions=SERVED_API_VERSIONS,
        namespace=PROVIDER,
        resource_type=_type(child),
        action=f"{PROVIDER}/{_type(child)}/{_ACTION_VERBS[operation.partition('.')[2]]}",
        query=query,
    )


def _type(child: str) -> str:
    return f"registries/{child}" if child else "registries"


def _connected_registry(call: RegistryCall, connected: ConnectedRegistry) -> web.Response:
    return web.json_response(
        connected_registry_document(call.registry, connected, api_version=call.api_version)
    )
