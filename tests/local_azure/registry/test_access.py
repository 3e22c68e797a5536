from __future__ import annotations

import pytest

from local_azure.registry.access import Access, Scope
from local_azure.registry.backend import Grant


def access(*actions: str) -> Access:
    return Access.of(Grant("device-1", frozenset(actions)))


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("hello-world", ["hello-world"], ["hello-world2", "team/hello-world"]),
        ("samples/*", ["samples/a", "samples/a/b"], ["samples", "samples2/a"]),
        ("*", ["anything/at/all"], []),
    ],
)
def test_a_wildcard_covers_the_repositories_below_it(
    pattern: str, covered: list[str], not_covered: list[str]
) -> None:
    allowed = access(f"repositories/{pattern}/content/read")

    assert [name for name in covered + not_covered if allowed.allows_pull(name)] == covered


def test_only_reading_content_allows_a_pull() -> None:
    others = ("content/write", "content/delete", "metadata/read", "metadata/write", "content/burn")

    actions = [f"repositories/a/{action}" for action in others]
    assert access(*actions, "gateway/site1/config/read") == Access(frozenset())


def test_a_bearer_token_carries_the_requested_pulls_that_the_grant_allows() -> None:
    allowed = access("repositories/samples/*/content/read", "repositories/b/content/read")
    scopes = ["repository:samples/a:pull,push", "repository:b:*", "repository:c:pull"]

    narrowed = allowed.narrowed_to(map(Scope.parse, scopes))

    assert narrowed.to_claims() == [
        {"type": "repository", "name": "b", "actions": ["pull"]},
        {"type": "repository", "name": "samples/a", "actions": ["pull"]},
    ]
    assert Access.from_claims(narrowed.to_claims()) == narrowed


@pytest.mark.parametrize(
    "scope",
    [
        *(f"repository:{name}:pull" for name in ("*", "samples/*", "Samples/a", "a//b", "a/")),
        "repository(plugin):a:pull",
        "repository:a:push",
    ],
)
def test_no_other_scope_gives_a_pull(scope: str) -> None:
    allowed = access("repositories/*/content/read")

    assert allowed.narrowed_to([Scope.parse(scope)]).to_claims() == []


@pytest.mark.parametrize("text", ["", "repository", "repository:a", "repository::pull"])
def test_a_scope_without_three_parts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="type:name:action"):
        Scope.parse(text)
