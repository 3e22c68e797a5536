"""Who may do what: role definitions, where they are assigned, and what was decided.

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
    """`Microsoft.Provider/type/verb`. Only a role's data actions give a data action."""

    name: str
    is_data: bool = False


type Needs = tuple[tuple[Action, ...], ...]
"""What an operation needs: all actions of one of these alternatives."""


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What is given, less what is left out. `*` stands for anything; case does not count."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def gives(self, action: Action) -> bool:
        """Whether an action is given and not left out."""
        if action.is_data:
            given, left_out = self.data_actions, self.not_data_actions
        else:
            given, left_out = self.actions, self.not_actions
        return _match(given, action) and not _match(left_out, action)


@dataclass(frozen=True)
class RoleDefinition:
    """A role. What one of its permissions leaves out, another one may give."""

    name: str
    permissions: tuple[Permission, ...]

    def gives(self, action: Action) -> bool:
        """Whether one of its permissions gives the action."""
        return any(permission.gives(action) for permission in self.permissions)


@dataclass(frozen=True)
class Assignment:
    """A role, by name, for a resource id and everything below it."""

    role: str
    scope: str

    def covers(self, scope: str) -> bool:
        """Whether a resource is this one or below it."""
        mine, other = self.scope.lower().rstrip("/"), scope.lower()
        return other == mine or other.startswith(f"{mine}/")


@dataclass(frozen=True)
class Caller:
    """Whose bearer token a request has."""

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
    """One request that needed a role: the actions that let it pass, or that were missing."""

    principal_id: str
    actions: tuple[Action, ...]
    scope: str
    allowed: bool


class Access:
    """Roles and their assignments.

    Once somebody has assignments here, be they none, principals may do what theirs give, and
    those that are not known may do nothing. Before that nobody is held to roles.
    """

    def __init__(self, keep: int = 20_000) -> None:
        self._roles: dict[str, RoleDefinition] = {}
        self._assignments: dict[str, tuple[Assignment, ...]] = {}
        self._owners: set[str] = set()
        self.decisions: deque[Decision] = deque(maxlen=keep)
        """The latest, whoever they were on, oldest first."""

    def define(self, *roles: RoleDefinition) -> None:
        """Add roles, or replace those of the same names; their assignments stay."""
        self._roles |= {role.name.lower(): role for role in roles}

    def roles(self) -> list[RoleDefinition]:
        """All that are defined."""
        return list(self._roles.values())

    def own_everything(self, principal_id: str) -> None:
        """Let a principal do whatever there is to do, as who runs the stack may."""
        self._owners.add(principal_id)

    def assign(self, principal_id: str, assignments: Iterable[Assignment]) -> None:
        """Hold a principal to these roles from now on. Raises UnknownRole."""
        wanted = tuple(assignments)
        for assignment in wanted:
            if assignment.role.lower() not in self._roles:
                raise UnknownRole(f"There is no role '{assignment.role}'.")
        self._assignments[principal_id] = wanted

    def assignments(self, principal_id: str) -> tuple[Assignment, ...]:
        """What a principal is held to."""
        return self._assignments.get(principal_id, ())

    def allows(self, caller: Caller, needs: Needs, *, scope: str) -> bool:
        """Whether the caller's roles give what an operation needs on a resource."""
        given = self._given(caller.principal_id, needs, scope=scope)
        missing = needs[0] if needs else ()
        self.decisions.append(
            Decision(caller.principal_id, given or missing, scope, allowed=given is not None)
        )
        return given is not None

    def _given(self, principal_id: str, needs: Needs, *, scope: str) -> tuple[Action, ...] | None:
        """What lets an operation pass; None where nothing does."""
        if principal_id in self._owners or not self._assignments:
            return needs[0] if needs else ()
        assignments = self._assignments.get(principal_id, ())
        roles = [self._roles[a.role.lower()] for a in assignments if a.covers(scope)]
        return next((n for n in needs if all(any(r.gives(a) for r in roles) for a in n)), None)


def action(name: str) -> Needs:
    """What an operation needs that needs one management action."""
    return ((Action(name),),)


def data_action(name: str) -> Needs:
    """What an operation needs that needs one data action."""
    return ((Action(name, is_data=True),),)


def _match(patterns: Iterable[str], wanted: Action) -> bool:
    return any(_compiled(pattern).fullmatch(wanted.name) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
