"""Repository names, wildcards and actions by the container registry's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ACTIONS = frozenset(
    {"content/read", "content/write", "content/delete", "metadata/read", "metadata/write"}
)
DEFAULT_ACTION = "content/read"
MOST_SCOPE_ACTIONS = 500
"""The most actions that a scope map holds (container-registry-skus)."""

_SEGMENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*(?:/\*)?|\*")
_MAX_LENGTH = 256
_MOST_IN_WORDS = 5


def problem_with(repository: str) -> str | None:
    """What is wrong with a repository name or wildcard, None for nothing.

    Names follow the OCI distribution specification; a wildcard is `*` or ends in `/*`
    (container-registry-token-based-repository-permissions).
    """
    if len(repository) > _MAX_LENGTH:
        return f"is longer than {_MAX_LENGTH} characters"
    if _NAME.fullmatch(repository):
        return None
    if _NAME.fullmatch(repository.lower()):
        return "must be in lower case"
    if "*" in repository:
        return "may hold one wildcard only: `*` alone, or `/*` at the end"
    return "is not a repository name: lower-case letters, digits, and single . _ - between them"


def covers(pattern: str, repository: str) -> bool:
    """Whether a name or wildcard covers all of another name or wildcard."""
    if pattern in ("*", repository):
        return True
    return pattern.endswith("/*") and repository.startswith(pattern[:-1])


def scope_actions(repositories: Iterable[str], actions: Iterable[str]) -> frozenset[str]:
    """The actions of a scope map: `repositories/<name>/<action>` for each pair."""
    wanted = tuple(actions)
    return frozenset(f"repositories/{name}/{action}" for name in repositories for action in wanted)


def uncovered(wanted: frozenset[str], granted: frozenset[str]) -> tuple[str, ...]:
    """The wanted scope actions that no granted action covers, sorted."""
    pairs = [_split(action) for action in granted]
    return tuple(
        sorted(
            action
            for action in wanted
            if not any(
                verb == _split(action)[1] and covers(pattern, _split(action)[0])
                for pattern, verb in pairs
            )
        )
    )


def pairs_in(actions: Iterable[str]) -> frozenset[tuple[str, str]]:
    """The repositories of a scope map, each with an action: the reverse of `scope_actions`."""
    return frozenset(_split(action) for action in actions if action.startswith("repositories/"))


def in_words(names: Sequence[str]) -> str:
    """Names for a message: the first few, and how many more."""
    more = len(names) - _MOST_IN_WORDS
    return ", ".join(names[:_MOST_IN_WORDS]) + (f" and {more} more" if more > 0 else "")


def _split(scope_action: str) -> tuple[str, str]:
    """`repositories/a/b/content/read` to (`a/b`, `content/read`)."""
    name, verb, noun = scope_action.removeprefix("repositories/").rsplit("/", 2)
    return name, f"{verb}/{noun}"
