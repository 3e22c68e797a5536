"""Resource groups and what is made in them, as Azure Resource Manager serves them.

https://learn.microsoft.com/rest/api/resources/resource-groups
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from local_azure.governance import Governance
from local_azure.kernel.service import describe
from local_azure.resource_manager.exceptions import (
    InvalidQueryParameter,
    InvalidRequestContent,
    NotFoundInResourceManager,
    ResourceGroupNotFound,
)
from local_azure.resource_manager.links import FILTERED, Links
from local_azure.resource_manager.routing import ArmCall, Handler, Route
from local_azure.subscriptions.exceptions import RoleAssignmentNotFound
from local_azure.subscriptions.models import (
    DeletedVault,
    Document,
    Kind,
    MadeResource,
    ResourceGroup,
    ResourceGroups,
    ResourceId,
)

GROUP_API_VERSION = "2025-04-01"
_AZS_GROUP_VERSION = "2024-11-01"
VAULT_API_VERSION = "2026-02-01"
ROLE_API_VERSION = "2022-04-01"

_RESOURCES = "Microsoft.Resources/subscriptions"
_GROUP = "/subscriptions/{subscription}/resourceGroups/{name}"
_DELETED_VAULT = (
    "/subscriptions/{subscription}/providers/Microsoft.KeyVault/locations/{location}"
    "/deletedVaults/{name}"
)
_TAG_FILTER = re.compile(r"tagName eq '([^']*)'")
_RETRY_AFTER = {"Retry-After": "1"}


class _Body(BaseModel):
    """What the body of a PUT of a group or resource needs; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    location: str


