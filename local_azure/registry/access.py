"""What a token may do: the scope map's actions, in the words of the distribution protocol."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local_azure.registry.backend import Grant

_REPOSITORY_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_SCOPE_MAP_ACTION = re.compile(r"repositories/(?P<pattern>.+)/(?P<action>[a-z]+/[a-z]+)")

# docker asks for the words on the right; scope maps are written with those on the left.
_PROTOCOL_ACTIONS = {
    "content/read": "pull",
    "content/write": "push",
    "content/delete": "delete",
    "metadata/read": "metadata_read",
    "metadata/write": "metadata_write",
}


def is_repository_name(name: str) -> bool:
    """Whether a repository can have this name, by the distribution specification."""
    return _REPOSITORY_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Scope:
    """What a client asks a token for. On the wire `repository:samples/a:pull,push`."""

    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Raises ValueError for what has not three parts."""
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if not (kind and name and actions):
            raise ValueError("a scope is written type:name:action,action")
        return cls(kind, name, frozenset(actions.split(",")))

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


CATALOG = Scope("registry", "catalog", frozenset({"*"}))


def repository_scope(name: str, *actions: str) -> Scope:
    """The scope of these actions on one repository."""
    return Scope("repository", name, frozenset(actions))


@dataclass(frozen=True)
class Access:
    """What a caller may do.

    `repositories` holds pairs of a repository and an action; in place of a repository also
    `samples/*` for all below, or `*` for all.
    """

    repositories: frozenset[tuple[str, str]]
    catalog: bool

    @classmethod
    def of(cls, grant: Grant, *, whole_catalog_only: bool) -> Access:
        """All that a grant allows.

        A connected registry lists to a token the repositories whose metadata it may read;
        the cloud (`whole_catalog_only`) has no listing for less than all of them:
        https://github.com/Azure/acr/issues/751
        """
        matches = filter(None, map(_SCOPE_MAP_ACTION.fullmatch, grant.actions))
        repositories = frozenset(
            (match["pattern"], _PROTOCOL_ACTIONS[match["action"]])
            for match in matches
            if match["action"] in _PROTOCOL_ACTIONS
        )
        listed = {pattern for pattern, action in repositories if action == "metadata_read"}
        return cls(repositories, catalog="*" in listed if whole_catalog_only else bool(listed))

    @classmethod
    def from_claims(cls, claims: Iterable[Mapping[str, Any]]) -> Access:
        """What `to_claims` wrote."""
        scopes = [Scope(c["type"], c["name"], frozenset(c["actions"])) for c in claims]
        return cls(
            frozenset(
                (scope.name, action)
                for scope in scopes
                if scope.kind == "repository"
                for action in scope.actions
            ),
            catalog=CATALOG in scopes,
        )

    def to_claims(self) -> list[dict[str, Any]]:
        """The `access` claim of a bearer token."""
        names = sorted({name for name, _ in self.repositories})
        claims: list[dict[str, Any]] = [
            {
                "type": "repository",
                "name": name,
                "actions": sorted(a for n, a in self.repositories if n == name),
            }
            for name in names
        ]
        if self.catalog:
            claims.append({"type": CATALOG.kind, "name": CATALOG.name, "actions": ["*"]})
        return claims

    def allows(self, scope: Scope) -> bool:
        """Whether all of this scope is allowed."""
        if scope == CATALOG:
            return self.catalog
        return all(self._allows(scope.name, action) for action in scope.actions)

    def narrowed_to(self, scopes: Iterable[Scope]) -> Access:
        """What these scopes ask for and this access allows."""
        scopes = list(scopes)
        catalog = self.catalog and CATALOG in scopes
        repositories = {
            (scope.name, action)
            for scope in scopes
            if scope.kind == "repository" and is_repository_name(scope.name)
            for action in _PROTOCOL_ACTIONS.values()
            if scope.actions & {action, "*"} and self._allows(scope.name, action)
        }
        if catalog:  # a listing needs to know what to list
            repositories |= {(n, a) for n, a in self.repositories if a == "metadata_read"}
        return Access(frozenset(repositories), catalog=catalog)

    def _allows(self, name: str, action: str) -> bool:
        return any(a == action and _covers(pattern, name) for pattern, a in self.repositories)


def _covers(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    if pattern.endswith("/*"):
        return name.startswith(pattern.removesuffix("*"))
    return pattern == name
