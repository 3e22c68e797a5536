"""What a token may pull: the actions of its scope map, as scopes of the distribution protocol."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local_azure.registry.backend import Grant

_REPOSITORY_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_CONTENT_READ = re.compile(r"repositories/(?P<pattern>.+)/content/read")


def is_repository_name(name: str) -> bool:
    """Whether the distribution specification allows this name for a repository."""
    return _REPOSITORY_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Scope:
    """What a client requests a bearer token for. On the wire `repository:samples/a:pull,push`."""

    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Raises ValueError for a text without three parts."""
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if not (kind and name and actions):
            raise ValueError("a scope is written type:name:action,action")
        return cls(kind, name, frozenset(actions.split(",")))

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


@dataclass(frozen=True)
class Access:
    """The repositories that a caller may pull: names, `samples/*` for all below, `*` for all."""

    repositories: frozenset[str]

    @classmethod
    def of(cls, grant: Grant) -> Access:
        """All that a grant allows."""
        matches = filter(None, map(_CONTENT_READ.fullmatch, grant.actions))
        return cls(frozenset(match["pattern"] for match in matches))

    @classmethod
    def from_claims(cls, claims: Iterable[Mapping[str, Any]]) -> Access:
        """The access that `to_claims` wrote."""
        return cls(frozenset(claim["name"] for claim in claims))

    def to_claims(self) -> list[dict[str, Any]]:
        """The `access` claim of a bearer token."""
        return [
            {"type": "repository", "name": name, "actions": ["pull"]}
            for name in sorted(self.repositories)
        ]

    def allows_pull(self, name: str) -> bool:
        """Whether the caller may pull this repository."""
        return any(_covers(pattern, name) for pattern in self.repositories)

    def narrowed_to(self, scopes: Iterable[Scope]) -> Access:
        """The part of this access that the scopes request."""
        return Access(
            frozenset(
                scope.name
                for scope in scopes
                if scope.kind == "repository" and scope.actions & {"pull", "*"}
                if is_repository_name(scope.name) and self.allows_pull(scope.name)
            )
        )


def _covers(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    if pattern.endswith("/*"):
        return name.startswith(pattern.removesuffix("*"))
    return pattern == name