class ResourceGroupService:
    """Resource groups, resources of these kinds, deleted vaults and role assignments."""

    def __init__(
        self,
        groups: ResourceGroups,
        kinds: Sequence[Kind],
        links: Links,
        *,
        governance: Governance | None = None,
    ) -> None:
        self._governance = governance or Governance()
        self._groups = groups
        self._kinds = kinds
        self._links = links

    def routes(self) -> list[Route]:
        """All routes."""
        one, purge = _of_vaults("read"), _of_vaults("purge/action")
        return [
            _of_groups("GET", "/subscriptions/{subscription}/resourceGroups", self.list_groups),
            _of_groups("GET", _GROUP, self.get_group),
            _of_groups("HEAD", _GROUP, self.has_group),
            _of_groups("PUT", _GROUP, self.put_group),
            _of_groups("DELETE", _GROUP, self.delete_group),
            _of_groups("GET", _GROUP + "/operationResults/deletion", self.show_deletion),
            one("GET", _DELETED_VAULT, "deletedVaults.get", self.get_deleted_vault),
            purge("POST", f"{_DELETED_VAULT}/purge", "deletedVaults.purge", self.purge_vault),
            self._of_assignments("GET", "read", self.get_assignment),
            self._of_assignments("PUT", "write", self.put_assignment),
            self._of_assignments("DELETE", "delete", self.delete_assignment),
            *(route for kind in self._kinds for route in self._of_kind(kind)),
        ]

    # Resource groups

    async def list_groups(self, call: ArmCall) -> web.Response:
        """One page, of those with a tag with a filter."""
        groups, expression = self._groups.all(), call.query.get("$filter")
        if expression is not None:
            match = _TAG_FILTER.fullmatch(expression)
            if match is None:
                raise InvalidQueryParameter(f"The filter '{expression}' is not supported.")
            groups = [group for group in groups if match[1] in group.tags]
        return self._links.page(call, map(_group, groups))

    async def get_group(self, call: ArmCall) -> web.Response:
        """One group."""
        group = self._groups.get(call.variables["name"])
        if group is None:
            raise _no_group(call)
        return web.json_response(_group(group))

    async def has_group(self, call: ArmCall) -> web.Response:
        """204, or 404 without one. The stack's own group is one here, unlike in a list."""
        name = call.variables["name"]
        exists = self._groups.get(name) is not None or self._groups.is_own(name)
        return web.Response(status=204 if exists else 404)

    async def put_group(self, call: ArmCall) -> web.Response:
        """201 for a new group, else 200."""
        group, is_new = self._groups.put(
            call.variables["subscription"], call.variables["name"], _read(call)
        )
        return web.json_response(_group(group), status=201 if is_new else 200)

    async def delete_group(self, call: ArmCall) -> web.Response:
        """202 with the address of the deletion."""
        if self._groups.delete(call.variables["name"]) is None:
            raise _no_group(call)
        return self._under_way(call, f"{call.path}/operationResults/deletion")

    async def show_deletion(self, call: ArmCall) -> web.Response:
        """202 while a group is being deleted, then 200."""
        if self._groups.get(call.variables["name"]) is not None:
            return self._under_way(call, call.path)
        return web.Response(status=200)

    # What is made in them

    async def put_resource(self, kind: Kind, call: ArmCall) -> web.Response:
        """201 while it is being made, 200 afterwards. A repetition changes nothing.

        One of the stack's own takes the changes.
        """
        resource_id = _resource_id(kind, call)
        if self._governance.resource(str(resource_id)) is not None:
            return await self.update_resource(kind, call)
        made, is_new = self._groups.make(resource_id, kind, _read(call))
        return web.json_response(_resource(made), status=201 if is_new else 200)

    async def get_resource(self, kind: Kind, call: ArmCall) -> web.Response:
        """One resource, also while it is being made."""
        resource_id = _resource_id(kind, call)
        own = self._governance.resource(str(resource_id))
        if own is not None:
            return web.json_response(own.document)
        made = self._groups.find(resource_id)
        if made is None:
            raise NotFoundInResourceManager(
                f"The Resource '{kind.type}/{resource_id.name}' under resource group "
                f"'{resource_id.group}' was not found."
            )
        return web.json_response(_resource(made))

    async def update_resource(self, kind: Kind, call: ArmCall) -> web.Response:
        """200. Merges changes into one of the stack's own resources."""
        resource_id = _resource_id(kind, call)
        own = self._governance.resource(str(resource_id))
        if own is None:
            raise NotFoundInResourceManager(f"'{resource_id}' cannot be changed here.")
        try:
            changes = json.loads(call.content)
        except ValueError:
            raise InvalidRequestContent("The request content is no JSON.") from None
        own.change(changes)
        return web.json_response(own.document)

    # Deleted vaults

    async def get_deleted_vault(self, call: ArmCall) -> web.Response:
        """One deleted vault."""
        return web.json_response(_deleted_vault(self._groups.deleted_vault(call.variables["name"])))

    async def purge_vault(self, call: ArmCall) -> web.Response:
        """202; the vault is gone at once."""
        deleted = self._groups.deleted_vault(call.variables["name"])
        del self._groups.deleted_vaults[deleted.vault_id.name.lower()]
        return web.Response(status=202)

    # Role assignments on a resource group

    async def get_assignment(self, call: ArmCall) -> web.Response:
        """One assignment."""
        found = self._groups.role_assignments.get(call.path.lower())
        if found is None:
            raise RoleAssignmentNotFound(f"The role assignment '{call.path}' is not found.")
        return web.json_response(found)

    async def put_assignment(self, call: ArmCall) -> web.Response:
        """201."""
        try:
            properties = _Properties.model_validate_json(call.content).properties
        except ValidationError as error:
            raise InvalidRequestContent(describe(error)) from None
        document: Document = {
            "id": call.path,
            "name": call.variables["assignment"],
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": properties,
        }
        self._groups.role_assignments[call.path.lower()] = document
        return web.json_response(document, status=201)

    async def delete_assignment(self, call: ArmCall) -> web.Response:
        """200, or 204 without one."""
        found = self._groups.role_assignments.pop(call.path.lower(), None)
        if found is None:
            return web.Response(status=204)
        return web.json_response(found)

    def _under_way(self, call: ArmCall, path: str) -> web.Response:
        location = self._links.link(path, call, {})
        return web.Response(status=202, headers={"Location": location, **_RETRY_AFTER})

    def _of_kind(self, kind: Kind) -> list[Route]:
        namespace, _, resource_type = kind.type.partition("/")
        group = "/subscriptions/{subscription}/resourceGroups/{group}"
        path = f"{group}/providers/{kind.type}/{{name}}"

        def route(method: str, verb: str, action: str, handler: Handler) -> Route:
            return Route(
                method=method,
                path=path,
                operation=f"{resource_type}.{verb}",
                handler=handler,
                api_versions=(kind.api_version, *kind.also_served),
                namespace=namespace,
                resource_type=resource_type,
                action=f"{kind.type}/{action}",
            )

        async def put(call: ArmCall) -> web.Response:
            return await self.put_resource(kind, call)

        async def get(call: ArmCall) -> web.Response:
            return await self.get_resource(kind, call)

        async def update(call: ArmCall) -> web.Response:
            return await self.update_resource(kind, call)

        return [
            route("PUT", "createOrUpdate", "write", put),
            route("GET", "get", "read", get),
            route("PATCH", "update", "write", update),
        ]

    def _of_assignments(self, method: str, verb: str, handler: Handler) -> Route:
        return Route(
            method=method,
            # `{scope}` and not `{group}`: an assignment is left when its group is gone.
            path="/subscriptions/{subscription}/resourceGroups/{scope}"
            "/providers/Microsoft.Authorization/roleAssignments/{assignment}",
            operation=f"roleAssignments.{verb}",
            handler=handler,
            api_versions=(ROLE_API_VERSION,),
            namespace="Microsoft.Authorization",
            resource_type="roleAssignments",
            action=f"Microsoft.Authorization/roleAssignments/{verb}",
        )


