"""The management port's routes for the app's roles."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from local_azure.kernel.access import Access, Assignment, Permission, RoleDefinition, UnknownRole
from local_azure.management import Body, read_body

_LATEST = 100


class RoleBody(Body):
    """The permissions of a role."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()


class AssignmentBody(Body):
    """A role on a resource."""

    role: Annotated[str, Field(min_length=1)]
    scope: Annotated[str, Field(pattern="^/")]


class AssignmentsBody(Body):
    """All roles that the app has."""

    assignments: tuple[AssignmentBody, ...]


class RoleRoutes:
    """Show, define and assign roles. `principal_id` is the app's."""

    def __init__(self, access: Access, *, principal_id: str) -> None:
        self._access = access
        self._principal_id = principal_id

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/roles", self.list),
            web.route("PUT", "/roles/{name}", self.define),
            web.route("GET", "/roleAssignments", self.show_assignments),
            web.route("PUT", "/roleAssignments", self.assign),
            web.route("GET", "/roleAssignments/refusals", self.refusals),
        ]

    async def list(self, _: web.Request) -> web.Response:
        """The roles that are defined, with what they give."""
        return web.json_response({"roles": [_view(role) for role in self._access.roles()]})

    async def define(self, request: web.Request) -> web.Response:
        """Defines or changes a role: {"actions", "notActions", "dataActions", "notDataActions"}."""
        body = await read_body(request, RoleBody)
        role = RoleDefinition(request.match_info["name"], (Permission(**body.model_dump()),))
        self._access.define(role)
        return web.json_response(_view(role))

    async def show_assignments(self, _: web.Request) -> web.Response:
        """The roles of the app's identity, and the resources that it has them on."""
        assignments = self._access.assignments(self._principal_id)
        return web.json_response(
            {"assignments": [{"role": each.role, "scope": each.scope} for each in assignments]}
        )

    async def assign(self, request: web.Request) -> web.Response:
        """Gives the app these roles and no other: {"assignments": [{"role", "scope"}]}."""
        body = await read_body(request, AssignmentsBody)
        try:
            self._access.assign(
                self._principal_id, [Assignment(each.role, each.scope) for each in body.assignments]
            )
        except UnknownRole as error:
            raise web.HTTPConflict(reason=str(error)) from error
        return await self.show_assignments(request)

    async def refusals(self, _: web.Request) -> web.Response:
        """The latest requests that the app's roles did not allow, with what was missing."""
        refused = [
            each
            for each in self._access.decisions
            if not each.allowed and each.principal_id == self._principal_id
        ]
        return web.json_response(
            {
                "refusals": [
                    {"missing": [action.name for action in each.actions], "scope": each.scope}
                    for each in refused[-_LATEST:]
                ]
            }
        )


def _view(role: RoleDefinition) -> dict[str, object]:
    return {
        "name": role.name,
        "permissions": [
            {
                "actions": each.actions,
                "notActions": each.not_actions,
                "dataActions": each.data_actions,
                "notDataActions": each.not_data_actions,
            }
            for each in role.permissions
        ],
    }
