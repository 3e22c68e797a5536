"""Permissions, roles, locks, policies and event subscriptions, as Azure Resource Manager has them.

https://learn.microsoft.com/rest/api/authorization, …/resources, …/policy, …/eventgrid

Assumptions: `permissions` lists one entry for each role that covers the resource, and needs
`Microsoft.Authorization/permissions/read`; lists take `$filter=atScope()` and show what is above.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from local_azure.governance.exceptions import NotFoundInGovernance
from local_azure.governance.models import Document, Governance, at_or_above
from local_azure.kernel.access import Access, Assignment, Caller, Permission, RoleDefinition
from local_azure.resource_manager.exceptions import InvalidQueryParameter, InvalidRequestContent
from local_azure.resource_manager.links import FILTERED, Links
from local_azure.resource_manager.routing import ArmCall, Handler, Route

_AUTHORIZATION = "Microsoft.Authorization"
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_RESOURCE = f"{_GROUP}/providers/{{provider}}/{{kind}}/{{resource}}"
_ROLE_NAME = re.compile(r"roleName eq '([^']*)'", re.IGNORECASE)
_LOCK_VERSIONS = ("2020-05-01", "2016-09-01")
_POLICY_VERSIONS = ("2023-04-01", "2024-11-01", "2022-07-01-preview", "2026-01-01-preview")
_EVENT_VERSIONS = ("2025-02-15", "2021-10-15-preview")  # azure-cli's is the second
_ROLE_VERSIONS = ("2022-04-01", "2022-05-01-preview")


class Subscriptions(Protocol):
    """Event subscriptions of the hub, kept by Event Grid."""

    def all(self) -> list[Document]:
        """All of the hub: name, queue, event types."""
        ...

    async def add(self, name: str, *, queue: str, event_types: list[str] | None) -> None:
        """Deliver events of these types, None for all, to a queue of the stack."""
        ...


class GovernanceService:
    """The operations. `events` is set once Event Grid runs; `hub_id` is their source."""

    def __init__(
        self, governance: Governance, access: Access, links: Links, *, hub_id: str
    ) -> None:
        self.events: Subscriptions | None = None
        self._governance = governance
        self._access = access
        self._links = links
        self._hub_id = hub_id

    def routes(self) -> list[Route]:
        """All routes."""
        of_events = "Microsoft.EventGrid/eventSubscriptions"
        return [
            _route("GET", f"{_RESOURCE}/providers/{_AUTHORIZATION}/permissions", self.permissions),
            *self._kept("locks", self._governance.locks, _LOCK_VERSIONS),
            *self._kept("policyAssignments", self._governance.policy_assignments, _POLICY_VERSIONS),
            *self._kept("policyExemptions", self._governance.policy_exemptions, _POLICY_VERSIONS),
            *(
                _route("GET", f"{scope}/providers/{_AUTHORIZATION}/roleDefinitions", self.roles)
                for scope in ("/subscriptions/{subscription}", _GROUP, _RESOURCE)
            ),
            _route(
                "PUT",
                "/subscriptions/{subscription}/providers/"
                f"{_AUTHORIZATION}/roleDefinitions/{{name}}",
                self.define_role,
            ),
            _route(
                "PUT",
                f"{_RESOURCE}/providers/{_AUTHORIZATION}/roleAssignments/{{name}}",
                self.assign_role,
            ),
            _route(
                "POST",
                "/subscriptions/{subscription}/providers/Microsoft.Devices/checkNameAvailability",
                self.is_hub_free,
                ("2023-06-30-preview",),
            ),
            _route("GET", f"{_RESOURCE}/providers/{of_events}", self.list_events, _EVENT_VERSIONS),
            _route(
                *("GET", f"{_RESOURCE}/providers/{of_events}/{{name}}"),
                self.get_event,
                _EVENT_VERSIONS,
            ),
            _route(
                *("PUT", f"{_RESOURCE}/providers/{of_events}/{{name}}"),
                self.put_event,
                _EVENT_VERSIONS,
            ),
        ]

    # Permissions and roles

    async def permissions(self, call: ArmCall) -> web.Response:
        """What the caller's roles on the resource give."""
        scope = _scope(call.path)
        return web.json_response(
            {
                "value": [
                    {
                        "actions": list(each.actions),
                        "notActions": list(each.not_actions),
                        "dataActions": list(each.data_actions),
                        "notDataActions": list(each.not_data_actions),
                    }
                    for each in self._access.permissions(Caller(call.caller), scope=scope)
                ]
            }
        )

    async def roles(self, call: ArmCall) -> web.Response:
        """All role definitions, or the one of a filter's name."""
        expression = call.query.get("$filter", "")
        match = _ROLE_NAME.search(expression)
        subscription = call.variables["subscription"]
        return web.json_response(
            {
                "value": [
                    _role(role, subscription)
                    for role in self._access.roles()
                    if match is None or role.name.lower() == match[1].lower()
                ]
            }
        )

    async def define_role(self, call: ArmCall) -> web.Response:
        """Replace what a role gives."""
        properties = _properties(call)
        role = RoleDefinition(
            properties["roleName"],
            tuple(
                Permission(
                    actions=tuple(each.get("actions") or ()),
                    not_actions=tuple(each.get("notActions") or ()),
                    data_actions=tuple(each.get("dataActions") or ()),
                    not_data_actions=tuple(each.get("notDataActions") or ()),
                )
                for each in properties["permissions"]
            ),
        )
        self._access.define(role)
        return web.json_response(_role(role, call.variables["subscription"]), status=201)

    async def assign_role(self, call: ArmCall) -> web.Response:
        """Give a principal a role on the resource, besides those that it has."""
        properties, scope = _properties(call), _scope(call.path)
        wanted = properties["roleDefinitionId"].rsplit("/", 1)[-1].lower()
        role = next((r for r in self._access.roles() if _role_id(r) == wanted), None)
        if role is None:
            raise InvalidRequestContent(f"The role definition '{wanted}' does not exist.")
        principal = properties["principalId"]
        before = self._access.assignments(principal)
        self._access.assign(principal, [*before, Assignment(role.name, scope)])
        return _stored(call, properties)

    async def is_hub_free(self, call: ArmCall) -> web.Response:
        """Whether a hub may have a name; azure-cli asks before it changes one."""
        try:
            name = str(json.loads(call.content)["name"])
        except (ValueError, KeyError, TypeError):
            raise InvalidRequestContent("The request content has no name.") from None
        is_taken = self._hub_id.lower().endswith(f"/{name.lower()}")
        answer = {"nameAvailable": not is_taken, "message": ""}
        return web.json_response(answer | ({"reason": "AlreadyExists"} if is_taken else {}))

    # Event subscriptions

    async def list_events(self, call: ArmCall) -> web.Response:
        """The event subscriptions of the hub; no other resource has any here."""
        return self._links.page(call, self._events(call))

    async def get_event(self, call: ArmCall) -> web.Response:
        """One event subscription."""
        name = call.variables["name"]
        found = next((e for e in self._events(call) if e["name"] == name), None)
        if found is None:
            raise NotFoundInGovernance(f"Event subscription doesn't exist: {name}.")
        return web.json_response(found)

    async def put_event(self, call: ArmCall) -> web.Response:
        """201. Its destination is a storage queue."""
        properties = _properties(call)
        target = properties.get("destination") or {}
        try:
            queue = target["properties"]["queueName"]
        except (KeyError, TypeError):
            raise InvalidRequestContent("The destination is no storage queue.") from None
        types = (properties.get("filter") or {}).get("includedEventTypes")
        if self.events is not None:
            await self.events.add(call.variables["name"], queue=queue, event_types=types)
        return _stored(call, {**properties, "provisioningState": "Succeeded"})

    def _events(self, call: ArmCall) -> list[Document]:
        scope = _scope(call.path)
        if self.events is None or scope.lower() != self._hub_id.lower():
            return []
        kind = "Microsoft.EventGrid/eventSubscriptions"
        return [
            {
                "id": f"{self._hub_id}/providers/{kind}/{each['name']}",
                "name": each["name"],
                "type": kind,
                "properties": {
                    "topic": self._hub_id,
                    "provisioningState": "Succeeded",
                    "filter": {"includedEventTypes": each["eventTypes"]},
                    "destination": {
                        "endpointType": "StorageQueue",
                        "properties": {"queueName": each["queue"]},
                    },
                },
            }
            for each in self.events.all()
        ]

    # Locks, policy assignments and exemptions

    def _kept(
        self, kind: str, documents: dict[str, Document], versions: tuple[str, ...]
    ) -> list[Route]:
        """GET, PUT and DELETE of one, and the list of a scope and above."""

        async def listed(call: ArmCall) -> web.Response:
            if call.query.get("$filter", "atScope()") != "atScope()":
                raise InvalidQueryParameter("Only the filter 'atScope()' is supported.")
            return self._links.page(call, at_or_above(documents.values(), _scope(call.path)))

        async def shown(call: ArmCall) -> web.Response:
            found = documents.get(call.path.lower())
            if found is None:
                raise NotFoundInGovernance(f"There is no {call.path}.")
            return web.json_response(found)

        async def put(call: ArmCall) -> web.Response:
            answer = _stored(call, _properties(call))
            documents[call.path.lower()] = json.loads(answer.text or "")
            return answer

        async def delete(call: ArmCall) -> web.Response:
            found = documents.pop(call.path.lower(), None)
            return web.Response(status=204) if found is None else web.json_response(found)

        scopes = ("/subscriptions/{subscription}", _GROUP, _RESOURCE)
        paths = [f"{scope}/providers/{_AUTHORIZATION}/{kind}" for scope in scopes]
        return [
            *(_route("GET", path, listed, versions) for path in paths),
            *(
                _route(method, f"{path}/{{name}}", handler, versions)
                for path in paths
                for method, handler in (("GET", shown), ("PUT", put), ("DELETE", delete))
            ),
        ]