class _Properties(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    properties: dict[str, str]


def _of_groups(method: str, path: str, handler: Handler) -> Route:
    verb = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "delete"}[method]
    return Route(
        method=method,
        path=path,
        operation=f"resourceGroups.{handler.__name__.partition('_')[0]}",
        handler=handler,
        api_versions=(GROUP_API_VERSION, _AZS_GROUP_VERSION),
        action=f"{_RESOURCES}/resourceGroups/{verb}",
        query=FILTERED if path.endswith("resourceGroups") else frozenset(),
    )


def _of_vaults(verb: str) -> Callable[[str, str, str, Handler], Route]:
    def route(method: str, path: str, operation: str, handler: Handler) -> Route:
        return Route(
            method=method,
            path=path,
            operation=operation,
            handler=handler,
            api_versions=(VAULT_API_VERSION,),
            namespace="Microsoft.KeyVault",
            resource_type="locations/deletedVaults",
            action=f"Microsoft.KeyVault/locations/deletedVaults/{verb}",
        )

    return route


def _read(call: ArmCall) -> Document:
    try:
        return _Body.model_validate_json(call.content).model_dump()
    except ValidationError as error:
        raise InvalidRequestContent(describe(error)) from None


def _resource_id(kind: Kind, call: ArmCall) -> ResourceId:
    names = call.variables
    return ResourceId(
        subscription_id=names["subscription"],
        group=names["group"],
        type=kind.type,
        name=names["name"],
    )


def _no_group(call: ArmCall) -> ResourceGroupNotFound:
    name = call.variables["name"]
    return ResourceGroupNotFound(f"Resource group '{name}' could not be found.")


def _group(group: ResourceGroup) -> Document:
    return {
        "id": f"/subscriptions/{group.subscription_id}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {
            "provisioningState": "Succeeded" if group.removal is None else "Deleting",
        },
    }


def _resource(made: MadeResource) -> Document:
    given = made.body.get("properties") or {}
    return {
        **made.body,
        "id": str(made.id),
        "name": made.id.name,
        "type": made.id.type,
        "properties": {**given, **(made.properties or {}), "provisioningState": made.state},
    }


def _deleted_vault(deleted: DeletedVault) -> Document:
    name = deleted.vault_id.name
    return {
        "id": f"/subscriptions/{deleted.vault_id.subscription_id}/providers/Microsoft.KeyVault"
        f"/locations/{deleted.location}/deletedVaults/{name}",
        "name": name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": {"vaultId": str(deleted.vault_id), "location": deleted.location},
    }
