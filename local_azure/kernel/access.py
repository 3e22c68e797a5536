"""Role-based access control: role definitions, assignments and decisions.

The model is Azure RBAC's, https://learn.microsoft.com/azure/role-based-access-control/role-definitions
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


class UnknownRole(Exception):
    """An assignment names a role that is not defined."""


@dataclass(frozen=True, order=True)
class Action:
    """`Microsoft.Provider/type/verb`. Only a role's data actions grant a data action."""

    name: str
    is_data: bool = False


type Needs = tuple[tuple[Action, ...], ...]
"""The alternatives of an operation: a caller needs all actions of one of them."""


@dataclass(frozen=True, kw_only=True)
class Permission:
    """Granted actions, less the excluded ones. `*` matches anything; case is ignored."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def grants(self, action: Action) -> bool:
        """Whether an action is granted and not excluded."""
        if action.is_data:
            granted, excluded = self.data_actions, self.not_data_actions
        else:
            granted, excluded = self.actions, self.not_actions
        return _match(granted, action) and not _match(excluded, action)


@dataclass(frozen=True)
class RoleDefinition:
    """A role. One of its permissions may grant what another one excludes."""

    name: str
    permissions: tuple[Permission, ...]

    def grants(self, action: Action) -> bool:
        """Whether one of its permissions grants the action."""
        return any(permission.grants(action) for permission in self.permissions)


@dataclass(frozen=True)
class Assignment:
    """A role, by name, for a resource id and everything below it."""

    role: str
    scope: str

    def covers(self, scope: str) -> bool:
        """Whether a resource is the scope or below it."""
        mine, other = self.scope.lower().rstrip("/"), scope.lower()
        return other == mine or other.startswith(f"{mine}/")


@dataclass(frozen=True)
class Caller:
    """The principal of a bearer token."""

    principal_id: str
    client_id: str = ""
    issuer: str = ""

    @classmethod
    def of(cls, claims: Mapping[str, Any]) -> Caller:
        """The caller that a token's claims name."""
        return cls(
            principal_id=str(claims.get("oid", claims.get("sub", ""))),
            client_id=str(claims.get("appid", "")),
            issuer=str(claims.get("iss", "")),
        )


@dataclass(frozen=True)
class Decision:
    """The decision on one request, with the actions that allowed it or that were missing."""

    principal_id: str
    actions: tuple[Action, ...]
    scope: str
    allowed: bool


class Access:
    """Roles and their assignments.

    Before the first `assign` everything is allowed. After it a principal may do what its roles
    grant, and a principal without roles nothing.
    """

    def __init__(self, keep: int = 20_000) -> None:
        self._roles: dict[str, RoleDefinition] = {}
        self._assignments: dict[str, tuple[Assignment, ...]] = {}
        self._owners: set[str] = set()
        self.denied: list[str] = []
        """Deny assignments: scopes that begin so are closed to all but owners."""
        self.decisions: deque[Decision] = deque(maxlen=keep)
        """The latest decisions on all principals, the oldest first."""

    def define(self, *roles: RoleDefinition) -> None:
        """Add roles, or replace those of the same names without changing their assignments."""
        self._roles |= {role.name.lower(): role for role in roles}

    def roles(self) -> list[RoleDefinition]:
        """All defined roles."""
        return list(self._roles.values())

    def own_everything(self, principal_id: str) -> None:
        """Allow a principal everything."""
        self._owners.add(principal_id)

    def assign(self, principal_id: str, assignments: Iterable[Assignment]) -> None:
        """Replace the roles of a principal. Raises UnknownRole."""
        wanted = tuple(assignments)
        for assignment in wanted:
            if assignment.role.lower() not in self._roles:
                raise UnknownRole(f"There is no role '{assignment.role}'.")
        self._assignments[principal_id] = wanted

    def assignments(self, principal_id: str) -> tuple[Assignment, ...]:
        """The roles of a principal."""
        return self._assignments.get(principal_id, ())

    def permissions(self, caller: Caller, *, scope: str) -> tuple[Permission, ...]:
        """What a caller's roles on a resource give, without a decision."""
        if caller.principal_id in self._owners or not self._assignments:
            return (Permission(actions=("*",), data_actions=("*",)),)
        assignments = self._assignments.get(caller.principal_id, ())
        roles = [self._roles[a.role.lower()] for a in assignments if a.covers(scope)]
        return tuple(permission for role in roles for permission in role.permissions)

    def allows(self, caller: Caller, needs: Needs, *, scope: str) -> bool:
        """Whether the caller's roles grant what an operation needs on a resource."""
        granted = self._granted(caller.principal_id, needs, scope=scope)
        missing = needs[0] if needs else ()
        self.decisions.append(
            Decision(caller.principal_id, granted or missing, scope, allowed=granted is not None)
        )
        return granted is not None

    def _granted(self, principal_id: str, needs: Needs, *, scope: str) -> tuple[Action, ...] | None:
        """The first alternative that the roles grant, None without one."""
        if principal_id in self._owners or not self._assignments:
            return needs[0] if needs else ()
        if any(scope.lower().startswith(beginning.lower()) for beginning in self.denied):
            return None
        assignments = self._assignments.get(principal_id, ())
        roles = [self._roles[a.role.lower()] for a in assignments if a.covers(scope)]
        return next((n for n in needs if all(any(r.grants(a) for r in roles) for a in n)), None)


def action(name: str) -> Needs:
    """The needs of an operation that needs one management action."""
    return ((Action(name),),)


def data_action(name: str) -> Needs:
    """The needs of an operation that needs one data action."""
    return ((Action(name, is_data=True),),)


def _match(patterns: Iterable[str], wanted: Action) -> bool:
    return any(_compiled(pattern).fullmatch(wanted.name) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