def _route(
    method: str,
    path: str,
    handler: Callable[[ArmCall], Awaitable[web.Response]],
    versions: tuple[str, ...] = _ROLE_VERSIONS,
) -> Route:
    namespace, kind = path.rsplit("/providers/", 1)[1].split("/")[:2]
    verb = {"GET": "read", "POST": "action", "PUT": "write", "DELETE": "delete"}[method]
    given: Handler = handler
    return Route(
        method=method,
        path=path,
        operation=f"{kind}.{verb}",
        handler=given,
        api_versions=versions,
        namespace=namespace,
        resource_type=kind,
        action=f"{namespace}/{kind}/{verb}",
        query=FILTERED if method == "GET" else frozenset(),
    )


def _scope(path: str) -> str:
    return path[: path.lower().rindex("/providers/")]


def _properties(call: ArmCall) -> Document:
    try:
        found = json.loads(call.content)["properties"]
    except (ValueError, KeyError, TypeError):
        raise InvalidRequestContent("The request content has no properties.") from None
    if not isinstance(found, dict):
        raise InvalidRequestContent("The properties are no object.")
    return found


def _stored(call: ArmCall, properties: Document) -> web.Response:
    namespace, kind, name = call.path.rsplit("/providers/", 1)[1].split("/")[:3]
    document = {
        "id": call.path,
        "name": name,
        "type": f"{namespace}/{kind}",
        "properties": properties,
    }
    return web.json_response(document, status=201)


def _role_id(role: RoleDefinition) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, role.name.lower()))


def _role(role: RoleDefinition, subscription: str) -> Document:
    name = _role_id(role)
    return {
        "id": f"/subscriptions/{subscription}/providers/{_AUTHORIZATION}/roleDefinitions/{name}",
        "name": name,
        "type": f"{_AUTHORIZATION}/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": "CustomRole",
            "assignableScopes": [f"/subscriptions/{subscription}"],
            "permissions": [
                {
                    "actions": list(each.actions),
                    "notActions": list(each.not_actions),
                    "dataActions": list(each.data_actions),
                    "notDataActions": list(each.not_data_actions),
                }
                for each in role.permissions
            ],
        },
    }
