from __future__ import annotations

import pytest

from local_azure.registry.access import CATALOG, Access, Scope, is_repository_name, repository_scope
from local_azure.registry.backend import Grant


def access(*actions: str, whole_catalog_only: bool = False) -> Access:
    grant = Grant("device-1", frozenset(actions))
    return Access.of(grant, whole_catalog_only=whole_catalog_only)


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ("content/read", "pull"),
        ("content/write", "push"),
        ("content/delete", "delete"),
        ("metadata/read", "metadata_read"),
        ("metadata/write", "metadata_write"),
    ],
)
def test_a_scope_map_action_allows_its_protocol_action_and_no_other(action: str, word: str) -> None:
    allowed = access(f"repositories/a/{action}")

    words = ("pull", "push", "delete", "metadata_read", "metadata_write")
    assert [w for w in words if allowed.allows(repository_scope("a", w))] == [word]


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("hello-world", "hello-world", True),
        ("hello-world", "hello-world2", False),
        ("hello-world", "team/hello-world", False),
        ("samples/*", "samples/a", True),
        ("samples/*", "samples/a/b", True),
        ("samples/*", "samples", False),
        ("samples/*", "samples2/a", False),
        ("*", "anything/at/all", True),
    ],
)
def test_a_wildcard_covers_what_is_below_it(pattern: str, name: str, *, covered: bool) -> None:
    allowed = access(f"repositories/{pattern}/content/read")

    assert allowed.allows(repository_scope(name, "pull")) is covered


def test_actions_that_are_not_about_repositories_allow_nothing() -> None:
    allowed = access("gateway/site1/config/read", "repositories/a/content/burn")

    assert allowed == Access(frozenset(), catalog=False)


def test_a_token_carries_what_was_asked_for_and_is_allowed() -> None:
    allowed = access("repositories/samples/*/content/read", "repositories/b/content/read")

    narrowed = allowed.narrowed_to(
        [repository_scope("samples/a", "pull", "push"), repository_scope("c", "pull")]
    )

    assert narrowed.to_claims() == [
        {"type": "repository", "name": "samples/a", "actions": ["pull"]}
    ]
    assert Access.from_claims(narrowed.to_claims()) == narrowed


def test_asking_for_all_actions_gives_those_that_are_allowed() -> None:
    allowed = access("repositories/a/content/read", "repositories/a/metadata/read")

    narrowed = allowed.narrowed_to([repository_scope("a", "*")])

    assert narrowed.to_claims() == [
        {"type": "repository", "name": "a", "actions": ["metadata_read", "pull"]}
    ]


@pytest.mark.parametrize("name", ["*", "samples/*", "Samples/a", "a//b", "a/"])
def test_a_token_cannot_be_asked_for_by_a_wildcard(name: str) -> None:
    assert not is_repository_name(name)
    narrowed = access("repositories/*/content/read").narrowed_to([repository_scope(name, "pull")])

    assert narrowed.to_claims() == []


def test_a_scope_for_another_kind_of_thing_gives_nothing() -> None:
    scope = Scope("repository(plugin)", "a", frozenset({"pull"}))

    assert access("repositories/*/content/read").narrowed_to([scope]).to_claims() == []


@pytest.mark.parametrize(
    ("pattern", "at_connected_registry", "in_the_cloud"),
    [("hello-world", True, False), ("samples/*", True, False), ("*", True, True)],
)
def test_the_cloud_lists_its_catalog_only_to_who_may_read_all_metadata(
    pattern: str, *, at_connected_registry: bool, in_the_cloud: bool
) -> None:
    action = f"repositories/{pattern}/metadata/read"

    assert access(action).allows(CATALOG) is at_connected_registry
    assert access(action, whole_catalog_only=True).allows(CATALOG) is in_the_cloud


@pytest.mark.parametrize("text", ["", "repository", "repository:a", "repository::pull"])
def test_a_scope_without_three_parts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="type:name:action"):
        Scope.parse(text)


def test_a_scope_is_written_as_it_is_read() -> None:
    scope = Scope.parse("repository:samples/a:push,pull")

    assert scope == repository_scope("samples/a", "pull", "push")
    assert str(scope) == "repository:samples/a:pull,push"
